"""Drives a real QEMU: starts it, talks QMP to it, saves and loads migration images.

The samples are made with this, and the interop tests ask it what a real QEMU says about an
image. Nothing here sleeps or polls: QEMU says when something has happened (QMP events, a line
from the guest) and every wait has a time limit. QEMU gets its monitor as one end of a socket
pair, so there is no path to choose and a QEMU that dies at once is noticed at once.

`qemu.qmp` is imported when a machine is started, so this module can be imported without it;
`require_qemu` says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from qemu.qmp import EventListener, QMPClient

REQUIRE_ENV = "FIXEDRAM_REQUIRE_QEMU"
"""Set to 1, a test that lacks its tools fails instead of being skipped."""

FINAL_STATUS = frozenset({"completed", "failed", "cancelled"})

# The guest writes a line to this port when its pattern is complete (samples/guest/README.md).
DEBUGCON_ARGS = (
    "-chardev", "stdio,id=con,signal=off",
    "-device", "isa-debugcon,iobase=0xe9,chardev=con",
)  # fmt: skip

_BASE_ARGS = ("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none")

# "   pc.ram    4 KiB  0x... (offset) 0x... (used) 0x... (total) 0x... (host address) rw"
_RAMBLOCK = re.compile(
    r"^\s*(?P<name>.+?)\s+[\d.]+ [KMGTPE]?i?B?\s+0x[0-9a-f]+\s+(?P<used>0x[0-9a-f]+)\s+0x[0-9a-f]+"
)

T = TypeVar("T")


class QemuError(RuntimeError):
    """QEMU could not be started, refused a command, went away, or took too long."""


def find_qemu(arch: str) -> str | None:
    """Path of `qemu-system-ARCH`, None when it is not installed."""
    return shutil.which(f"qemu-system-{arch}")


def missing(reason: str) -> NoReturn:
    """Skips the running test, or fails it where REQUIRE_ENV says that nothing may be missing."""
    import pytest

    if os.environ.get(REQUIRE_ENV) == "1":
        pytest.fail(f"{reason} ({REQUIRE_ENV}=1)")
    pytest.skip(reason)


def require_qemu(arch: str) -> str:
    """Path of `qemu-system-ARCH`; skips (or fails) the running test when it cannot be driven."""
    binary = find_qemu(arch)
    if binary is None:
        missing(f"qemu-system-{arch} is not installed")
    try:
        found = importlib.util.find_spec("qemu.qmp") is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        missing("the Python package qemu.qmp is not installed")
    return binary


def require_tool(name: str) -> str:
    """Path of a program; skips (or fails) the running test when it is not installed."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    return path


def file_uri(path: Path | str, offset: int = 0) -> str:
    """The migration URI of a file; QEMU takes `offset` in bytes."""
    return f"file:{path},offset={offset}" if offset else f"file:{path}"


def parse_ramblocks(text: str) -> dict[str, int]:
    """`info ramblock` as {name: used_length in bytes}, in QEMU's order."""
    blocks: dict[str, int] = {}
    for line in text.splitlines():
        if match := _RAMBLOCK.match(line):
            blocks[match["name"]] = int(match["used"], 16)
    return blocks


