"""Mutations that know the format: fields of every structure, lengths, records, the description."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.stream.records import Record

__all__ = ["SIZE_CEILING", "mutate", "mutate_text"]

#: What grows beyond this is cut: most of a larger image is memory, where nothing happens.
SIZE_CEILING = 1 << 19
_PAGE = 4096
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "little", "big")
#: Records of a mutant that are looked at for the next mutation.
_RECORDS = 400
#: Numbers at a limit of something; sizes, flags and pages among them.
_LIMITS = (
    0, 1, 2, 3, 4, 5, 8, 16, 127, 128, 255, 256, 511, 512, 4095, 4096, 4097, 8192, 1 << 16,
    (1 << 16) - 1, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 52,
    (1 << 62), (1 << 63) - 4096, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1,
)  # fmt: skip
#: Bytes that mean something to a terminal, a markup, a path or a format.
_NAMES = (
    b"\x1b[2J\x1b]0;x\x07", b"../../../etc/x", b"/rom@etc/acpi", b"[red]x[/red]", b"%s%n{0}",
    b"\xff\xfe\x80", "\u202ename".encode(), b"\0\0\0", b"ram", b"", b"\n\r\t", b"<script>",
    b"pc.ram", b"'\"&;", b"a" * 255, b"s390-skeys", b"spapr/htab", b"dirty-bitmap",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 8, 1 << 31, 1 << 63, -(1 << 63), 1 << 70, 1.5, 1e308, "", "x", "\x1b[2J",
    "uint8", "uint64", "struct", "buffer", "bitmap", "timer", "nullptr", "tmp", "no such type",
    [], {}, [[]], "a" * 300, "\u202e", "../x",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Place:
    """A field of a structure in the file: bytes [start, stop)."""

    start: int
    stop: int
    is_number: bool


def mutate(raw: bytes, others: list[bytes], step: int) -> bytes:
    """raw with one mutation, which step decides; pieces of others may come in."""
    chance = random.Random(step)
    records = _records(raw)
    kinds: list[Callable[[bytes, list[Record[Any]], list[bytes], random.Random], bytes]] = [
        _field, _field, _field, _field, _field, _name, _copy_field, _move, _move, _description,
        _description, _memory, _cut, _flip, _splice, _tables, _note, _word,
    ]  # fmt: skip
    return chance.choice(kinds)(raw, records, others, chance)[:SIZE_CEILING]


def _records(raw: bytes) -> list[Record[Any]]:
    """The first records of what can still be read."""
    try:
        source, container = locate_stream(Source.from_buffer(raw))
    except FixedRamError:
        return []
    if container.compression:
        return []
    found: list[Record[Any]] = []
    with suppress(FixedRamError), Image(source, container) as image:
        for record in image.records():
            found.append(record)
            if len(found) == _RECORDS:
                break
    return found


def _places(raw: bytes, records: list[Record[Any]], chance: random.Random) -> list[_Place]:
    """Fields of one structure, drawn among the kinds there are first."""
    known = [record for record in records if record.kind in SCHEMA_OF_KIND]
    if not known:
        return []
    kind = chance.choice(sorted({record.kind for record in known}))
    record = chance.choice([one for one in known if one.kind is kind])
    try:
        spans = SCHEMA_OF_KIND[kind].spans(raw[record.offset : record.stop])
        return [
            _Place(record.offset + span.offset, record.offset + span.offset + span.length,
                   isinstance(span.value, int))
            for span in spans if span.length
        ]  # fmt: skip
    except (FixedRamError, KeyError):
        return []


def _field(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """A number at a limit, near another number of the file, or off by a little."""
    places = [one for one in _places(raw, records, chance) if one.is_number]
    if not places:
        return _flip(raw, records, others, chance)
    place = chance.choice(places)
    size = place.stop - place.start
    value = int.from_bytes(raw[place.start : place.stop], "big")
    landmarks = [len(raw), *(one.offset for one in records), *(one.length for one in records)]
    new = chance.choice((
        chance.choice(_LIMITS),
        value + chance.choice((-4096, -8, -1, 1, 7, 8, 4096)),
        chance.choice(landmarks) + chance.choice((-1, 0, 0, 1)),
        chance.getrandbits(8 * size),
    ))  # fmt: skip
    return raw[: place.start] + (new % (1 << 8 * size)).to_bytes(size, "big") + raw[place.stop :]


def _name(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """Another name with its length right, so that what follows is still read."""
    places = [one for one in _places(raw, records, chance) if not one.is_number and one.start]
    if not places:
        return _flip(raw, records, others, chance)
    place, name = chance.choice(places), chance.choice(_NAMES)
    length = bytes([len(name)]) if raw[place.start - 1] == place.stop - place.start else b""
    return raw[: place.start - len(length)] + length + name + raw[place.stop :]


def _copy_field(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """One field's bytes over another's."""
    one, other = _places(raw, records, chance), _places(raw, records, chance)
    if not one or not other:
        return _flip(raw, records, others, chance)
    place, source = chance.choice(one), chance.choice(other)
    return raw[: place.start] + raw[source.start : source.stop] + raw[place.stop :]


def _move(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """Records taken out, doubled, or put elsewhere."""
    if len(records) < 3:
        return _splice(raw, records, others, chance)
    first = chance.randrange(len(records))
    last = min(first + chance.choice((0, 0, 1, 2, 5)), len(records) - 1)
    piece = raw[records[first].offset : records[last].stop][: 1 << 15]
    rest = raw[: records[first].offset] + raw[records[last].stop :]
    match chance.randrange(3):
        case 0:
            return rest
        case 1:
            at = records[last].stop
            return raw[:at] + piece * chance.choice((1, 1, 2, 50)) + raw[at:]
        case _:
            at = min(chance.choice(records).offset, len(rest))
            return rest[:at] + piece + rest[at:]


def _description(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """A value of the description changed, and mostly its length with it."""
    found = [record for record in records if record.kind is Kind.VMDESCRIPTION_JSON]
    if not found:
        return _field(raw, records, others, chance)
    record = found[-1]
    try:
        document = json.loads(raw[record.offset : record.stop])
    except (ValueError, RecursionError):
        return _flip(raw, records, others, chance)
    text = json.dumps(_changed(document, chance)).encode()[: SIZE_CEILING // 2]
    if chance.randrange(20) == 0:
        text = text.replace(b'"', b"'", 1)
    length = len(text) if chance.randrange(10) else record.length
    return raw[: record.offset - 4] + length.to_bytes(4, "big") + text + raw[record.stop :]


def _changed(document: Any, chance: random.Random) -> Any:
    """document with one value replaced, removed, doubled or nested."""
    holders = list(_holders(document))
    if not holders:
        return chance.choice(_VALUES)
    holder = chance.choice(holders)
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match chance.randrange(6):
        case 0 | 1 | 2:
            holder[key] = chance.choice(_VALUES)
        case 3:
            del holder[key]
        case 4:
            holder[key] = [holder[key]] * chance.choice((1, 2, 100))
        case _:
            other = chance.choice(holders)
            value = other[
                chance.choice(list(other) if isinstance(other, dict) else range(len(other)))
            ]
            holder[key] = json.loads(json.dumps(value))
    return document


def _holders(document: Any) -> Any:
    """Every object and array with something in it."""
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, (dict, list)) and one:
            yield one
            left.extend(one.values() if isinstance(one, dict) else one)


def _memory(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """Bytes of a device's state or of a bitmap: what decoding them meets."""
    found = [one for one in records if one.kind in (Kind.DEVICE, Kind.BITMAP) and one.length]
    if not found:
        return _flip(raw, records, others, chance)
    record = chance.choice(found)
    size = min(chance.choice((1, 2, 4, 8)), record.length)
    at = record.offset + chance.randrange(record.length - size + 1)
    new = chance.choice((chance.choice(_LIMITS) % (1 << 8 * size), chance.getrandbits(8 * size)))
    return raw[:at] + new.to_bytes(size, "big") + raw[at + size :]


