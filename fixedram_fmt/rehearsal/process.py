"""A QEMU as a child: started in a session of its own, its words kept, surely ended."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["QemuProcess"]

#: Bytes of its standard error that are kept; the rest is read and forgotten.
_WORDS = 1 << 18
_LINES, _LINE = 400, 2000
#: Seconds between SIGTERM and SIGKILL, and for what is read after the end.
_GRACE, _REST = 1.0, 2.0


class QemuProcess:
    """One QEMU; leaving the context ends it and all that it started, and waits for it.

    It is begun in a thread, which the end waits for: a signal that ends this program may come at
    any moment, and leaves no QEMU that nobody knows of.
    """

    def __init__(self, argv: Sequence[str], folder: Path, fds: Sequence[int]) -> None:
        self._argv = list(argv)
        self._how: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.PIPE,
            "pass_fds": tuple(fds),
            "cwd": folder,
            "env": {**os.environ, "TMPDIR": str(folder)},
            "start_new_session": True,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: Exception | None = None
        self._said = bytearray()
        self._asked = False
        self._begun = Event()
        self._reader = Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self) -> None:
        """Begin; UnsupportedError where there is no such program."""
        self._asked = True
        Thread(target=self._begin).start()
        self._begun.wait()
        if self._failed is not None or self._process is None:
            reason = getattr(self._failed, "strerror", None) or str(self._failed)
            raise UnsupportedError(
                f"cannot start {self._argv[0]!r}: {reason}", hint="give the program with --qemu"
            ) from self._failed
        self._reader.start()
        # A core would hold the guest's memory.
        with suppress(OSError, ValueError):
            resource.prlimit(self._process.pid, resource.RLIMIT_CORE, (0, 0))

    def _begin(self) -> None:
        try:
            self._process = subprocess.Popen(self._argv, **self._how)
        except (OSError, ValueError) as error:
            self._failed = error
        finally:
            self._begun.set()

    def wait(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; None where it still runs after so long."""
        if self._process is None:
            return None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(_REST)
        return code

    def end(self) -> None:
        """End it, first politely, and what else is in its group; returns when it is gone."""
        if self._asked:
            # Not for ever: a signal may have come before there was a thread.
            self._begun.wait(_REST)
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)
        finally:
            # Until it is waited for, its id is nobody else's; its group may outlive it.
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if self._reader.ident is not None:
                self._reader.join(_REST)
            elif process.stderr is not None:
                process.stderr.close()

    def lines(self) -> tuple[str, ...]:
        """What it has said so far, without its name in front of each line."""
        text = bytes(self._said).decode("utf-8", "backslashreplace")
        program = re.escape(os.path.basename(self._argv[0]))  # noqa: PTH119
        name = rf"(?:\S*/)?(?:{program}|qemu-system-\w+): "
        # A line without an end has the next one behind it.
        text = re.sub(r"(?<!^)(?=qemu-system-\w+: )", "\n", text, flags=re.M)
        lines = (re.sub(rf"^{name}", "", line)[:_LINE] for line in text.splitlines())
        return tuple(line for line in lines if line.strip())[:_LINES]

    def _listen(self) -> None:
        assert self._process is not None
        stream = self._process.stderr
        assert stream is not None
        with stream, suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 1 << 16):
                self._said += data[: _WORDS - len(self._said)]
