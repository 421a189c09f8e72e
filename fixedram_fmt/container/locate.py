"""Where in a file the migration stream starts: what is around it is opened, from the outside in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.container.bare import Prefix, stream_at, stream_offsets
from fixedram_fmt.container.foreign import foreign_file
from fixedram_fmt.container.registry import HEAD, wrapper_of
from fixedram_fmt.container.wrapper import Container, Place
from fixedram_fmt.errors import FormatError, SourceError
from fixedram_fmt.io.unpacking import UnpackBudget
from fixedram_fmt.schema.libvirt import QEMU_SAVE_MAGIC
from fixedram_fmt.schema.stream import QEMU_VM_FILE_MAGIC
from fixedram_fmt.units import parse_size

if TYPE_CHECKING:
    from fixedram_fmt.container.foreign import Foreign
    from fixedram_fmt.container.wrapper import Wrapper
    from fixedram_fmt.io.source import Source

__all__ = ["begins_save", "locate_stream", "split_location"]

#: More wrappers around a stream are not opened.
_DEPTH_CEILING = 8


class SplitLocation(NamedTuple):
    """What a location says: a path, where in the file, and which of the things in it."""

    path: str
    offset: int | None = None
    name: str | None = None


def split_location(location: str) -> SplitLocation:
    """The parts of `PATH`, `PATH@OFFSET` or `PATH#NAME`; a file that is really called so wins.

    Raises SourceError when what follows the @ is meant as an offset and is none.
    """
    if os.path.lexists(location):
        return SplitLocation(location)
    path, sign, name = location.rpartition("#")
    while sign and not _exists(path):
        path, sign, more = path.rpartition("#")
        name = f"{more}#{name}"
    if sign and path:
        return SplitLocation(path, name=name)
    path, at, offset = location.rpartition("@")
    if not at or not path or not offset[:1].isdigit():
        return SplitLocation(location)
    try:
        return SplitLocation(path, parse_size(offset))
    except ValueError as error:
        raise SourceError(str(error), hint="write PATH@OFFSET") from error


def _exists(path: str) -> bool:
    return path == "-" or os.path.lexists(path)


def begins_save(head: bytes) -> bool:
    """Whether a file that begins so (registry.HEAD bytes) is a stream, or one in a container.

    What is compressed may be anything.
    """
    wrapper = wrapper_of(head)
    return head.startswith(QEMU_VM_FILE_MAGIC) or (wrapper is not None and not wrapper.packs)


def locate_stream(
    source: Source,
    *,
    offset: int | None = None,
    search: bool = False,
    name: str | None = None,
) -> tuple[Source, Container]:
    """The Source that holds the stream (source itself, or another), and what it lies in.

    Of a compressed file the offset counts in the unpacked bytes, unless there is a stream at it as
    it is.  name is that of a thing in the file, a snapshot say.  What was opened on the way is
    closed by Container.close().  Raises FormatError when there is no stream, UnsupportedError for a
    compression that cannot be undone here or that unpacks to too much.
    """
    around: list[Wrapper] = []
    try:
        place = _opened(Place(source, 0, name), offset, around)
        if name is not None and not any(wrapper.has_names for wrapper in around):
            raise SourceError(
                "nothing in this file has a name", path=name,
                expected="a qcow2 image", hint="PATH#NAME is for snapshots of qcow2 images",
            )  # fmt: skip
        if not any(wrapper.holds_stream for wrapper in around):
            place = _stream_in(place, around, offset, search=search)
    except BaseException as error:
        Container(tuple(around)).close()
        if isinstance(error, FormatError) and around and around[0].cut_short:
            why = f"{around[0].cut_short}, and nothing usable comes before that"
            raise FormatError(why, offset=0, path=around[0].compression or "") from error
        raise
    return place.source, Container(tuple(around))


def _opened(place: Place, offset: int | None, around: list[Wrapper]) -> Place:
    """Where the innermost wrapper leads; all that were opened are added to around."""
    budget = None
    while len(around) < _DEPTH_CEILING:
        wrapper = wrapper_of(place.source.read_upto(place.offset, HEAD))
        if wrapper is None:
            break
        if offset is not None and not wrapper.packs:
            break
        if offset and stream_at(Place(place.source, offset)):
            break
        if not all(one.takes(wrapper, around[index:]) for index, one in enumerate(around, 1)):
            break
        if wrapper.packs and budget is None:
            # One for all compressions of the file together.
            budget = UnpackBudget.of(place.source.size - place.offset)
        around.append(wrapper.open(place, budget))
        place = around[-1].inner._replace(name=None if wrapper.has_names else place.name)
    return place


def _stream_in(place: Place, around: list[Wrapper], offset: int | None, *, search: bool) -> Place:
    """The stream itself, at place or further in; what precedes it is added to around."""
    source = place.source
    if offset is None:
        head = source.read_upto(place.offset, HEAD)
        if head.startswith(QEMU_VM_FILE_MAGIC):
            return place
        foreign = foreign_file(head)
        if search and not (foreign and foreign.holds_bytes_of_others):
            offset = next(stream_offsets(source, place.offset), None)
        if offset is None:
            raise _no_stream(head[:16], place.offset, foreign, search=search)
    elif offset >= source.size:
        raise FormatError(
            "the offset lies outside the file",
            code="offset",
            offset=offset,
            expected=f"an offset below {source.size:#x}",
            found=f"{offset:#x}",
        )
    if offset != place.offset:
        around.append(Prefix(outer=place, inner=Place(source, offset)))
    return Place(source, offset)


def _no_stream(head: bytes, offset: int, foreign: Foreign | None, *, search: bool) -> FormatError:
    further = (
        "no stream was found further in either"
        if search
        else "if the stream starts further in, give PATH@OFFSET or --search"
    )
    message = "this is neither a QEMU migration stream nor a libvirt save image"
    if foreign:
        message, further = f"this is {foreign.what}, not a save", foreign.advice
    return FormatError(
        message if head else "the file is empty",
        code="magic",
        offset=offset,
        path="header.magic",
        expected=f"{QEMU_VM_FILE_MAGIC!r} or {QEMU_SAVE_MAGIC!r}",
        found=repr(head) if head else "nothing",
        hint=further if head else "",
    )
