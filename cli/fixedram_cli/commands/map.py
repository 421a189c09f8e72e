"""`fixedram map`: which pages of a block are present, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.commands.blocks import block_named
from fixedram_cli.options import (
    ByteOrderOption,
    Deep,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
    keep,
    open_image,
    option,
    wants_json,
)
from fixedram_fmt.pagemap.picture import Order

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

_JSON_CELLS, _PICTURE_CELLS = 512, 1 << 16
_SUFFIXES = (".png", ".svg")


def map_(
    image: ImageArgument,
    block: Annotated[
        str | None,
        option("--block", "The block to show (default: the largest; in JSON all).", "NAME"),
    ] = None,
    out: Annotated[
        Path | None, option("-o --out", "Write a picture: FILE.png or FILE.svg.", "FILE")
    ] = None,
    cells: Annotated[
        int | None,
        option("--cells", "In how many parts to show the block.", "N", min=1, max=1 << 20),
    ] = None,
    width: Annotated[
        int | None, option("--width", "Cells in a row.", "N", min=1, max=4096)
    ] = None,
    order: Annotated[
        Order, option("--order", "How cells lie in a picture.", "rows|hilbert")
    ] = Order.ROWS,
    deep: Deep = False,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """Show which pages are present, as a picture.

    On the terminal, or in a file.

    Reads the bitmap only, unless --deep asks for stale pages and stored zeros.

    Example: fixedram map guest.img

    Example: fixedram map guest.img --block vga.vram --deep

    Example: fixedram map guest.img -o guest.png --order hilbert
    """
    from fixedram_cli.render.terminal import warn_if_stopped

    as_json = wants_json(json_, output)
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter("give a file that ends in .png or .svg", param_hint="'-o'")
    keep([image], [out])
    with open_image(image, search=search, byte_order=byte_order) as opened:
        chosen = _chosen(opened, block)
        if out is not None:
            _write(out, opened, chosen, _shape(cells, width, order), deep=deep, force=force)
        if as_json:
            wanted = [chosen] if block is not None or out is not None else opened.blocks
            _print_json(opened, image, wanted, cells or _JSON_CELLS, deep=deep)
        elif out is None:
            from fixedram_cli.render.pagemap import print_map

            print_map(opened, image, chosen, (cells, width), deep=deep)
        warn_if_stopped(opened)


def _chosen(image: Image, name: str | None) -> RamBlock:
    """The block of that name, or the largest."""
    from fixedram_fmt.errors import FormatError

    if not image.blocks:
        raise FormatError("this image has no RAM blocks", hint="fixedram dump shows what it has")
    if name is None:
        known = [block for block in image.blocks if image.readable_bitmap(block) is not None]
        return max(known or image.blocks, key=lambda block: block.used_length)
    return block_named(image, name)


def _shape(cells: int | None, width: int | None, order: Order) -> tuple[int, int | None, Order]:
    """How many cells, how many of them in a row, and in which order."""
    from fixedram_fmt.pagemap.picture import square_cells

    if order is Order.HILBERT:
        number = square_cells(width * width if width and cells is None else cells or _PICTURE_CELLS)
        return number, None, order
    return cells or (width * width if width else _PICTURE_CELLS), width, order


def _write(
    out: Path,
    image: Image,
    block: RamBlock,
    shape: tuple[int, int | None, Order],
    *,
    deep: bool,
    force: bool,
) -> None:
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.pagemap.cells import page_cells
    from fixedram_fmt.pagemap.picture import draw, png, square_cells, svg

    number, width, order = shape
    if order is Order.HILBERT:
        number = square_cells(min(number, max(1, block.pages_total)))
    with replacing(out, force=force) as output:
        picture = draw(page_cells(image, block, number, deep=deep), width=width, order=order)
        output.write(0, png(picture) if out.suffix.lower() == ".png" else svg(picture).encode())


def _print_json(image: Image, path: str, blocks: list[RamBlock], cells: int, *, deep: bool) -> None:
    from fixedram_cli.render.jsonout import print_json_list
    from fixedram_fmt.pagemap.cells import ImageCells, page_cells

    counted = (page_cells(image, block, cells, deep=deep).listed() for block in blocks)
    print_json_list(ImageCells(path, deep, ()), counted)
