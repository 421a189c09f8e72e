"""Signals that end a command: what is unfinished is taken away first.

SIGTERM and SIGINT end it with their customary exit codes (143, 130); SIGHUP, SIGQUIT and SIGXCPU
end it as they would have, so that a shell or a queue sees which.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Ended", "end", "let_go", "watch"]

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
_EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
#: C code that imports modules may drop whatever is raised then: it is raised a little later.
_IMPORTING = "<frozen importlib._bootstrap>"
_AGAIN = 0.02


class Ended(BaseException):
    """A signal that ends the command came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_pending: list[int] = []


def watch() -> None:
    """From now on these signals raise Ended; those that are ignored (nohup) stay so."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _came)
    signal.signal(signal.SIGALRM, _later)


def let_go() -> None:
    """From now on these signals end the process at once: nothing is unfinished any more.

    Raised while the interpreter ends, Ended would be told with a traceback.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _ENDING:
        if signal.getsignal(number) is _came:
            signal.signal(number, signal.SIG_DFL)


def _came(number: int, frame: FrameType | None) -> None:
    if _pending:
        # The first is being obeyed.
        return
    _pending.append(number)
    _later(number, frame)


def _later(_number: int, frame: FrameType | None) -> None:
    """Raise what is pending, but not into an import."""
    if not _pending:
        return
    if _in_import(frame):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        return
    raise Ended(_pending[0])


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def end(number: int) -> None:
    """End this process as the signal does."""
    if number in _EXIT_CODES:
        sys.exit(_EXIT_CODES[signal.Signals(number)])
    import resource

    # SIGQUIT and SIGXCPU write a core: it would hold what the command had read of a guest.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
