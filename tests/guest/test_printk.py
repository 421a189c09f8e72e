"""The log of a kernel: rings that wrap, records without a text, and memory that lies."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest

from fixedram_fmt import FixedRamError
from fixedram_fmt.guest.printk import LogLine, kernel_log
from fixedram_fmt.guest.vmcoreinfo import VmCoreInfo
from fixedram_fmt.memory.block import AddressError, Readable

#: Offsets as Linux 6.1 has them on x86-64; any would do.
RING = """\
SYMBOL(prb)=1000
SIZE(prb_desc)=24
SIZE(printk_info)=88
OFFSET(printk_ringbuffer.desc_ring)=0
OFFSET(printk_ringbuffer.text_data_ring)=48
OFFSET(prb_desc_ring.count_bits)=0
OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16
OFFSET(prb_desc_ring.head_id)=24
OFFSET(prb_desc_ring.tail_id)=32
OFFSET(atomic_long_t.counter)=0
OFFSET(prb_data_ring.size_bits)=0
OFFSET(prb_data_ring.data)=8
OFFSET(prb_desc.state_var)=0
OFFSET(prb_desc.text_blk_lpos)=8
OFFSET(prb_data_blk_lpos.begin)=0
OFFSET(prb_data_blk_lpos.next)=8
OFFSET(printk_info.ts_nsec)=8
OFFSET(printk_info.text_len)=16
"""
OLD = """\
SYMBOL(log_buf)=1000
SYMBOL(log_buf_len)=1008
SYMBOL(log_first_idx)=100c
SYMBOL(log_next_idx)=1010
SIZE(printk_log)=16
OFFSET(printk_log.ts_nsec)=0
OFFSET(printk_log.len)=8
OFFSET(printk_log.text_len)=10
"""
_RING, _DESCS, _INFOS, _DATA = 0x2000, 0x3000, 0x10000, 0x40000
_TEXTS = 10
_COMMITTED, _REUSABLE = 1 << 62, 3 << 62


class Bytes(Readable):
    """A MiB of memory."""

    def __init__(self) -> None:
        self.raw = bytearray(1 << 20)
        self.size = len(self.raw)

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        view = memoryview(buffer).cast("B")
        if not 0 <= address <= self.size - view.nbytes:
            raise AddressError("outside", found=hex(address))
        view[:] = self.raw[address : address + view.nbytes]

    def put(self, address: int, form: str, *values: int) -> None:
        struct.pack_into(f"<{form}", self.raw, address, *values)


def ring(texts: Sequence[bytes | None], bits: int = 4, first: int = 0) -> Bytes:
    """A ring with a record for each text (None: one without a text), from identity first on."""
    memory, count, size = Bytes(), 1 << bits, 1 << _TEXTS
    position = first * 40
    for number, text in enumerate(texts, first):
        index = number % count
        memory.put(_INFOS + index * 88, "QQH", number, number * 1_000_001, len(text or b""))
        if text is None:
            memory.put(_DESCS + index * 24, "QQQ", _COMMITTED | number, 1, 1)
            continue
        length = -(-(8 + len(text)) // 8) * 8
        start = position % size
        following = position + length
        if start + length > size:
            start, following = 0, (position // size + 1) * size + length
        memory.put(_DATA + start, "Q", number)
        memory.raw[_DATA + start + 8 : _DATA + start + 8 + len(text)] = text
        memory.put(_DESCS + index * 24, "QQQ", _COMMITTED | number, position, following)
        position = following
    tail = max(first, first + len(texts) - count)
    memory.put(0x1000, "Q", _RING)
    memory.put(_RING, "I4xQQQQ", bits, _DESCS, _INFOS, first + len(texts) - 1, tail)
    memory.put(_RING + 48, "I4xQ", _TEXTS, _DATA)
    return memory


def told(memory: Bytes, info: str = RING) -> list[LogLine]:
    return list(kernel_log(VmCoreInfo.parse(info.encode()), memory))


def test_lines_come_in_their_order_with_their_time() -> None:
    lines = told(ring([b"one", b"two\nthree", b"four"]))
    assert [str(line) for line in lines] == [
        "[    0.000000] one", "[    0.001000] two", "[    0.001000] three", "[    0.002000] four",
    ]  # fmt: skip


@pytest.mark.parametrize("first", [0, 5, 15, 16, 1000])
@pytest.mark.parametrize("number", [1, 16, 40])
def test_a_ring_that_wrapped_has_the_newest(first: int, number: int) -> None:
    texts = [f"line {one} {'x' * (one % 30)}".encode() for one in range(number)]
    kept = texts[-16:]
    assert [line.text.encode() for line in told(ring(texts, first=first))] == kept


def test_records_without_a_text_are_left_out() -> None:
    memory = ring([b"one", None, b"two", b"gone", b"three"])
    memory.put(_DESCS + 3 * 24, "Q", _REUSABLE | 3)
    assert [line.text for line in told(memory)] == ["one", "two", "three"]


def old(texts: Sequence[bytes], wraps_after: int | None = None) -> Bytes:
    """log_buf of 1 KiB; after so many records the log goes on at its start."""
    memory, position = Bytes(), 512 if wraps_after is not None else 0
    memory.put(0x1000, "QIII", _DATA, 1024, position, 0)
    for number, text in enumerate(texts):
        if number == wraps_after:
            position = 0
        length = -(-(16 + len(text)) // 4) * 4
        memory.put(_DATA + position, "QHH", number * 1_000_001, length, len(text))
        memory.raw[_DATA + position + 16 : _DATA + position + 16 + len(text)] = text
        position += length
    memory.put(0x1010, "I", position)
    return memory


@pytest.mark.parametrize("wraps_after", [None, 1, 2])
def test_the_log_before_5_10_is_read_too(wraps_after: int | None) -> None:
    lines = told(old([b"one", b"two", b"three"], wraps_after), OLD)
    assert [str(line) for line in lines] == [
        "[    0.000000] one", "[    0.001000] two", "[    0.002000] three",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "info",
    [
        "",
        "OSRELEASE=6.1\n",
        RING.replace("SIZE(prb_desc)=24", ""),
        RING.replace("=24", "=0"),
        OLD.replace("log_buf)", "x)"),
    ],
)
def test_what_is_not_told_is_an_error_of_ours(info: str) -> None:
    with pytest.raises(FixedRamError):
        told(ring([b"one"]), info)


@pytest.mark.parametrize("bits", [23, 31, 0xFFFFFFFF])
@pytest.mark.parametrize("place", [_RING, _RING + 48])
def test_a_ring_larger_than_one_can_be_is_refused(place: int, bits: int) -> None:
    memory = ring([b"one"])
    memory.put(place, "I", bits)
    with pytest.raises(FixedRamError):
        told(memory)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_memory_gives_lines_or_an_error(seed: int) -> None:
    chance = random.Random(seed)
    for memory, info in ((ring([b"text"] * 20), RING), (old([b"text"] * 20), OLD)):
        for _ in range(30):
            place = chance.choice((0x1000, _RING, _DESCS, _INFOS, _DATA)) + chance.randrange(400)
            memory.raw[place] = chance.randrange(256)
        try:
            lines = told(memory, info)
        except FixedRamError:
            continue
        assert len(lines) < 5000