class QemuVM:
    """One QEMU process and its monitor. Use as a context manager; leaving it ends the process.

    `timeout` (seconds) bounds every single wait. `cwd` is where QEMU runs, so that arguments can
    name files without a path.
    """

    def __init__(self, binary: str, *, timeout: float = 60.0, cwd: Path | None = None) -> None:
        self.binary = binary
        self.timeout = timeout
        self.args: tuple[str, ...] = ()
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._client: QMPClient | None = None
        self._events: EventListener | None = None
        self.output = b""  # what has been read of QEMU's standard output
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._temp = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="qemu-")))
        self._runner = self._stack.enter_context(asyncio.Runner())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._disconnect()
        finally:
            self._end_process()
            self._stack.close()

    # ------------------------------------------------------------------ process

    def start(self, args: Sequence[str]) -> None:
        """Starts QEMU with our fixed arguments and `args`, and enables migration events."""
        self.args = (*_BASE_ARGS, *args)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs.fileno())
            self._connect(ours)
        except BaseException:
            ours.close()
            raise
        self.set_capabilities("events")

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        plumbing = ("-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control")
        with self._stderr_path.open("wb") as stderr:
            return subprocess.Popen(
                [self.binary, *self.args, *plumbing],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=(fd,),
                cwd=self._cwd,
            )

    def _connect(self, monitor: socket.socket) -> None:
        from qemu.qmp import EventListener, QMPClient, QMPError

        client, events = QMPClient("samples"), EventListener()
        client.logger.disabled = True  # its own logger, by that name; what it logs, we raise
        client.register_listener(events)
        try:
            self._run(client.connect(monitor))
        except QMPError as error:
            raise QemuError(self._died(f"no QMP greeting: {error}")) from error
        self._client, self._events = client, events

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            # QEMU may have gone first; either way the monitor is closed afterwards.
            with contextlib.suppress(Exception):
                self._run(client.disconnect())

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def pid(self) -> int:
        """The process id of the running QEMU."""
        return self._running().pid

    @property
    def stderr(self) -> str:
        """What QEMU has written to its standard error so far."""
        return self._stderr_path.read_text("utf-8", "backslashreplace")

    def wait_exit(self) -> int:
        """Waits for QEMU to end by itself; its exit status (negative: the signal)."""
        try:
            return self._running().wait(self.timeout)
        except subprocess.TimeoutExpired as error:
            raise QemuError(f"QEMU still runs after {self.timeout} s") from error

    @property
    def _stderr_path(self) -> Path:
        return self._temp / "stderr"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise QemuError("QEMU has not been started")
        return self._process

    def _died(self, what: str) -> str:
        return f"{what}; QEMU wrote: {self.stderr.strip() or '(nothing)'}"

    def wait_output(self, marker: bytes) -> None:
        """Waits until `marker` has come out of QEMU's standard output (the guest's debugcon)."""
        stdout = self._running().stdout
        assert stdout is not None
        deadline = time.monotonic() + self.timeout
        while marker not in self.output:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise QemuError(f"no {marker!r} from the guest within {self.timeout} s")
            data = os.read(stdout.fileno(), 4096)
            if not data:
                raise QemuError(self._died(f"QEMU closed its output before {marker!r}"))
            self.output += data

    # ------------------------------------------------------------------ monitor

    def _run(self, work: Coroutine[object, object, T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(work, self.timeout)

        try:
            return self._runner.run(bounded())
        except TimeoutError as error:
            raise QemuError(f"no answer from QEMU within {self.timeout} s") from error

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Executes a QMP command and returns what it returns; QemuError when QEMU refuses."""
        from qemu.qmp import ExecuteError, QMPError

        if self._client is None:
            raise QemuError("QEMU has not been started")
        try:
            return self._run(self._client.execute(command, dict(arguments or {})))
        except ExecuteError as error:
            raise QemuError(f"{command}: {error}") from error
        except QMPError as error:
            raise QemuError(self._died(f"{command}: {error}")) from error

    def hmp(self, line: str) -> str:
        """Runs one line in the human monitor and returns its text."""
        return cast("str", self.execute("human-monitor-command", {"command-line": line}))

    def wait_event(self, match: Callable[[str, Mapping[str, object]], bool]) -> dict[str, object]:
        """The data of the next event for which `match(name, data)` holds; earlier ones are lost."""
        return self._run(self._next_event(match))

    async def _next_event(
        self, match: Callable[[str, Mapping[str, object]], bool]
    ) -> dict[str, object]:
        from qemu.qmp import Runstate

        assert self._client is not None
        assert self._events is not None
        gone = asyncio.ensure_future(self._client.runstate_changed())
        try:
            while True:
                got = asyncio.ensure_future(self._events.get())
                if self._client.runstate is not Runstate.RUNNING and self._events.empty():
                    gone.cancel()
                await asyncio.wait({got, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not got.done():
                    got.cancel()
                    raise QemuError(self._died("QEMU went away while we waited for an event"))
                event = got.result()
                data = cast("dict[str, object]", event.get("data") or {})
                if match(str(event["event"]), data):
                    return data
        finally:
            gone.cancel()

    def _forget_events(self) -> None:
        # Whatever happened before the answer to this command is in the queue when it arrives.
        self.execute("query-status")
        assert self._events is not None
        self._events.clear()

    # ------------------------------------------------------------------ the machine

    @property
    def qemu_version(self) -> str:
        """`major.minor.micro`."""
        version = cast("dict[str, dict[str, int]]", self.execute("query-version"))["qemu"]
        return f"{version['major']}.{version['minor']}.{version['micro']}"

    def cont(self) -> None:
        """Lets the guest run."""
        self.execute("cont")

    def stop(self) -> None:
        """Stops the guest; QEMU answers when all its CPUs stand still."""
        self.execute("stop")

    def info_ramblock(self) -> dict[str, int]:
        """{block name: used_length in bytes}."""
        return parse_ramblocks(self.hmp("info ramblock"))

    def pmemsave(self, start: int, end: int) -> bytes:
        """Guest-physical memory [start, end), as QEMU dumps it."""
        target = self._temp / "pmemsave"
        self.execute("pmemsave", {"val": start, "size": end - start, "filename": str(target)})
        try:
            return target.read_bytes()
        finally:
            target.unlink()

    def pmemsave_sha256(self, start: int, end: int) -> str:
        """SHA-256 of guest-physical memory [start, end)."""
        return hashlib.sha256(self.pmemsave(start, end)).hexdigest()

    # ------------------------------------------------------------------ migration

    def set_capabilities(self, *names: str) -> None:
        """Switches migration capabilities on."""
        capabilities = [{"capability": name, "state": True} for name in names]
        self.execute("migrate-set-capabilities", {"capabilities": capabilities})

    def set_parameters(self, parameters: Mapping[str, object]) -> None:
        """Sets migration parameters, named as QMP names them."""
        self.execute("migrate-set-parameters", parameters)

    def query_migrate(self) -> dict[str, object]:
        """What `query-migrate` says."""
        return cast("dict[str, object]", self.execute("query-migrate"))

    def migrate_to_file(self, path: Path | str, offset: int = 0, *, rounds: int = 0) -> str:
        """Saves into a file (which is not truncated when `offset` > 0); the final status.

        `rounds` > 0 is for a live guest under bandwidth and downtime limits that it outruns:
        the downtime limit is lifted when QEMU begins that round over the guest's memory.
        """
        self._forget_events()
        self.execute("migrate", {"uri": file_uri(path, offset)})
        if rounds and not self._wait_round(rounds):
            return str(self.query_migrate()["status"])
        if rounds:
            # Not the bandwidth: the faster QEMU may write, the more empty sections it writes
            # before it next compares what is left with the downtime.
            self.set_parameters({"downtime-limit": 100_000})
        return self._wait_migration()

    def incoming_from_file(self, path: Path | str, offset: int = 0) -> str:
        """Loads an image into a machine started with `-incoming defer`; the final status.

        A refused image gives "failed" (`query_migrate()["error-desc"]` says why); an image that
        makes QEMU crash raises QemuError.
        """
        self._forget_events()
        # QEMU 9.1+; without it a refused image ends the process before we can ask why.
        arguments = {"uri": file_uri(path, offset), "exit-on-error": False}
        self.execute("migrate-incoming", arguments)
        return self._wait_migration()

    def _wait_round(self, number: int) -> bool:
        def match(name: str, data: Mapping[str, object]) -> bool:
            if name == "MIGRATION_PASS":
                return cast("int", data["pass"]) >= number
            return name == "MIGRATION" and data["status"] in FINAL_STATUS

        return "pass" in self.wait_event(match)

    def _wait_migration(self) -> str:
        def match(name: str, data: Mapping[str, object]) -> bool:
            return name == "MIGRATION" and data["status"] in FINAL_STATUS

        return str(self.wait_event(match)["status"])
