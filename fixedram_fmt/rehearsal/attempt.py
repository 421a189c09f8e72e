"""One try: a QEMU is started, takes the image, its memory is looked at, and it is ended."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt.errors import SourceError, UnsupportedError
from fixedram_fmt.io.spool import MORE_ROOM
from fixedram_fmt.rehearsal.clock import OutOfTimeError
from fixedram_fmt.rehearsal.memorycheck import compare_memory
from fixedram_fmt.rehearsal.monitor import Monitor, QemuGoneError, QemuRefusedError
from fixedram_fmt.rehearsal.process import QemuProcess
from fixedram_fmt.rehearsal.readonlyimage import FDSET, capabilities_of, readable, uri_of
from fixedram_fmt.rehearsal.rehearsed import MemoryCompared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.image import Image
    from fixedram_fmt.rehearsal.clock import Clock
    from fixedram_fmt.rehearsal.rehearsed import Status

__all__ = ["Attempt", "Loading", "Setting", "arguments_around", "attempt", "private_folder"]

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#: Seconds for the end of a QEMU that has closed its monitor.
_ENDS = 2.0
#: What QEMU says of what was put in the place of networks, and of being ended.
_OURS = ("is not connected to host network", f"terminating on signal 15 from pid {os.getpid()} ")
_LAST_LINE = "load of migration failed"


@dataclass(frozen=True, slots=True)
class Loading:
    """How the image is loaded: channels is 0 without multifd.

    memory: it is compared afterwards.  capabilities are some that the image does not ask for.
    """

    channels: int = 0
    flush_after_each_section: bool = False
    accel: str = "tcg"
    sandbox: bool = True
    memory: bool = True
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """Where QEMU runs, which program, and how long."""

    program: str
    folder: Path
    clock: Clock


@dataclass(slots=True)
class Attempt:
    """What is known of a try; memory is None where it was not to be compared, or not loaded."""

    argv: tuple[str, ...]
    status: Status = "not-started"
    version: str | None = None
    memory: MemoryCompared | None = None
    exit_code: int | None = None
    messages: tuple[str, ...] = ()
    #: What the monitor said, rather than the standard error.
    said: list[str] = field(default_factory=list)


def arguments_around(loading: Loading) -> list[str]:
    """What a rehearsal adds to a VM's arguments, but for the descriptors."""
    words = ["-S", "-accel", loading.accel, "-display", "none", "-monitor", "none"]
    words += ["-no-user-config"]
    if loading.sandbox:
        words += ["-sandbox", _SANDBOX]
    if loading.flush_after_each_section:
        words += ["-global", "migration.multifd-flush-after-each-section=on"]
    return [*words, "-incoming", "defer"]


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only its owner sees (TMPDIR), with all that is in it gone afterwards.

    Its name is chosen before it is made, so that a signal at any moment leaves nothing behind.
    """
    folder = Path(tempfile.gettempdir()) / f"fixedram-{secrets.token_hex(16)}"
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise SourceError(
                f"cannot make a temporary folder: {error.strerror}", hint=MORE_ROOM
            ) from error
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            # A signal came; the next ones are not obeyed while this one is.
            shutil.rmtree(folder, ignore_errors=True)
            raise


def attempt(image: Image, words: Sequence[str], loading: Loading, setting: Setting) -> Attempt:
    """Start QEMU with words and what a rehearsal adds, and load the image.

    Nothing that QEMU does raises; SourceError and UnsupportedError where it cannot be begun.
    """
    made = Attempt((setting.program, *words, *arguments_around(loading)))
    with ExitStack() as stack:
        image_fd = stack.enter_context(readable(image))
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        stack.callback(theirs.close)
        plumbing = (
            "-add-fd", f"fd={image_fd},set={FDSET}",
            "-chardev", f"socket,id=fixedram-qmp,fd={theirs.fileno()}",
            "-mon", "chardev=fixedram-qmp,mode=control",
        )  # fmt: skip
        monitor = Monitor(setting.clock)
        argv = (*made.argv, *plumbing)
        process = QemuProcess(argv, setting.folder, (image_fd, theirs.fileno()))
        stack.enter_context(process)
        process.start()
        theirs.close()
        with monitor:
            _Try(made, monitor, image, loading, setting).run(ours)
        _end(made, process, setting.clock)
    return made


def _end(made: Attempt, process: QemuProcess, clock: Clock) -> None:
    """How QEMU ended where it did so by itself, and all that it wrote."""
    if made.status in {"crashed", "not-started"}:
        made.exit_code = process.wait(min(_ENDS, max(clock.limit - clock.passed, 0.1)))
    process.end()
    if made.exit_code == -signal.SIGXFSZ:
        raise SourceError("QEMU met the limit of a file's size", hint="raise it: ulimit -f")
    if made.status == "not-started" and made.exit_code == 0:
        raise UnsupportedError(f"{made.argv[0]} is no QEMU: it ended at once, without an error")
    lines = [line for line in process.lines() if not any(ours in line for ours in _OURS)]
    if made.status == "crashed" and made.exit_code == 1 and _LAST_LINE in "\n".join(lines):
        # Before 9.1 QEMU exits where it refuses an image (migrate-incoming has no exit-on-error).
        made.status = "failed"
    made.messages = (*lines, *(one for one in made.said if one and one not in lines))


class _Try:
    """The dialogue with one QEMU; status is always that of how far it came."""

    def __init__(
        self, made: Attempt, monitor: Monitor, image: Image, loading: Loading, setting: Setting
    ) -> None:
        self._made = made
        self._monitor = monitor
        self._image = image
        self._loading = loading
        self._setting = setting

    def run(self, connection: socket.socket) -> None:
        """Load the image and look at its memory, or come to where that fails."""
        made = self._made
        try:
            self._monitor.connect(connection)
            self._load()
            if made.status == "completed" and self._loading.memory:
                self._compare()
        except OutOfTimeError:
            late = f"no answer within the limit of {self._setting.clock.limit:g} seconds"
            made.said.append(late)
            if made.status == "completed":
                # What was loaded is loaded: the comparison took too long.
                made.memory = MemoryCompared(0, 0, (), None, (late,), finished=False)
            else:
                made.status = "timeout"
        except QemuRefusedError as error:
            made.said.append(str(error))
        except QemuGoneError as error:
            made.status = "not-started" if made.version is None else "crashed"
            if made.version is not None:
                made.said.append(str(error))

    def _load(self) -> None:
        made, monitor = self._made, self._monitor
        made.version = _version(monitor.execute("query-version"))
        made.status = "failed"
        names = capabilities_of(self._image, multifd=bool(self._loading.channels))
        names += ["events", *self._loading.capabilities]
        states = [{"capability": name, "state": True} for name in dict.fromkeys(names)]
        monitor.execute("migrate-set-capabilities", {"capabilities": states})
        if self._loading.channels:
            parameters = {"multifd-channels": self._loading.channels}
            monitor.execute("migrate-set-parameters", parameters)
        self._begin()
        if monitor.migration() == "completed":
            made.status = "completed"
            if _answer(monitor.execute("query-status")).get("running"):
                raise QemuGoneError("the guest runs, although it was to stay paused")
            return
        made.said.append(str(_answer(monitor.execute("query-migrate")).get("error-desc", "")))

    def _begin(self) -> None:
        arguments: dict[str, object] = {"uri": uri_of(self._image), "exit-on-error": False}
        try:
            self._monitor.execute("migrate-incoming", arguments)
        except QemuRefusedError as error:
            if "exit-on-error" not in str(error):
                raise
            del arguments["exit-on-error"]
            self._monitor.execute("migrate-incoming", arguments)

    def _compare(self) -> None:
        setting = self._setting
        self._made.memory = compare_memory(
            self._monitor, self._image, setting.folder, setting.clock
        )


def _answer(value: object) -> dict[str, object]:
    """An answer that is to be an object, from whoever answers."""
    if not isinstance(value, dict):
        raise QemuGoneError("an answer that is not QEMU's")
    return value


def _version(value: object) -> str:
    """`major.minor.micro`."""
    numbers = _answer(_answer(value).get("qemu"))
    return ".".join(str(numbers.get(name, "?")) for name in ("major", "minor", "micro"))
