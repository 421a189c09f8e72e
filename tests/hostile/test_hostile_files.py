"""Whatever a file says: a result or our error, bounded in time and memory, every byte owned.

Sound images of two makers, the writer (synthetic.py) and one that knows nothing of it
(builders.py), changed in every way there is.  Files made to cost much are in test_robustness.py.
"""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixedram_fmt import Image
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.results import dumps
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.summary import summarize
from fixedram_fmt.tiling import fields, layout, leaves, merged
from fixedram_fmt.write.faults import catalogue
from support.builders import Block, StreamBuilder, open_bytes, ordinary_image, page, tiny_image
from support.synthetic import PAGE, made, ordinary, ram_word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.untraced

#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
#: The walk over an ordinary stream keeps a bit a page: 32 MiB where a block claims 1 TiB, and two
#: walks may hold theirs at once.
MEMORY_LIMIT = 96 << 20

RECORDS = (
    ram_word(0, RamSaveFlag.PAGE) + b"\6pc.ram" + b"\1" * PAGE
    + ram_word(PAGE, RamSaveFlag.ZERO, RamSaveFlag.CONTINUE) + b"\0"
    + ram_word(PAGE, RamSaveFlag.XBZRLE, RamSaveFlag.CONTINUE) + b"\1\0\3abc"
)  # fmt: skip
BUILT = {"mapped": tiny_image(), "ordinary": ordinary_image(1024)}
RAW = {
    **{name: builder.file() for name, builder in BUILT.items()},
    "small pages": ordinary_image().file(),
    "written": made(),
    "written ordinary": ordinary(RECORDS),
}
#: Small pages are the ordinary image once more: two of each layout are enough for what is long.
EACH = pytest.mark.parametrize("name", [name for name in RAW if name != "small pages"])
BULKY = {"pages", "padding", "page", "vmdescription_json", "device"}


@contextmanager
def little_memory() -> Iterator[None]:
    """What runs inside takes less than MEMORY_LIMIT at its peak."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_LIMIT


def look_at(raw: bytes, *, sound: bool = False) -> Image | None:
    """Everything info and dump do, held to what must be true of any file; None if refused.

    sound: no path of a leaf is the beginning of another's.
    """
    begin = time.monotonic()
    try:
        image = open_bytes(raw)
    except FixedRamError as error:
        str(error)
        return None
    with image:
        dumps(summarize(image, "raw", cells=64))
        for deep in (False, True):
            at = image.container.stream_offset
            paths = []
            for leaf in leaves(image, deep=deep):
                assert leaf.offset == at, leaf
                assert leaf.length > 0
                at = leaf.stop
                paths.append(leaf.path + "/")
                json.dumps(fields(leaf))
            assert at == len(raw)
            if sound:
                paths.sort()
                assert not any(after.startswith(before) for before, after in pairwise(paths))
        assert sum(leaf.length for leaf in merged(leaves(image), 1)) == len(raw)
    assert time.monotonic() - begin < SECONDS
    return image


def structures(name: str) -> list[int]:
    """Offsets of the bytes that are neither memory nor text, and the edges of those that are."""
    if name in BUILT:
        parts = BUILT[name].parts
    else:
        found = leaves(open_bytes(RAW[name]), runs=False)
        parts = [(leaf.kind.value, leaf.offset, leaf.length) for leaf in found]
    offsets: set[int] = set()
    for kind, offset, length in parts:
        whole = kind not in BULKY or length < 64
        offsets.update(range(offset, offset + (length if whole else min(length, 12))))
    return sorted(offsets)


def numbers(raw: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of every number of every structure."""
    image = open_bytes(raw)
    for leaf in leaves(image, runs=False):
        for span in layout(image, leaf):
            if isinstance(span.value, int):
                yield leaf.offset + span.offset, span.length


@pytest.mark.parametrize("name", RAW)
def test_sound_images_are_read_to_their_end(name: str) -> None:
    image = look_at(RAW[name], sound=True)
    assert image is not None
    assert image.complete
    assert not image.notes


