"""PageBitmap and PageSet against loops over single bits."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixedram_fmt import FormatError, HostLong, PageBitmap, Source
from fixedram_fmt.blocks import RamBlock
from fixedram_fmt.presence import bitmap
from fixedram_fmt.presence.bitmap import Run
from fixedram_fmt.presence.hostlong import swapped
from fixedram_fmt.presence.pageset import PageSet
from fixedram_fmt.stream.ramstate import RamState
from fixedram_fmt.stream.sentpresence import SentPresence
from support.builders import bitmap_bytes

if TYPE_CHECKING:
    from pathlib import Path

EACH_ORDER = pytest.mark.parametrize("order", list(HostLong))
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


@pytest.fixture(params=["whole", "chunked"], autouse=True)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test also with chunks of 24 bytes, so that borders fall everywhere."""
    if request.param == "chunked":
        monkeypatch.setattr(bitmap, "_CHUNK", 24)
        monkeypatch.setattr(bitmap, "_SMALL", 0)


@st.composite
def presences(draw: st.DrawFn) -> list[bool]:
    """Presence of some pages: single bits, runs, and stretches without a change."""
    pieces = draw(
        st.lists(st.tuples(st.booleans(), st.integers(1, 200) | st.integers(1, 3)), max_size=12)
    )
    return [value for value, length in pieces for _ in range(length)]


def make(present: list[bool], order: HostLong, *, front: int = 0, tail: int = 0) -> PageBitmap:
    """A bitmap at offset front of its source, with the first tail bits past the end set."""
    bits = {page for page, value in enumerate(present) if value}
    length = PageBitmap.length_of(len(present), order)
    room = length * 8 - len(present)
    bits |= {len(present) + number for number in range(min(tail, room))}
    data = b"\xff" * front + bitmap_bytes(bits, len(present), order) + b"\xff" * 9
    return PageBitmap(Source.from_buffer(data), front, len(present), order)


def naive_runs(present: list[bool], start: int, stop: int) -> list[Run]:
    runs: list[Run] = []
    at = start
    for value, group in groupby(present[start:stop]):
        length = len(list(group))
        runs.append(Run(at, at + length, value))
        at += length
    return runs


@pytest.mark.slow
@EACH_ORDER
@SETTINGS
@given(presences(), st.integers(0, 5), st.integers(0, 64), st.data())
def test_count_runs_and_present_agree_with_a_loop_over_bits(
    order: HostLong, present: list[bool], front: int, tail: int, data: st.DataObject
) -> None:
    bits = make(present, order, front=front, tail=tail)
    start = data.draw(st.integers(0, len(present) + 3))
    stop = data.draw(st.integers(0, len(present) + 3))
    inside = present[start:stop]
    assert bits.count() == sum(present)
    assert bits.count(start, stop) == sum(inside)
    assert list(bits.runs()) == naive_runs(present, 0, len(present))
    assert list(bits.runs(start, stop)) == naive_runs(present, start, stop)
    assert bits.flags(start, max(start, stop)).tolist() == present[start : max(start, stop)]


@pytest.mark.slow
@EACH_ORDER
@SETTINGS
@given(presences(), st.integers(0, 64))
def test_membership_and_length_agree_with_the_bits(
    order: HostLong, present: list[bool], tail: int
) -> None:
    bits = make(present, order, tail=tail)
    assert len(bits) == len(present)
    assert [page in bits for page in range(len(present))] == present
    assert -1 not in bits
    assert len(present) not in bits
    assert len(present) + 1 not in bits


@pytest.mark.slow
@EACH_ORDER
@SETTINGS
@given(presences(), st.integers(0, 70))
def test_tail_bits_are_those_past_the_last_page(
    order: HostLong, present: list[bool], tail: int
) -> None:
    bits = make(present, order, tail=tail)
    room = bits.length * 8 - len(present)
    assert bits.tail_bits() == min(tail, room)


