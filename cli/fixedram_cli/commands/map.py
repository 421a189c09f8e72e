"""`fixedram map`: which pages of a block are present, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import Deep, Force, ImageArgument, option
from fixedram_cli.render.jsonout import print_json_list
from fixedram_cli.target import keep
from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.output import replacing
from fixedram_fmt.pagemap.cells import ImageCells, page_cells
from fixedram_fmt.pagemap.picture import Order, draw, png, square_cells, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

_JSON_CELLS, _PICTURE_CELLS = 512, 1 << 16
_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is shown, and how finely."""

    block: Annotated[
        str | None,
        option("--block", "The block to show (default: the largest; in JSON all).", "NAME"),
    ] = None
    out: Annotated[
        Path | None, option("-o --out", "Write a picture: FILE.png or FILE.svg.", "FILE")
    ] = None
    cells: Annotated[
        int | None,
        option("--cells", "In how many parts to show the block.", "N", min=1, max=1 << 20),
    ] = None
    width: Annotated[int | None, option("--width", "Cells in a row.", "N", min=1, max=4096)] = None
    order: Annotated[Order, option("--order", "How cells lie in a picture.", "rows|hilbert")] = (
        Order.ROWS
    )
    deep: Deep = False
    force: Force = False


def map_(image: ImageArgument, wanted: Wanted, form: Form, reading: Reading) -> None:
    """On the terminal, or in a file.

    Reads the bitmap only, unless --deep asks for stale pages and stored zeros.

    Example: fixedram map guest.img

    Example: fixedram map guest.img --block vga.vram --deep

    Example: fixedram map guest.img -o guest.png --order hilbert
    """
    out = wanted.out
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter("give a file that ends in .png or .svg", param_hint="'-o'")
    keep([image], [out])
    with reading.shown(image) as opened:
        chosen = _chosen(opened, wanted.block)
        if out is not None:
            _write(out, opened, chosen, wanted)
        if form.is_json:
            alone = wanted.block is not None or out is not None
            _print_json(opened, image, [chosen] if alone else opened.blocks, wanted)
        elif out is None:
            from fixedram_cli.render.pagemap import print_map

            print_map(opened, image, chosen, (wanted.cells, wanted.width), deep=wanted.deep)


def _chosen(image: Image, name: str | None) -> RamBlock:
    """The block of that name, or the largest."""
    if not image.blocks:
        raise FormatError("this image has no RAM blocks", hint="fixedram dump shows what it has")
    if name is None:
        known = [block for block in image.blocks if image.readable_bitmap(block) is not None]
        return max(known or image.blocks, key=lambda block: block.used_length)
    return image.block(name)


def _shape(wanted: Wanted) -> tuple[int, int | None]:
    """How many cells, and how many of them in a row."""
    cells, width = wanted.cells, wanted.width
    if wanted.order is Order.HILBERT:
        return square_cells(cells or (width * width if width else _PICTURE_CELLS)), None
    return cells or (width * width if width else _PICTURE_CELLS), width


def _write(out: Path, image: Image, block: RamBlock, wanted: Wanted) -> None:
    number, width = _shape(wanted)
    if wanted.order is Order.HILBERT:
        number = square_cells(min(number, max(1, block.pages_total)))
    with replacing(out, force=wanted.force) as output:
        cells = page_cells(image, block, number, deep=wanted.deep)
        picture = draw(cells, width=width, order=wanted.order)
        output.write(0, png(picture) if out.suffix.lower() == ".png" else svg(picture).encode())


def _print_json(image: Image, path: str, blocks: Sequence[RamBlock], wanted: Wanted) -> None:
    number = wanted.cells or _JSON_CELLS
    counted = (page_cells(image, block, number, deep=wanted.deep).listed() for block in blocks)
    print_json_list(ImageCells(path, wanted.deep, ()), counted)