def _some_page(records: list[Record[Any]], chance: random.Random) -> int | None:
    """Offset of a page of memory in the file, None where there is none."""
    found = [one for one in records if one.kind is Kind.PAGES and one.length >= _PAGE]
    if not found:
        return None
    record = chance.choice(found)
    return record.offset + chance.randrange(record.length // _PAGE) * _PAGE


def _tables(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """A page of memory that is a page table: entries that lead to each other, and anywhere."""
    at = _some_page(records, chance)
    if at is None:
        return _flip(raw, records, others, chance)
    size, order = chance.choice((4, 8)), chance.choice(_ORDERS)
    flags = chance.choice((0x67, 0xE7, 0x3, 0x703, 0xCF, 0x1, 0xFFF))
    targets = (0, 1, chance.randrange(64), chance.getrandbits(20), chance.getrandbits(36))
    mask = (1 << 8 * size) - 1
    table = b"".join(
        ((chance.choice(targets) << 12 | flags) & mask).to_bytes(size, order)
        for _ in range(_PAGE // size)
    )
    return raw[:at] + table + raw[at + _PAGE :]


def _note(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """A page of memory that is the kernel's VMCOREINFO, as far as it goes."""
    at = _some_page(records, chance)
    if at is None:
        return _flip(raw, records, others, chance)
    lines = [b"OSRELEASE=" + chance.choice(_NAMES), b"PAGESIZE=4096", b"=", b"KERNELOFFSET="]
    lines += [
        b"%s(%s)=%x" % (kind, chance.choice(_NAMES), chance.choice(_LIMITS))
        for kind in (b"SYMBOL", b"NUMBER", b"OFFSET", b"SIZE", b"LENGTH", b"SYMBOL")
    ]
    chance.shuffle(lines)
    text = b"\n".join(lines) * chance.choice((1, 1, 20))
    length = chance.choice((len(text), len(text), chance.choice(_LIMITS) & 0xFFFFFFFF))
    order = chance.choice(_ORDERS)
    header = b"".join(number.to_bytes(4, order) for number in (11, length, 0))
    page = (header + b"VMCOREINFO\0\0" + text)[:_PAGE].ljust(_PAGE, b"\0")
    return raw[:at] + page + raw[at + _PAGE :]


def _cut(
    raw: bytes, records: list[Record[Any]], _others: list[bytes], chance: random.Random
) -> bytes:
    if records and chance.randrange(3):
        return raw[: chance.choice(records).offset + chance.choice((0, 0, 1, 4))]
    return raw[: chance.randrange(len(raw) + 1)]


def _word(raw: bytes, _r: list[Record[Any]], _o: list[bytes], chance: random.Random) -> bytes:
    """A word of a table, at its boundary, that is not zero: of what no record is known of."""
    size = chance.choice((4, 8, 8))
    for _ in range(64):
        place = chance.randrange(max(1, len(raw) // size)) * size
        if raw[place : place + size].strip(b"\0"):
            break
    other = chance.randrange(max(1, len(raw) // size)) * size
    number, another = (int.from_bytes(raw[start : start + size], "big") for start in (place, other))
    values = (
        chance.choice(_LIMITS), number + chance.choice((1, 512, -512, 1 << 16)),
        number ^ (1 << chance.randrange(8 * size)), another,
        chance.randrange(len(raw) + 1) // 512 * 512,
    )  # fmt: skip
    word = (chance.choice(values) % (1 << 8 * size)).to_bytes(size, "big")
    return raw[:place] + word + raw[place + size :]


def _flip(
    raw: bytes, records: list[Record[Any]], _others: list[bytes], chance: random.Random
) -> bytes:
    if not raw:
        return b"QEVM"
    ends = (0, max(0, len(raw) - 600), chance.choice(records).offset if records else 0)
    at = min(chance.choice(ends) + chance.randrange(64), len(raw) - 1)
    return raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :]


def _splice(
    raw: bytes, records: list[Record[Any]], others: list[bytes], chance: random.Random
) -> bytes:
    """A piece of another image."""
    other = chance.choice(others)
    start = chance.randrange(len(other) + 1)
    piece = other[start : start + chance.choice((1, 8, 60, 400, 5000))]
    at = chance.choice(records).offset if records else chance.randrange(len(raw) + 1)
    return raw[:at] + piece + raw[at + chance.choice((0, len(piece))) :]


def mutate_text(text: str, step: int) -> str:
    """A JSON document with one mutation."""
    chance = random.Random(step)
    if chance.randrange(12) == 0:
        at = chance.randrange(len(text) + 1)
        return (
            text[:at]
            + chance.choice(("\0", "{", "\x1b[2J", '"', "[" * 3000, "\ud800", "9" * 5000))
            + text[at:]
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(_changed(document, chance))
