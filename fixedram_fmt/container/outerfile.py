"""A file by the structures of the container that it is, whatever stream lies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.locate import split_location
from fixedram_fmt.container.opening import open_source
from fixedram_fmt.container.registry import HEAD, wrapper_of
from fixedram_fmt.container.wrapper import Place
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.io.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.container.wrapper import Part

__all__ = ["OuterFile"]


class OuterFile(Closing):
    """source is the file, kind that of its container, parts what tiles it."""

    def __init__(self, source: Source, *, owned: bool) -> None:
        wrapper = wrapper_of(source.read_upto(0, HEAD))
        parts = None if wrapper is None else wrapper.tiles(Place(source, 0))
        if wrapper is None or parts is None:
            raise UnsupportedError(
                "this file is no container that has structures of its own", offset=0,
                expected="a qcow2 image, or a save of Xen",
            )  # fmt: skip
        self.source = source
        self.kind = wrapper.kind
        self.parts: Iterator[Part] = parts
        self._owned = owned

    @classmethod
    def open(cls, location: Location) -> Self:
        """`PATH`, or `PATH#NAME`, of which the name is left aside."""
        if isinstance(location, Source):
            return cls(location, owned=False)
        path = split_location(location).path if isinstance(location, str) else location
        source = open_source(path)
        try:
            return cls(source, owned=True)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the file, unless it is the caller's."""
        if self._owned:
            self.source.close()
