"""Whatever channels do, it ends: in time, and with no thread left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TIME_LIMIT", "ended"]

TIME_LIMIT = 30

T = TypeVar("T")


def ended(act: Callable[[], T], within: float = TIME_LIMIT) -> T:
    """What act returns or raises; fails when that takes too long or a thread of its is left."""
    before = set(threading.enumerate())
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(act())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(within)
    assert not thread.is_alive(), f"it hangs: not ended after {within} s"
    assert set(threading.enumerate()) <= before, "threads are left"
    if raised:
        raise raised[0]
    return returned[0]
