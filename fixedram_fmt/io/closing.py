"""What is opened is closed by whoever opened it: `with` for everything that has a close()."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Closing"]


class Closing:
    """A context manager whose end is close()."""

    __slots__ = ()

    def close(self) -> None:
        """Give back what was opened."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()
