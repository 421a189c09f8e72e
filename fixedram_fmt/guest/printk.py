"""The kernel's log: the ring of Linux 5.10 and later, and the buffer before it.

Where each member lies VMCOREINFO tells.  Upstream: Linux kernel/printk/printk_ringbuffer.h (struct
printk_ringbuffer, prb_desc, prb_data_blk_lpos), kernel/printk/printk.c log_buf_vmcoreinfo_setup().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.guest.vmcoreinfo import VmCoreInfo
    from fixedram_fmt.memory.block import Readable

__all__ = ["LogLine", "kernel_log"]

#: Larger rings than CONFIG_LOG_BUF_SHIFT and log_buf_len= allow are damaged ones.
_TEXT_BITS, _RECORD_BITS = 26, 22
#: Upper bits of a descriptor's state (DESC_SV()): committed or finalized ones have a text.
_STATE_SHIFT, _ID_MASK, _WITH_TEXT = 62, (1 << 62) - 1, (1, 2)
_LONG = 8
_NANOSECONDS = 1_000_000_000


class LogLine(NamedTuple):
    """A line of the log: nanoseconds since the kernel started, and its text."""

    nanoseconds: int
    text: str

    def __str__(self) -> str:
        """As the kernel prints it (print_time()): microseconds, cut off."""
        seconds, rest = divmod(self.nanoseconds, _NANOSECONDS)
        return f"[{seconds:5}.{rest // 1000:06}] {self.text}"


def kernel_log(info: VmCoreInfo, memory: Readable) -> Iterator[LogLine]:
    """The lines of the log, the oldest first; memory is by the kernel's virtual addresses.

    Raises FormatError where there is no log that VMCOREINFO describes, or it cannot be one.
    """
    return _Ring(info, memory).lines() if info.symbol("prb") else _old_log(info, memory)


class _Reader:
    """Numbers at kernel addresses, and members by the names that VMCOREINFO has for them."""

    def __init__(self, info: VmCoreInfo, memory: Readable) -> None:
        self.info = info
        self.memory = memory

    def number(self, address: int, size: int = _LONG) -> int:
        """Little-endian: what has a log that is read here has that byte order."""
        return int.from_bytes(self.memory.read(address, size), "little")

    def offset(self, name: str) -> int:
        """OFFSET(name)."""
        return _told(self.info.offset(name), f"OFFSET({name})")

    def size(self, name: str) -> int:
        """SIZE(name), of a structure that is not empty."""
        found = _told(self.info.size(name), f"SIZE({name})")
        if not 0 < found <= 4096:
            raise FormatError("a structure of the log has an odd size", path=name, found=str(found))
        return found

    def symbol(self, name: str) -> int:
        """SYMBOL(name)."""
        return _told(self.info.symbol(name), f"SYMBOL({name})")


def _told(value: int | None, name: str) -> int:
    if value is None:
        raise FormatError(
            "VMCOREINFO does not tell where the kernel's log is", path="VMCOREINFO", expected=name
        )
    return value


class _Ring(_Reader):
    """printk_ringbuffer: descriptors, infos beside them, and a ring of texts."""

    def lines(self) -> Iterator[LogLine]:
        """Of each descriptor from tail to head that has a text."""
        ring = self.number(self.symbol("prb"))
        descriptors = ring + self.offset("printk_ringbuffer.desc_ring")
        data = ring + self.offset("printk_ringbuffer.text_data_ring")
        bits = self._bits(descriptors + self.offset("prb_desc_ring.count_bits"), _RECORD_BITS)
        self._text_bits = self._bits(data + self.offset("prb_data_ring.size_bits"), _TEXT_BITS)
        self._text = self.memory.read(
            self.number(data + self.offset("prb_data_ring.data")), 1 << self._text_bits
        )
        count = 1 << bits
        self._descs = self._table(descriptors, "prb_desc_ring.descs", "prb_desc", count)
        self._infos = self._table(descriptors, "prb_desc_ring.infos", "printk_info", count)
        head = self._id(descriptors, "prb_desc_ring.head_id")
        identity = self._id(descriptors, "prb_desc_ring.tail_id")
        for _ in range(count):
            yield from self._record(identity % count)
            if identity == head:
                return
            identity = (identity + 1) & _ID_MASK

    def _bits(self, address: int, most: int) -> int:
        found = self.number(address, 4)
        if found > most:
            raise FormatError(
                "the kernel's log is larger than one can be", path="printk_ringbuffer",
                expected=f"at most 2^{most}", found=f"2^{found}",
            )  # fmt: skip
        return found

    def _id(self, descriptors: int, name: str) -> int:
        counter = self.info.offset("atomic_long_t.counter") or 0
        return self.number(descriptors + self.offset(name) + counter) & _ID_MASK

    def _table(self, descriptors: int, member: str, structure: str, count: int) -> bytes:
        address = self.number(descriptors + self.offset(member))
        return self.memory.read(address, count * self.size(structure))

    def _member(self, table: bytes, structure: str, index: int, name: str, size: int) -> int:
        start = index * self.size(structure) + self.offset(f"{structure}.{name}")
        return int.from_bytes(table[start : start + size], "little")

    def _record(self, index: int) -> Iterator[LogLine]:
        state = self._member(self._descs, "prb_desc", index, "state_var", _LONG)
        if state >> _STATE_SHIFT not in _WITH_TEXT:
            return
        position = self.offset("prb_desc.text_blk_lpos")
        start = index * self.size("prb_desc") + position
        begin, following = (
            int.from_bytes(self._descs[start + at : start + at + _LONG], "little")
            for at in (
                self.offset("prb_data_blk_lpos.begin"), self.offset("prb_data_blk_lpos.next"),
            )
        )  # fmt: skip
        # An odd position means that there is no text (LPOS_DATALESS()).
        if begin & 1:
            return
        size = 1 << self._text_bits
        first, stop = begin % size, (following - 1) % size + 1
        if begin // size != (following - 1) // size:
            first = 0  # a text that does not fit at the end stands at the start
        length = self._member(self._infos, "printk_info", index, "text_len", 2)
        # The descriptor's id comes before the text.
        text = self._text[first + _LONG : min(stop, first + _LONG + length)]
        when = self._member(self._infos, "printk_info", index, "ts_nsec", _LONG)
        yield from _lines(when, text)


def _old_log(info: VmCoreInfo, memory: Readable) -> Iterator[LogLine]:
    """Records of printk_log in log_buf, from log_first_idx to log_next_idx."""
    reader = _Reader(info, memory)
    size = reader.number(reader.symbol("log_buf_len"), 4)
    if not 0 < size <= 1 << _TEXT_BITS:
        raise FormatError(
            "the kernel's log is larger than one can be", path="log_buf_len",
            expected=f"at most {1 << _TEXT_BITS} bytes", found=str(size),
        )  # fmt: skip
    head = reader.size("printk_log")
    log = memory.read(reader.number(reader.symbol("log_buf")), size)
    at = {name: reader.offset(f"printk_log.{name}") for name in ("ts_nsec", "len", "text_len")}
    position = reader.number(reader.symbol("log_first_idx"), 4)
    stop = reader.number(reader.symbol("log_next_idx"), 4)
    wrapped = False
    for _ in range(size // head + 1):
        if position == stop:
            return
        record = log[position : position + head]
        length = int.from_bytes(record[at["len"] : at["len"] + 2], "little")
        if length < head:
            # A length of 0: the next record is the first of the buffer.
            if wrapped or length:
                return
            position, wrapped = 0, True
            continue
        text = int.from_bytes(record[at["text_len"] : at["text_len"] + 2], "little")
        when = int.from_bytes(record[at["ts_nsec"] : at["ts_nsec"] + 8], "little")
        yield from _lines(when, log[position + head : position + head + text])
        position += length


def _lines(when: int, text: bytes) -> Iterator[LogLine]:
    for line in text.decode("utf-8", "backslashreplace").split("\n"):
        yield LogLine(when, line)
