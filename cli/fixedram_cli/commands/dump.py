"""`fixedram dump`: every record of an image with its offset, as a tree that covers every byte."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import Deep, ImageArgument, number, option
from fixedram_cli.render.jsonout import print_json_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.container.outerfile import OuterFile
    from fixedram_fmt.image import Image
    from fixedram_fmt.stream.records import Record


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are shown."""

    deep: Deep = False
    depth: Annotated[
        int | None,
        option("--depth", "Put everything below so many steps of the tree together.", "N", min=1),
    ] = None
    kind: Annotated[
        list[str] | None,
        option("--kind", "Only records of this kind; may be given several times.", "KIND"),
    ] = None
    offset: Annotated[
        str | None,
        option("--offset", "Only what owns these bytes of the file.", "OFFSET[+LENGTH]"),
    ] = None
    container: Annotated[
        bool,
        option(
            "--container", "Show what the stream lies in (qcow2, a save of Xen), not the stream."
        ),
    ] = False


def dump(
    image: ImageArgument,
    form: Form,
    reading: Reading,
    selection: Selection,
    bytes_: Annotated[
        bool, option("--bytes", "Show the bytes themselves beside the fields.")
    ] = False,
    all_: Annotated[
        bool, option("--all", "Show long rows of like records in full (text).")
    ] = False,
) -> None:
    """It goes from the start of the file to its end, without a gap: what a stream is packed in too.

    Of a qcow2 image, without a name, it shows the image itself, with its snapshots.

    Example: fixedram dump guest.img

    Example: fixedram dump disk.qcow2#before-upgrade

    Example: fixedram dump guest.img --depth 1

    Example: fixedram dump guest.img --kind mapped_ram_header --bytes

    Example: fixedram dump guest.img --offset 0x100000+4K --json
    """
    wanted = _filter(selection.kind, selection.offset)
    with _opened(image, reading, selection) as opened:
        records = _records(opened, selection, wanted)
        if form.is_json:
            _print_json(opened, image, records, with_bytes=bytes_)
        else:
            from fixedram_cli.render.tree import TreePrinter

            TreePrinter(opened, with_bytes=bytes_, everything=all_).print(image, records)


@contextmanager
def _opened(location: str, reading: Reading, selection: Selection) -> Iterator[Image | OuterFile]:
    """The image; or the container itself, which was asked for, or in which no stream was named."""
    from fixedram_cli.render.terminal import warn_if_stopped
    from fixedram_fmt.container.outerfile import OuterFile
    from fixedram_fmt.errors import UnsupportedError

    opened: Image | OuterFile
    if selection.container:
        opened = OuterFile.open(location)
    else:
        try:
            opened = reading.open(location)
        except UnsupportedError as error:
            try:
                opened = OuterFile.open(location)
            except UnsupportedError:
                raise error from None
    with opened:
        yield opened
        if not isinstance(opened, OuterFile):
            warn_if_stopped(opened)


def _records(
    image: Image | OuterFile, selection: Selection, wanted: Callable[[Record[Any]], bool]
) -> Iterator[Record[Any]]:
    from fixedram_fmt.container.outerfile import OuterFile
    from fixedram_fmt.tiling import container_leaves, leaves, merged, outer_leaves

    if isinstance(image, OuterFile):
        whole = outer_leaves(image)
    else:
        whole = chain(container_leaves(image), leaves(image, deep=selection.deep))
    chosen = filter(wanted, whole)
    return chosen if selection.depth is None else merged(chosen, selection.depth)


def _filter(kinds: list[str] | None, offset: str | None) -> Callable[[Record[Any]], bool]:
    """What --kind and --offset leave over; usage errors where they make no sense."""
    from fixedram_fmt.stream.records import Kind

    known = {kind.value for kind in Kind}
    for kind in kinds or ():
        if kind not in known:
            raise typer.BadParameter(
                f"{kind!r} is none of: {', '.join(sorted(known))}", param_hint="'--kind'"
            )
    start, stop = 0, None
    if offset is not None:
        first, plus, length = offset.partition("+")
        start = number(first, "--offset")
        stop = start + (number(length, "--offset") if plus else 1)

    def wanted(record: Record[Any]) -> bool:
        if kinds and record.kind.value not in kinds:
            return False
        return record.stop > start and (stop is None or record.offset < stop)

    return wanted


def _print_json(
    image: Image | OuterFile, path: str, records: Iterator[Record[Any]], *, with_bytes: bool
) -> None:
    from fixedram_fmt.container.described import ContainerSummary
    from fixedram_fmt.container.outerfile import OuterFile
    from fixedram_fmt.tiling import Dump, DumpStop, entry

    if isinstance(image, OuterFile):
        stopped, complete = None, True
        container = ContainerSummary(kind=image.kind, stream_offset=0)
    else:
        stopped, complete = image.stopped, image.complete
        container = image.container.describe()
    head = Dump(
        path=path,
        size=image.source.size,
        stream_offset=container.stream_offset,
        complete=complete,
        stopped=None if stopped is None else DumpStop(stopped.offset, str(stopped)),
        container=container,
        records=(),
    )
    print_json_list(head, (entry(image, record, with_bytes=with_bytes) for record in records))
