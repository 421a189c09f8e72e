"""Whatever is compressed: a whole file, or the stream in another container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fixedram_fmt.container.wrapper import Place, Recognized
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.spool import COMPRESSIONS, compression_of, spool_compressed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from fixedram_fmt.container.wrapper import Wrapper
    from fixedram_fmt.io.unpacking import UnpackBudget

__all__ = ["Compressed"]

_HEAD = max(map(len, COMPRESSIONS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed(Recognized):
    """Unpacked into a temporary file; compression is its name, as libvirt has it."""

    kind: ClassVar[str] = "compressed"
    packs: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """By the magic of each compression."""
        return compression_of(head) is not None

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Self:
        """Unpack all of it."""
        compression = str(compression_of(place.source.read_upto(place.offset, _HEAD)))
        unpacked, why = spool_compressed(place.source, place.offset, compression, budget)
        return cls(outer=place, inner=Place(unpacked, 0), compression=compression, cut_short=why)

    def takes(self, inner: type[Wrapper], between: Sequence[Wrapper]) -> bool:
        """Anything but what is compressed once more."""
        if inner.packs and not between:
            raise UnsupportedError(
                "this is compressed more than once", path=self.compression or "",
                hint="unpack it first",
            )  # fmt: skip
        return True

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"compression": self.compression}