@pytest.mark.slow
@EACH_ORDER
@SETTINGS
@given(presences(), st.integers(-3, 50))
def test_histogram_parts_are_equal_and_add_up(
    order: HostLong, present: list[bool], cells: int
) -> None:
    histogram = make(present, order, tail=5).histogram(cells)
    assert len(histogram) == max(1, min(cells, len(present)))
    assert sum(total for _, total in histogram) == len(present)
    sizes = {total for _, total in histogram}
    assert max(sizes) - min(sizes) <= 1
    at = 0
    for count, total in histogram:
        assert count == sum(present[at : at + total])
        at += total


@pytest.mark.slow
@EACH_ORDER
@pytest.mark.parametrize("other", list(HostLong))
@SETTINGS
@given(present=presences())
def test_converted_bitmap_means_the_same_pages(
    order: HostLong, other: HostLong, present: list[bool]
) -> None:
    target = bytearray(PageBitmap.length_of(len(present), other))
    for offset, data in make(present, order).converted(other):
        target[offset : offset + len(data)] = data
    expected = {page for page, value in enumerate(present) if value}
    assert bytes(target) == bitmap_bytes(expected, len(present), other)


@pytest.mark.parametrize(
    ("order", "raw"),
    [
        (HostLong.LITTLE_64, "0102000000000000"),
        (HostLong.BIG_64, "0000000000000201"),
        (HostLong.LITTLE_32, "01020000"),
        (HostLong.BIG_32, "00000201"),
    ],
)
def test_pages_0_and_9_as_each_host_writes_them(order: HostLong, raw: str) -> None:
    bits = PageBitmap.from_bytes(bytes.fromhex(raw), 10, order)
    assert [page for page in range(10) if page in bits] == [0, 9]
    assert list(bits.runs()) == [Run(0, 1, True), Run(1, 9, False), Run(9, 10, True)]


@pytest.mark.parametrize(
    ("pages", "order", "length"),
    [
        (0, HostLong.LITTLE_64, 0),
        (1, HostLong.LITTLE_64, 8),
        (64, HostLong.BIG_64, 8),
        (65, HostLong.BIG_64, 16),
        (32, HostLong.LITTLE_32, 4),
        (33, HostLong.BIG_32, 8),
        (1 << 52, HostLong.LITTLE_64, 1 << 49),
    ],
)
def test_length_is_bits_to_longs(pages: int, order: HostLong, length: int) -> None:
    assert PageBitmap.length_of(pages, order) == length


@pytest.mark.parametrize(
    ("offset", "pages"), [(-1, 8), (93, 8), (0, 801), (1 << 63, 1), (0, 1 << 63), (101, 0)]
)
def test_bitmap_outside_the_file_is_refused_with_its_place(offset: int, pages: int) -> None:
    with pytest.raises(FormatError) as caught:
        PageBitmap(Source.from_buffer(bytes(100)), offset, pages, path="block")
    assert caught.value.offset == offset
    assert caught.value.path == "block"


def test_block_says_where_its_bitmap_is() -> None:
    block = RamBlock(
        0, "b", b"x", 3 * 4096 + 5, 4096, 0, mapped=True, bitmap_offset=4, pages_offset=4096
    )
    bits = PageBitmap.of_block(Source.from_buffer(bytes(4) + b"\x05" + bytes(7)), block)
    assert bits.pages == 3
    assert bits.count() == 2


@EACH_ORDER
def test_labels_name_the_orders(order: HostLong) -> None:
    assert HostLong.from_label(order.label) is order
    assert ("big" in order.label) == order.big_endian
    with pytest.raises(KeyError):
        HostLong.from_label("middle")


@pytest.mark.slow
@EACH_ORDER
@given(st.binary(max_size=4).map(lambda data: data * 8))
def test_swapping_twice_changes_nothing(order: HostLong, data: bytes) -> None:
    once = swapped(data, order)
    size = order.size
    naive = b"".join(data[at : at + size][::-1] for at in range(0, len(data), size))
    assert once == (naive if order.big_endian else data)
    assert swapped(once, order) == data


# -- bitmaps inside sparse files ------------------------------------------------------------------

HOLE = 4096


