"""The byte order of bitmaps is told from what contradicts it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import HostLong, Image
from support.builders import Block, StreamBuilder, open_bytes, page

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 256
ORDERS = [HostLong.LITTLE_64, HostLong.BIG_64, HostLong.BIG_32]


def memory(present: set[int], pages: int) -> bytes:
    return b"".join(page(at + 1, SIZE) if at in present else bytes(SIZE) for at in range(pages))


def image(host_long: HostLong, present: set[int], pages: int, machine: bytes = b"q35") -> bytes:
    builder = StreamBuilder(host_long=host_long).header().configuration(machine)
    builder.mapped_ram(Block(b"ram0", memory(present, pages)))
    return builder.eof().file()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("machine", [b"pc", b"s390-ccw-virtio-11.1", b"pseries"])
def test_order_is_told_by_bits_past_the_last_page(order: HostLong, machine: bytes) -> None:
    """20 pages, of which 0 to 11 are present: in any other order most lie past the end."""
    data = image(order, set(range(12)), 20, machine)
    with open_bytes(data) as opened:
        guess = opened.host_long
        assert guess.value is order
        assert guess.reason
        bits = opened.bitmap(opened.blocks[0])
        assert bits is not None
        assert [at for at in range(20) if at in bits] == list(range(12))


@pytest.mark.parametrize("order", [HostLong.BIG_64, HostLong.BIG_32])
def test_big_endian_machine_is_told_by_page_data_where_no_tail_tells(order: HostLong) -> None:
    """64 pages and no hole: only a look at the pages tells which are present."""
    with open_bytes(image(order, {0, 1, 2, 9, 17}, 64, b"s390-ccw-virtio-11.1")) as opened:
        assert opened.host_long.value is order
        assert opened.host_long.reason == "page data"


@pytest.mark.parametrize("order", ORDERS)
def test_order_is_told_by_holes_of_the_file(order: HostLong, tmp_path: Path) -> None:
    """512 pages of 4 KiB fill their longs; the absent ones are holes."""
    pages, size = 512, 4096
    present = {3, 70, 71, 72, 200, 450}
    content = b"".join(page(at, size) if at in present else bytes(size) for at in range(pages))
    builder = StreamBuilder(page_size=size, align=4096, host_long=order).header()
    builder.configuration().mapped_ram(Block(b"ram0", content)).eof()
    data = builder.file()
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(len(data))
        for at in range(0, len(data), 4096):
            if any(data[at : at + 4096]):
                os.pwrite(file.fileno(), data[at : at + 4096], at)
    with Image.open(path) as opened:
        assert opened.host_long.value is order
        bits = opened.bitmap(opened.blocks[0])
        assert bits is not None
        assert {run.start for run in bits.runs() if run.present} == {3, 70, 200, 450}


def test_little_endian_where_nothing_tells() -> None:
    with open_bytes(image(HostLong.LITTLE_64, set(), 64)) as opened:
        assert opened.host_long.value is HostLong.LITTLE_64


@pytest.mark.parametrize("order", list(HostLong))
def test_order_that_was_given_counts(order: HostLong) -> None:
    data = image(HostLong.LITTLE_64, set(range(12)), 20)
    with open_bytes(data, host_long=order) as opened:
        assert opened.host_long == (order, "given")


def test_cut_off_bitmaps_do_not_stop_the_guess() -> None:
    data = image(HostLong.BIG_64, set(range(12)), 20)
    with open_bytes(data[:150]) as opened:
        assert opened.blocks
        assert opened.host_long.value in HostLong