@pytest.mark.slow
@EACH
def test_image_cut_off_anywhere_gives_what_comes_before(name: str) -> None:
    """From the end of the file header on there is always a result, complete from EOF on."""
    raw = RAW[name]
    (eof,) = (leaf for leaf in leaves(open_bytes(raw)) if leaf.kind == "eof")
    for end in sorted({*structures(name), *range(0, len(raw), 97)}):
        image = look_at(raw[:end], sound=True)
        assert (image is not None) == (end >= 8), f"cut off at {end}"
        assert image is None or image.complete <= (end >= eof.stop), f"cut off at {end}"


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("quarter", range(4))
def test_any_byte_of_a_structure_may_have_any_value(name: str, quarter: int) -> None:
    raw = RAW[name]
    for offset in structures(name)[quarter::4]:
        byte = raw[offset]
        for value in {0, 1, 0x7F, 0x80, 0xFF, byte ^ 1, byte ^ 0x10} - {byte}:
            look_at(raw[:offset] + bytes([value]) + raw[offset + 1 :])


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(RAW)),
    st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 12), st.binary(max_size=12)),
        min_size=1,
        max_size=6,
    ),
)
def test_any_bytes_may_be_replaced_added_or_removed(
    name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    raw = bytearray(RAW[name])
    for at, removed, added in changes:
        at %= len(raw)
        raw[at : at + removed] = added
    look_at(bytes(raw))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
@settings(max_examples=100)
@given(data=st.data())
def test_pieces_of_the_stream_may_come_in_any_order(name: str, data: st.DataObject) -> None:
    """Structures that are sound by themselves, left out, repeated and mixed."""
    raw = RAW[name]
    pieces = [raw[offset : offset + length] for _, offset, length in BUILT[name].parts]
    chosen = data.draw(st.lists(st.sampled_from(pieces), max_size=15))
    look_at(raw[:8] + b"".join(chosen))


@pytest.mark.slow
@EACH
def test_any_number_may_be_at_any_limit(name: str) -> None:
    raw = RAW[name]
    places = list(numbers(raw))
    assert len(places) > 10
    changed = []
    for offset, length in places:
        top = 1 << 8 * length
        limits = {0, 1, top // 2 - 1, top // 2, top - 1, top - 256, top - 4096}
        for number in {*limits, 4096, 1 << 31, 1 << 40, (1 << 40) + 1}:
            if 0 <= number < top:
                new = number.to_bytes(length, "big")
                changed.append((number, raw[:offset] + new + raw[offset + length :]))
    # Tracing costs much, and a number below 64 Ki asks for little.
    for number, image in changed:
        if number < 1 << 16:
            look_at(image)
    with little_memory():
        for number, image in changed:
            if number >= 1 << 16:
                look_at(image)


@pytest.mark.parametrize("name", catalogue())
def test_every_fault_is_read_without_trouble(name: str) -> None:
    look_at(made(faults=[catalogue()[name]]))


NAMES = [
    b"a/b", b"../../etc/passwd", b"\x1b]0;owned\x07", b"<script>", b"[bold red]", b"\n\r\0",
    b"\xff\xfe\xed\xa0\x80", "\u202e".encode(), b"x" * 255, b"/", b"header",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_get_into_paths(name: bytes) -> None:
    builder = StreamBuilder().header().configuration()
    builder.mapped_ram(Block(name, page(1, 256) + bytes(256)))
    builder.full(3, name, b"\xee" * 4).eof()
    raw = builder.file()
    # A name of a device must be printable to be told from damage; a block's need not be.
    assert look_at(raw, sound=True)
    with open_bytes(raw) as image:
        # QEMU compares names as C strings.
        assert image.blocks[0].idstr == name.partition(b"\0")[0]
        for leaf in leaves(image):
            assert leaf.path.isascii()
            assert leaf.path.isprintable()
            assert leaf.path.count("/") <= 3


@pytest.mark.slow
def test_bombs_of_zeros_are_holes_not_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(RAW["written"])
        for _ in range(256):
            file.write(bytes(1 << 20))
    with little_memory(), Image.open(path) as image:
        assert image.source.size == len(RAW["written"]) + (256 << 20)
        disk_size = image.source.disk_size
        assert disk_size is not None
        assert disk_size < 8 << 20