@pytest.mark.slow
@EACH_ORDER
@pytest.mark.parametrize("front", [0, 3, HOLE - 4, HOLE + 7])
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_holes_of_the_file_are_absent_pages(
    order: HostLong, front: int, data: st.DataObject, tmp_path: Path
) -> None:
    pages = 6 * HOLE * 8 + data.draw(st.integers(0, 70))
    present: set[int] = set()
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, pages - 1))
        present.update(range(at, min(at + data.draw(st.integers(1, 300)), pages)))
    raw = bitmap_bytes(present, pages, order)
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(front + len(raw) + 100)
        for at in range(0, len(raw), 512):
            if any(raw[at : at + 512]):
                os.pwrite(file.fileno(), raw[at : at + 512], front + at)
    expected = [page in present for page in range(pages)]
    start = data.draw(st.integers(0, pages))
    with Source.open(path) as source:
        bits = PageBitmap(source, front, pages, order)
        assert bits.count() == len(present)
        assert list(bits.runs()) == naive_runs(expected, 0, pages)
        assert list(bits.runs(start)) == naive_runs(expected, start, pages)
        assert bits.count(start) == sum(expected[start:])


def test_long_across_the_edge_of_a_hole_is_read_whole(tmp_path: Path) -> None:
    """A big-endian long whose first bytes lie in a hole and whose last ones do not."""
    path = tmp_path / "sparse"
    front = HOLE - 4
    raw = bitmap_bytes({0, 5, 64}, 128, HostLong.BIG_64)
    with path.open("wb") as file:
        file.truncate(3 * HOLE)
        os.pwrite(file.fileno(), raw[4:], HOLE)
    with Source.open(path) as source:
        bits = PageBitmap(source, front, 128, HostLong.BIG_64)
        assert [page for page in range(128) if page in bits] == [0, 5, 64]
        assert bits.count() == 3
        assert [run.start for run in bits.runs() if run.present] == [0, 5, 64]


def test_exabytes_of_absent_pages_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 42)
        os.pwrite(file.fileno(), b"\x80", 1 << 41)
    with Source.open(path) as source:
        pages = 1 << 45
        bits = PageBitmap(source, 0, pages)
        page = (1 << 44) + 7
        assert bits.count() == 1
        assert list(bits.runs()) == [
            Run(0, page, False),
            Run(page, page + 1, True),
            Run(page + 1, pages, False),
        ]


# -- PageSet --------------------------------------------------------------------------------------


@SETTINGS
@given(st.data(), st.integers(1, 3000))
def test_page_set_is_a_set(data: st.DataObject, pages: int) -> None:
    """In order or not, near or far apart, mentioned once or often."""
    tracked, expected = PageSet(pages), set[int]()
    for _ in range(data.draw(st.integers(0, 4))):
        marks = data.draw(
            st.lists(st.tuples(st.integers(0, pages - 1), st.booleans()), max_size=40)
        )
        marks = sorted(marks) if data.draw(st.booleans()) else marks
        numbers = np.array([page for page, _ in marks], np.uint64)
        tracked.mark(numbers, np.array([present for _, present in marks], np.bool_))
        for page, present in marks:
            expected = expected | {page} if present else expected - {page}
    bits = tracked.bitmap()
    assert bits.pages == pages
    assert {page for page in range(pages) if page in bits} == expected
    assert bits.count() == len(expected)
    assert bits.tail_bits() == 0


def sent(**lengths: int) -> tuple[SentPresence, list[RamBlock]]:
    blocks = [
        RamBlock(number, "", name.encode(), length, page_size=4096, entry_offset=0)
        for number, (name, length) in enumerate(lengths.items())
    ]
    return SentPresence(RamState(blocks=blocks, listed=True)), blocks


def test_presence_is_tracked_by_block_in_pages() -> None:
    presence, blocks = sent(a=4096 * 3 + 1, b=0)
    bitmaps = [presence.bitmap(block) for block in blocks]
    assert [None if bits is None else bits.pages for bits in bitmaps] == [3, 0]


def test_blocks_too_large_to_track_are_not_tracked() -> None:
    presence, blocks = sent(a=4096, b=1 << 63)
    assert [presence.bitmap(block) for block in blocks] == [None, None]
