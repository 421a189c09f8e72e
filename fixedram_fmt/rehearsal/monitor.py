"""QEMU's monitor (QMP), through the library qemu.qmp, with a time limit on everything.

The library lives in an event loop; that runs in a thread of its own, so that a signal that ends the
program is raised where it waits, and never into the loop, which would swallow it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.rehearsal.clock import OutOfTimeError

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Mapping
    from types import TracebackType
    from typing import Self

    from fixedram_fmt.rehearsal.clock import Clock

__all__ = ["Monitor", "QemuGoneError", "QemuRefusedError", "require_qmp"]

T = TypeVar("T")

#: Seconds for closing the connection and the loop.
_CLOSING = 2.0
_FINAL = frozenset({"completed", "failed", "cancelled"})


class QemuRefusedError(Exception):
    """QEMU answered a command with an error; the text is QEMU's."""


class QemuGoneError(Exception):
    """The monitor was closed, or what came through it was no QMP."""


def require_qmp() -> Any:
    """The module qemu.qmp; UnsupportedError where it is not installed."""
    try:
        import qemu.qmp
    except ImportError as error:
        raise UnsupportedError(
            "a rehearsal needs the Python package qemu.qmp", hint="pip install 'fixedram[qemu]'"
        ) from error
    return qemu.qmp


class Monitor:
    """A connection to one QEMU; no call waits longer than the clock allows (OutOfTimeError)."""

    def __init__(self, clock: Clock) -> None:
        qmp = self._qmp = require_qmp()
        self._clock = clock
        self._client = qmp.QMPClient("fixedram")
        self._client.logger.disabled = True  # what it logs, is raised too
        self._events = qmp.EventListener(names={"MIGRATION", "RESUME"})
        self._client.register_listener(self._events)
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)  # what it tells of slow steps is nothing for users
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSING)
        if not self._thread.is_alive():
            self._loop.close()

    def connect(self, connection: socket.socket) -> None:
        """Greet, and agree on the protocol; the socket is the monitor's from then on."""
        self._run(self._client.connect(connection))

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """What a command returns; QemuRefusedError where QEMU says no."""
        return self._run(self._client.execute(command, dict(arguments or {})))

    def migration(self) -> str:
        """Wait for the end of a migration: completed, failed or cancelled."""
        return self._run(self._migration())

    def _run(self, work: Coroutine[object, object, T]) -> T:
        try:
            left = self._clock.left()
        except OutOfTimeError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(left)
        except TimeoutError:
            raise OutOfTimeError from None
        except self._qmp.ExecuteError as error:
            raise QemuRefusedError(str(error)) from error
        except (self._qmp.QMPError, OSError, EOFError, ValueError) as error:
            raise QemuGoneError(str(error)) from error
        finally:
            future.cancel()

    async def _migration(self) -> str:
        running = self._qmp.Runstate.RUNNING
        gone = asyncio.ensure_future(self._client.runstate_changed())
        try:
            # It waits from its first step on: a change before that is seen by the runstate.
            await asyncio.sleep(0)
            while True:
                if self._client.runstate is not running and self._events.empty():
                    raise QemuGoneError("QEMU went away")
                got = asyncio.ensure_future(self._events.get())
                await asyncio.wait({got, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not got.done():
                    got.cancel()
                    raise QemuGoneError("QEMU went away")
                event = got.result()
                status = str((event.get("data") or {}).get("status"))
                if event["event"] == "RESUME":
                    raise QemuGoneError("the guest was about to run")
                if status in _FINAL:
                    return status
        finally:
            gone.cancel()

    async def _close(self) -> None:
        with suppress(Exception):
            await asyncio.wait_for(self._client.disconnect(), _CLOSING / 2)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
