"""The door to containers: a Wrapper is one thing that a stream can lie in; they nest.

A new one is one module with a subclass of Recognized, and a row in registry.WRAPPERS.  Opening,
`info`, `dump` and `validate` ask a Wrapper only what stands here; what concerns one kind alone asks
Container.find() for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from fixedram_fmt.container.described import ContainerSummary
from fixedram_fmt.io.output import refuse_over

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import Self

    from fixedram_fmt.io.source import Source
    from fixedram_fmt.io.unpacking import UnpackBudget

__all__ = ["Container", "Part", "Place", "Recognized", "Wrapper"]

W = TypeVar("W", bound="Wrapper")


class Place(NamedTuple):
    """Where something begins: a Source, an offset in it; name is that of what is meant in it."""

    source: Source
    offset: int
    name: str | None = None


class Part(NamedTuple):
    """Bytes of a file that are a wrapper's own: a leaf of the tiling.

    kind is one of stream.records.Kind (`prefix` where none fits), value a structure whose fields
    are shown, note says what the bytes are where there is no structure.
    """

    kind: str
    path: str
    offset: int
    length: int
    value: object = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """A container that was opened: outer is where it begins, inner where what is in it begins.

    inner has another Source where the bytes are not those of the file as they lie there, which
    Container.close() closes.  byte_order (`little`, `big`) is that of the host that saved, where
    the wrapper says so.  compression names what was undone, cut_short says why that ended early.
    """

    outer: Place
    inner: Place
    byte_order: str | None = None
    compression: str | None = None
    cut_short: str = ""

    kind: ClassVar[str]
    #: Whether it is a compression: a user's offsets count in what is unpacked.
    packs: ClassVar[bool] = False
    #: Whether what is in it begins with the stream: nothing else is looked for, as by a search.
    holds_stream: ClassVar[bool] = False
    #: Whether what is in it has names, of which `PATH#NAME` gives one.
    has_names: ClassVar[bool] = False
    #: Whether it has what a copy of the stream lacks: a disk, other snapshots, a guest's memory.
    holds_more: ClassVar[bool] = False

    def takes(self, inner: type[Wrapper], between: Sequence[Wrapper]) -> bool:
        """Whether inner may be in it, between lying in between; UnsupportedError names why not."""
        del inner, between
        return True

    def parts(self) -> Iterator[Part]:
        """What tiles outer.source from outer.offset to inner.offset; for one Source only."""
        length = self.inner.offset - self.outer.offset
        if length:
            yield Part("prefix", self.kind, self.outer.offset, length, note="before the stream")

    def describe(self) -> dict[str, Any]:
        """Its fields of ContainerSummary (described.py), beside kind and stream_offset."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognized(Wrapper, ABC):
    """A wrapper that says "mine" or "not mine" of the first bytes: what registry.WRAPPERS lists."""

    @classmethod
    @abstractmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether bytes that begin with head (registry.HEAD of them, or all there are) are such."""

    @classmethod
    @abstractmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Self:
        """The one that begins at place; a compression takes what it unpacks to from budget.

        Raises FormatError for a damaged one, UnsupportedError for what cannot be read here.
        """

    @classmethod
    def tiles(cls, place: Place) -> Iterator[Part] | None:
        """What tiles place.source from place on, the stream's bytes too; None: nothing to tell."""
        del place
        return None


@dataclass(frozen=True, slots=True)
class Container:
    """What the stream lies in: wrappers, the outermost first; none around a bare stream.

    kind is `bare`, `offset` (given, or found by search), `libvirt`, or that of another wrapper.
    stream_offset is where the stream starts in the bytes that are read, which are the unpacked ones
    where there is a compression.
    """

    wrappers: tuple[Wrapper, ...] = ()

    @property
    def kind(self) -> str:
        """That of the innermost wrapper that is no compression."""
        return next((one.kind for one in reversed(self.wrappers) if not one.packs), "bare")

    @property
    def stream_offset(self) -> int:
        """Where the stream starts in the Source that holds it."""
        return self.wrappers[-1].inner.offset if self.wrappers else 0

    @property
    def compression(self) -> str | None:
        """The outermost; None where the file is read as it is."""
        return next(filter(None, (one.compression for one in self.wrappers)), None)

    @property
    def file_compression(self) -> str | None:
        """That of the whole file."""
        return self.wrappers[0].compression if self.wrappers else None

    @property
    def stream_compression(self) -> str | None:
        """That of the stream alone, inside another wrapper."""
        return self.wrappers[-1].compression if len(self.wrappers) > 1 else None

    @property
    def cut_short(self) -> str:
        """Why unpacking ended early; empty where it did not."""
        return next(filter(None, (one.cut_short for one in self.wrappers)), "")

    @property
    def byte_order(self) -> str | None:
        """That of the host that saved, where a wrapper says so."""
        return next(filter(None, (one.byte_order for one in self.wrappers)), None)

    def find(self, wrapper: type[W]) -> W | None:
        """The wrapper of that class, None where there is none around the stream."""
        return next((one for one in self.wrappers if isinstance(one, wrapper)), None)

    def outermost(self, source: Source) -> Source:
        """The Source of the file itself, where source holds the stream."""
        return self.wrappers[0].outer.source if self.wrappers else source

    @property
    def in_place(self) -> bool:
        """Whether offsets in the Source that holds the stream are those of the file."""
        return all(one.inner.source is one.outer.source for one in self.wrappers)

    def keep_file(self, target: str | os.PathLike[str]) -> None:
        """OutputError where target is the file, and has more in it than the stream."""
        if any(one.holds_more for one in self.wrappers):
            refuse_over(target, self.wrappers[0].outer.source)

    def describe(self) -> ContainerSummary:
        """`container` of `info --json`."""
        shown: dict[str, Any] = {}
        for one in reversed(self.wrappers):
            shown |= one.describe()
        return ContainerSummary(kind=self.kind, stream_offset=self.stream_offset, **shown)

    def close(self) -> None:
        """Close what the wrappers opened, the innermost first; the file itself stays open."""
        for one in reversed(self.wrappers):
            if one.inner.source is not one.outer.source:
                one.inner.source.close()
