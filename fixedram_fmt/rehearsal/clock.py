"""The time that a rehearsal may take."""

from __future__ import annotations

import time

__all__ = ["Clock", "OutOfTimeError"]


class OutOfTimeError(Exception):
    """The time limit was reached."""


class Clock:
    """Seconds that are left of a limit; nothing waits longer."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._begun = time.monotonic()

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def left(self) -> float:
        """Seconds until the limit; OutOfTimeError where there are none."""
        left = self.limit - self.passed
        if left <= 0:
            raise OutOfTimeError
        return left
