"""Page maps as pictures: PNG with a palette by zlib and struct, SVG as text.

A cell's colour says what is in it: stale pages win over the rest, since they are rare and are
looked for; then zero pages that are stored, where they are the majority; then present ones.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING

from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.pagemap.cells import PageCells

    Pixels = npt.NDArray[np.uint8]

__all__ = [
    "ABSENT",
    "LEVELS",
    "NOTHING",
    "PALETTE",
    "PRESENT",
    "STALE",
    "UNKNOWN",
    "ZERO",
    "Order",
    "Picture",
    "colours_of",
    "draw",
    "plain_png",
    "png",
    "square_cells",
    "svg",
    "svg_paths",
]

#: Steps from few pages of a cell to all of them.
LEVELS = 8
NOTHING, ABSENT, UNKNOWN, _INK, _PALE = range(5)
#: The first of LEVELS colours each.
PRESENT, ZERO, STALE = (5 + LEVELS * number for number in range(3))

_PICTURE_WIDTH = 1024
#: Dots from one address to the next, at least.
_LABEL_ROOM = 14


class Order(StrEnum):
    """How cells are laid out: row by row, or along a Hilbert curve, which keeps neighbours near."""

    ROWS = "rows"
    HILBERT = "hilbert"


def _ramp(pale: tuple[int, ...], full: tuple[int, ...]) -> list[tuple[int, ...]]:
    steps = [step / (LEVELS - 1) for step in range(LEVELS)]
    return [tuple(round(a + (b - a) * at) for a, b in zip(pale, full, strict=True)) for at in steps]


#: Red, green and blue of each colour.
PALETTE: list[tuple[int, ...]] = [
    (255, 255, 255),
    (233, 236, 239),
    (180, 184, 190),
    (33, 37, 41),
    (108, 117, 125),
    *_ramp((186, 214, 244), (11, 79, 158)),
    *_ramp((250, 226, 160), (196, 132, 0)),
    *_ramp((246, 180, 172), (190, 40, 30)),
]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Cells in their places: pixels are palette indices, one a cell, in rows.

    labels are addresses at the rows they belong to, at the left or (right) at the other side;
    legend is a colour with what it means.
    """

    title: str
    about: str
    pixels: Pixels
    labels: tuple[tuple[int, str, bool], ...]
    legend: tuple[tuple[int, str], ...]

    @property
    def height(self) -> int:
        """Rows of cells."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Cells of a row."""
        return int(self.pixels.shape[1])


