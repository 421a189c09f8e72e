"""A QEMU as a child: started in a session of its own, its words kept, surely ended."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

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
    """One QEMU; leaving the context ends it and all that it started, and waits for it."""

    def __init__(self, argv: Sequence[str], folder: Path, fds: Sequence[int]) -> None:
        self._said = bytearray()
        self._program = os.path.basename(argv[0])  # noqa: PTH119
        try:
            self._process = _started(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=tuple(fds),
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnsupportedError(
                f"cannot start {argv[0]!r}: {reason}", hint="give the program with --qemu"
            ) from error
        self._reader = Thread(target=self._listen, daemon=True)
        self._reader.start()
        # A core would hold the guest's memory.
        with suppress(OSError, ValueError):
            resource.prlimit(self._process.pid, resource.RLIMIT_CORE, (0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group too."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; None where it still runs after so long."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(_REST)
        return code

    def end(self) -> None:
        """End it, first politely, and what else is in its group; returns when it is gone."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE)
        finally:
            # Until it is waited for, its id is nobody else's; its group may outlive it.
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join(_REST)

    def lines(self) -> tuple[str, ...]:
        """What it has said so far, without its name in front of each line."""
        text = bytes(self._said).decode("utf-8", "backslashreplace")
        name = rf"(?:{re.escape(self._program)}|qemu-system-\w+): "
        # A line without an end has the next one behind it.
        text = re.sub(r"(?<!^)(?=qemu-system-\w+: )", "\n", text, flags=re.M)
        lines = (re.sub(rf"^{name}", "", line)[:_LINE] for line in text.splitlines())
        return tuple(line for line in lines if line.strip())[:_LINES]

    def _listen(self) -> None:
        stream: IO[bytes] | None = self._process.stderr
        assert stream is not None
        with stream, suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 1 << 16):
                self._said += data[: _WORDS - len(self._said)]


def _started(argv: list[str], **how: Any) -> subprocess.Popen[bytes]:
    """A child, begun in a thread: a signal that ends this program never comes between the two."""
    with ThreadPoolExecutor(1) as pool:
        begun: Future[subprocess.Popen[bytes]] = pool.submit(lambda: subprocess.Popen(argv, **how))
        try:
            return begun.result()
        except BaseException:
            if begun.exception() is None:
                begun.result().kill()
                begun.result().wait()
            raise
