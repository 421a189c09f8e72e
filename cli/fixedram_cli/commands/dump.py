"""`fixedram dump`: every record of an image with its offset, as a tree that covers every byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    Deep,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
    number,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.stream.records import Record


def dump(
    image: ImageArgument,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
    deep: Deep = False,
    depth: Annotated[
        int | None,
        option("--depth", "Put everything below so many steps of the tree together.", "N", min=1),
    ] = None,
    kind: Annotated[
        list[str] | None,
        option("--kind", "Only records of this kind; may be given several times.", "KIND"),
    ] = None,
    offset: Annotated[
        str | None,
        option("--offset", "Only what owns these bytes of the file.", "OFFSET[+LENGTH]"),
    ] = None,
    bytes_: Annotated[
        bool, option("--bytes", "Show the bytes themselves beside the fields.")
    ] = False,
    all_: Annotated[
        bool, option("--all", "Show long rows of like records in full (text).")
    ] = False,
) -> None:
    """Show every byte of an image with its owner, as a tree.

    It goes from the start of the file to its end, without a gap: what a stream is packed in too.

    Example: fixedram dump guest.img

    Example: fixedram dump guest.img --depth 1

    Example: fixedram dump guest.img --kind mapped_ram_header --bytes

    Example: fixedram dump guest.img --offset 0x100000+4K --json
    """
    from itertools import chain

    from fixedram_cli.render.terminal import warn_if_stopped
    from fixedram_fmt.tiling import container_leaves, leaves, merged

    wanted = _selection(kind, offset)
    with open_image(image, search=search, byte_order=byte_order) as opened:
        records: Iterator[Record[Any]] = filter(
            wanted, chain(container_leaves(opened), leaves(opened, deep=deep))
        )
        if depth is not None:
            records = merged(records, depth)
        if wants_json(json_, output):
            _print_json(opened, image, records, with_bytes=bytes_)
        else:
            from fixedram_cli.render.tree import TreePrinter

            TreePrinter(opened, with_bytes=bytes_, everything=all_).print(image, records)
        warn_if_stopped(opened)


def _selection(kinds: list[str] | None, offset: str | None) -> Callable[[Record[Any]], bool]:
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
    image: Image, path: str, records: Iterator[Record[Any]], *, with_bytes: bool
) -> None:
    from fixedram_cli.render.jsonout import print_json_list
    from fixedram_fmt.tiling import Dump, DumpStop, entry

    stopped = image.stopped
    head = Dump(
        path=path,
        size=image.source.size,
        stream_offset=image.container.stream_offset,
        complete=image.complete,
        stopped=None if stopped is None else DumpStop(stopped.offset, str(stopped)),
        records=(),
    )
    print_json_list(head, (entry(image, record, with_bytes=with_bytes) for record in records))