def colours_of(cells: PageCells) -> Pixels:
    """The palette index of each cell."""
    import numpy as np

    totals = np.maximum(cells.totals, 1)
    if cells.present is None:
        return np.full(totals.size, UNKNOWN, np.uint8)
    colours = np.full(totals.size, ABSENT, np.uint8)
    shown = [(PRESENT, cells.present, cells.present > 0)]
    if cells.zero is not None and cells.stale is not None:
        shown.append((ZERO, cells.zero, cells.zero * 2 > cells.present))
        shown.append((STALE, cells.stale, cells.stale > 0))
    for base, number, where in shown:
        level = -(-number * LEVELS // totals) - 1
        colours[where] = (base + level[where]).astype(np.uint8)
    return colours


def draw(cells: PageCells, *, width: int | None = None, order: Order = Order.ROWS) -> Picture:
    """Lay the cells out, width of them in a row (rows), or along a curve that fills a square.

    Without a width the rows make about a square.  A curve's square is full where the number of
    cells is one of square_cells().
    """
    import numpy as np

    colours = colours_of(cells)
    if order is Order.HILBERT:
        side = 1 << max(0, (colours.size - 1).bit_length() + 1) // 2
        pixels = np.full((side, side), NOTHING, np.uint8)
        x, y = _hilbert(side, colours.size)
        pixels[y, x] = colours
        labels = _corners(cells, side)
    else:
        width = min(width or 1 << (colours.size.bit_length() + 1) // 2, colours.size)
        height = -(-colours.size // width)
        flat = np.full(height * width, NOTHING, np.uint8)
        flat[: colours.size] = colours
        pixels = flat.reshape(height, width)
        labels = _row_labels(cells, width, height)
    return Picture(cells.block, _about(cells, order), pixels, labels, _legend(cells))


def square_cells(cells: int) -> int:
    """The largest number up to cells that fills a Hilbert curve's square: a power of four."""
    return 1 << (max(1, cells).bit_length() - 1) // 2 * 2


def _about(cells: PageCells, order: Order) -> str:
    per_cell = int(cells.totals.max())
    size = human_size(cells.pages * cells.page_size)
    cell = human_size(per_cell * cells.page_size)
    if cells.present is None:
        present = "not in the image" if cells.ignored else "presence unknown"
    else:
        present = f"{int(cells.present.sum()):,} of {cells.pages:,} pages present"
    how = ", along a Hilbert curve" if order is Order.HILBERT else ""
    return f"{size}, {present}; one cell is {cell}{how}"


def _legend(cells: PageCells) -> tuple[tuple[int, str], ...]:
    if cells.present is None:
        return ((UNKNOWN, "not in the image" if cells.ignored else "unknown"),)
    legend = [(ABSENT, "absent"), (PRESENT, "few present"), (PRESENT + LEVELS - 1, "all present")]
    if cells.stale is not None:
        legend += [(ZERO + LEVELS - 1, "present, zero"), (STALE + LEVELS - 1, "stale")]
    return tuple(legend)


def _row_labels(cells: PageCells, width: int, height: int) -> tuple[tuple[int, str, bool], ...]:
    """An address for one row in every so many, so that letters do not touch."""
    step = max(1, -(-height // 16), -(-_LABEL_ROOM // _scale_of(width, height)))
    last = int(cells.edges[-1]) * cells.page_size
    digits = len(f"{last:x}")
    return tuple(
        (row, f"{int(cells.edges[row * width]) * cells.page_size:0{digits}x}", False)
        for row in range(0, height, step)
    )


def _corners(cells: PageCells, side: int) -> tuple[tuple[int, str, bool], ...]:
    """Where the quarters of the curve begin: down the left side, then up the right."""
    places = ((0, False), (side // 2, False), (side // 2, True), (0, True))
    labels = []
    for quarter, (row, right) in enumerate(places):
        cell = quarter * side * side // 4
        if cell < cells.edges.size - 1 and (side > 1 or not quarter):
            labels.append((row, f"{int(cells.edges[cell]) * cells.page_size:x}", right))
    return tuple(labels)


def _hilbert(side: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Coordinates of the first count steps of the curve in a square of side cells a side.

    It begins at the upper left, and the quarters follow down the left side and up the right.
    """
    import numpy as np

    rest = np.arange(count, dtype=np.int64)
    x, y = np.zeros(count, np.int64), np.zeros(count, np.int64)
    size = 1
    while size < side:
        right = rest >> 1 & 1
        down = (rest ^ right) & 1
        turn = down == 0
        flip = turn & (right == 1)
        x, y = np.where(flip, size - 1 - x, x), np.where(flip, size - 1 - y, y)
        x, y = np.where(turn, y, x), np.where(turn, x, y)
        x, y = x + size * right, y + size * down
        rest >>= 2
        size *= 2
    return x, y


# -- PNG ------------------------------------------------------------------------------------------


def plain_png(pixels: Pixels, palette: list[tuple[int, ...]] = PALETTE) -> bytes:
    """Rows of palette indices as a PNG (ISO/IEC 15948), one dot each."""
    import numpy as np

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    # Each row begins with the number of its filter: 0, none.
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    chunks = (
        (b"IHDR", header),
        (b"PLTE", b"".join(map(bytes, palette))),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts.append(struct.pack(">I", len(data)) + name + data)
        parts.append(struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(parts)


def png(picture: Picture) -> bytes:
    """The picture with title, addresses and legend."""
    import numpy as np

    from fixedram_fmt.pagemap.glyphs import HEIGHT, STEP, draw_text

    scale = _scale_of(picture.width, picture.height)
    letter, line = STEP * 2, HEIGHT * 2 + 10
    left, right = (_margin(picture, letter, right=side) for side in (False, True))
    top, bottom = 2 * line + 12, line + 24
    wide, high = picture.width * scale, picture.height * scale
    room = max(left + wide + right, left + _legend_width(picture, letter) + 12, 480)
    canvas = np.full((top + high + bottom, room), NOTHING, np.uint8)
    fit = (room - 24) // letter
    draw_text(canvas, 12, 10, _cut(picture.title, fit), _INK, 2)
    small = 2 if len(picture.about) <= fit else 1
    draw_text(canvas, 12, 10 + line, _cut(picture.about, 2 * fit), _PALE, small)
    grid = picture.pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    canvas[top : top + high, left : left + wide] = grid
    for row, text, at_right in picture.labels:
        x = left + wide + 8 if at_right else left - 8 - len(text) * letter // 2
        y = top + row * scale
        draw_text(canvas, x, min(y, top + high - HEIGHT), text, _PALE, 1)
    x, y = left, top + high + 16
    for colour, text in picture.legend:
        canvas[y : y + 14, x : x + 14] = colour
        draw_text(canvas, x + 20, y, text, _INK, 2)
        x += 20 + (len(text) + 2) * letter
    return plain_png(canvas)


def _scale_of(width: int, height: int) -> int:
    """Dots of a cell's side."""
    return max(1, min(_PICTURE_WIDTH // max(width, height), 16))


def _margin(picture: Picture, letter: int, *, right: bool) -> int:
    longest = max((len(text) for _, text, side in picture.labels if side is right), default=0)
    return 24 + longest * letter // 2


def _legend_width(picture: Picture, letter: int) -> int:
    return sum(20 + (len(text) + 2) * letter for _, text in picture.legend)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: max(0, length - 3)]}..."


# -- SVG ------------------------------------------------------------------------------------------


def svg(picture: Picture) -> str:
    """The picture as SVG: a path a colour, text that can be read and searched."""
    scale = _scale_of(picture.width, picture.height)
    wide, high = picture.width * scale, picture.height * scale
    left, right = (_margin(picture, 14, right=side) for side in (False, True))
    top = 64
    legend = _legend_width(picture, 8)
    room, rows = max(left + wide + right, left + legend, 480), top + high + 48
    title = _svg_text(picture.title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {room} {rows}" width="{room}"'
        f' height="{rows}" role="img" font-family="ui-monospace, monospace" font-size="12">',
        f"<title>{title}: {_svg_text(picture.about)}</title>",
        f'<rect width="{room}" height="{rows}" fill="#fff"/>',
        f'<text x="12" y="26" font-size="18" fill="{_hex(_INK)}">{title}</text>',
        f'<text x="12" y="46" fill="{_hex(_PALE)}">{_svg_text(picture.about)}</text>',
        f'<g transform="translate({left} {top}) scale({scale})" shape-rendering="crispEdges">',
        *svg_paths(picture),
        "</g>",
    ]
    for row, text, at_right in picture.labels:
        x, anchor = (left + wide + 8, "start") if at_right else (left - 8, "end")
        y = top + row * scale + 9
        parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{_hex(_PALE)}">{escape(text)}'
            "</text>"
        )
    x, y = left, top + high + 16
    for colour, text in picture.legend:
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{_hex(colour)}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 12}" fill="{_hex(_INK)}">{escape(text)}</text>')
        x += 36 + len(text) * 8
    return "\n".join([*parts, "</svg>", ""])


def svg_paths(picture: Picture) -> list[str]:
    """The cells as one path for each colour, a cell being one unit; runs of a row are one box."""
    import numpy as np

    boxes: dict[int, list[str]] = {}
    for y, row in enumerate(picture.pixels):
        starts = np.concatenate(([0], np.flatnonzero(np.diff(row)) + 1))
        stops = np.append(starts[1:], row.size)
        for x, stop, colour in zip(
            starts.tolist(), stops.tolist(), row[starts].tolist(), strict=True
        ):
            if colour != NOTHING:
                boxes.setdefault(colour, []).append(f"M{x} {y}h{stop - x}v1h-{stop - x}z")
    return [
        f'<path class="c{one}" fill="{_hex(one)}" d="{"".join(boxes[one])}"/>'
        for one in sorted(boxes)
    ]


def _hex(colour: int) -> str:
    return "#" + bytes(PALETTE[colour]).hex()


def _svg_text(text: str) -> str:
    """text that XML can hold: control characters are none of it, whatever they are escaped as."""
    return escape("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text))
