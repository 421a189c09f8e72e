"""Mutants of one field or one element: every one, and what may stand between them.

A mutant's name says what was changed by the path of the record and the field.  The choice among the
many possible values is seeded by that path alone: the same images always have the same mutants.
"""

from __future__ import annotations

import random
import re
from functools import partial
from itertools import chain, groupby, pairwise
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind
from fixedram_fmt.write.elements import FixedBlock, Literal, Raw, Structure
from fixedram_fmt.write.faults.fault import Elements
from fixedram_fmt.write.placing import lay_out
from support.mutant import (
    Base,
    Mutant,
    inserted,
    of_elements,
    random_of,
    section_of,
    synth,
    synth_elements,
)
from support.synthetic import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.stream.records import Record

__all__ = ["mutants"]

#: What is not changed again in the real image, where it is the same.
_SAME = {
    Kind.FILE_HEADER, Kind.CAPABILITIES, Kind.SECTION_START, Kind.SECTION_PART, Kind.SECTION_END,
    Kind.MEM_SIZE, Kind.EOS, Kind.COMMAND,
}  # fmt: skip


def mutants(real: bytes | None = None) -> list[Mutant]:
    """All mutants of the synthetic image, and of the real one if it is given; no two are alike."""
    base = Base("synth", synth())
    found = [
        *_fields(base), *_moves(base), *_cuts(base), *_insertions(), *_block_lists(),
        *_configurations(), *_offsets(base), *_memory(base),
    ]  # fmt: skip
    if real is not None:
        base = Base("real", real)
        found += [*_fields(base), *_device_moves(base), *_cuts(base), *_memory(base)]
    unique = {mutant.image.args: mutant for mutant in reversed(found)}
    unique.pop((tuple(synth_elements()),), None)
    return list(reversed(unique.values()))


def _fields(base: Base) -> Iterator[Mutant]:
    """Some other values of every field of every structure."""
    devices = {section_of(one.path) for one in base.records if one.kind is Kind.SECTION_FULL}
    skipped = devices.difference(base.devices())
    same = _SAME if devices else set()
    for record in base.records:
        if record.kind in SCHEMA_OF_KIND.keys() - same and section_of(record.path) not in skipped:
            yield from _fields_of(base, record)


def _fields_of(base: Base, record: Record[Any]) -> Iterator[Mutant]:
    data = base.raw[record.offset : record.stop]
    for span in SCHEMA_OF_KIND[record.kind].spans(data):
        path, start = f"{record.path}.{span.name}", record.offset + span.offset
        chance = random_of(f"{base.name}/{path}")
        if isinstance(span.value, bytes):
            values = _texts(span.value, chance)
        else:
            values = _numbers(span.name, span.value, span.length, chance)
        labels = {new: label for label, new in reversed(values)}
        labels.pop(data[span.offset : span.offset + span.length], None)
        many = 8 if span.length == 8 and record.kind is not Kind.EOS else 3
        many = many if base.name == "synth" else 1 + (path.endswith("header.version_id"))
        for new in chance.sample(list(labels), min(len(labels), many)):
            yield base.spliced(f"{path}{labels[new]}", (start, start + span.length, new))


def _numbers(name: str, value: int, size: int, chance: random.Random) -> list[tuple[str, bytes]]:
    """Other numbers for a field, as bytes with their labels; the first label of a number counts."""
    top, half = 1 << 8 * size, 4 * size
    numbers = {"=0": 0, "=ones": top - 1, "+1": value + 1, "-1": value - 1}
    if name == "section_type":
        numbers = {f"={kind.value:#04x}": kind.value for kind in SectionType}
    elif name == "len":
        numbers["=255"] = 255
    else:
        some = chance.randrange(top)
        numbers |= {"=1": 1, "+4096": value + PAGE, "-4096": value - PAGE, "*2": value * 2}
        numbers |= {"/2": value // 2, "^low bit": value ^ 1, "^high bit": value ^ top >> 1}
        numbers |= {f"^bit {half}": value ^ 1 << half, f"={some:#x}": some}
    return [(label, new.to_bytes(size, "big")) for label, new in numbers.items() if 0 <= new < top]


def _texts(value: bytes, chance: random.Random) -> list[tuple[str, bytes]]:
    """Other strings of the same length, with their labels: one character is another."""
    found = []
    for label, change in (("^1", 1), ("^0x20", 0x20), ("=0xff", None), ("=0x00", None)):
        places = [at for at, byte in enumerate(value) if change != 0x20 or chr(byte).isalpha()]
        if places:
            at = chance.choice(places)
            new = value[at] ^ change if change else int(label[1:], 16)
            found.append((f"[{at}]{label}", value[:at] + bytes([new]) + value[at + 1 :]))
    return found


def _moves(base: Base) -> Iterator[Mutant]:
    """Elements, then blocks, then sections: each left out, repeated, or after the next one."""
    items, inside = synth_elements(), (Kind.BITMAP, Kind.PADDING, Kind.PAGES)
    starts = [piece.offset for piece in lay_out(items) if piece.kind not in inside]
    paths = {record.offset: record.path for record in base.records}
    named = [(paths[start], item) for start, item in zip(starts, items, strict=True)]
    for key in (str, partial(re.sub, r"(/block.*?)/.*", r"\1"), section_of):
        grouped = groupby(named, lambda pair, key=key: key(pair[0]))  # type: ignore[misc]
        groups = [(path, [item for _, item in pairs]) for path, pairs in grouped]
        parts = [part for _, part in groups]
        for at, (path, part) in enumerate(groups):
            before, after = parts[:at], parts[at + 1 :]
            name = path + " and memory" * isinstance(part[-1], FixedBlock)
            yield of_elements(f"remove {name}", chain(*before, *after))
            yield of_elements(f"duplicate {name}", chain(*before, part, part, *after))
            if after and (len(part) > 1 or key is section_of):
                swapped = chain(*before, after[0], part, *after[1:])
                yield of_elements(f"swap {name} with {groups[at + 1][0]}", swapped)


def _device_moves(base: Base) -> Iterator[Mutant]:
    """The same for some device sections, and stray bytes before them."""
    grouped = groupby(base.records, lambda record: section_of(record.path))
    sections = {path: list(records) for path, records in grouped}
    for path, other in list(pairwise(base.devices()))[::4]:
        start, stop = sections[path][0].offset, sections[path][-1].stop
        after, end = sections[other][0].offset, sections[other][-1].stop
        data = base.raw[start:stop]
        swapped = (start, stop, base.raw[after:end]), (after, end, data)
        yield base.spliced(f"swap {path} with {other}", *swapped)
        yield base.spliced(f"remove {path}", (start, stop, b""))
        yield base.spliced(f"duplicate {path}", (stop, stop, data))
        yield base.spliced(f"insert 0x00 before {path}", (start, start, b"\0"))
        yield base.spliced(f"insert 0x7e before {path}", (start, start, b"\x7e"))


def _cuts(base: Base) -> Iterator[Mutant]:
    """The file ends in the middle of something: of the last of each kind, and of the memory."""
    middles = {one.kind: (one.path, one.offset + one.length // 2) for one in base.records}
    same = _SAME if base.name == "real" else set()
    places = dict(middle for kind, middle in middles.items() if kind not in same)
    for block in base.blocks if not same else []:
        present = [page for page in range(block.pages_total) if _is_present(base, block, page)]
        places[f"{block.path}/bitmap"] = block.bitmap_offset + block.bitmap_length() // 2
        places[f"{block.path}/padding"] = block.pages_offset - 1
        for page in (present[0], present[-1]):
            places[f"{block.path}/page[{page}]"] = block.pages_offset + page * PAGE + PAGE // 2
    for path, at in places.items():
        yield base.spliced(f"cut in {path}", (at, len(base.raw), b""))


def _insertions() -> Iterator[Mutant]:
    """Stray bytes between sections, every command, every flag of a RAM record."""
    for kind in (Kind.SECTION_START, Kind.SECTION_PART, Kind.SECTION_END):
        for byte in (b"\0", b"\x05", b"\x55", b"\x7e", b"\xff"):
            stray = Raw(Kind.UNKNOWN, "new", Literal(byte))
            yield inserted(f"insert 0x{byte.hex()} before {kind}", kind, 0, stray)
    commands = [(number, bytes(length)) for number in range(13) for length in (0, 4)]
    commands += [
        (MigCmd.POSTCOPY_ADVISE, bytes(16)), (MigCmd.POSTCOPY_ADVISE, b"\0\0\0\0\0\0\x10\0" * 2),
        (MigCmd.POSTCOPY_RAM_DISCARD, b"\0\x06pc.ram\0" + bytes(6) + b"\x10\0" + bytes(8)),
        (MigCmd.PACKAGED, (18).to_bytes(4, "big")),  # as long as the PART that follows
        (MigCmd.RECV_BITMAP, b"\x06pc.ram"), (99, b""),
    ]  # fmt: skip
    for number, data in commands:
        command = Structure(Kind.COMMAND, "new", stream.Command(8, number, data))
        name = f"command {int(number)} [{data.hex()}] before section[1]"
        yield inserted(name, Kind.SECTION_PART, 0, command)
    words = [(at, 1 << bit) for bit in range(12) if bit != 4 for at in (1, 0 if bit % 2 else 2)]
    words += [(1, flag | 1 << 20) for flag in (0, 0x02, 0x04, 0x08, 0x10, 0x80, 0x200)]
    words += [(1, word) for word in (0x22, 0x24, 0x28, 0x30, 0x12, 0x14, 0x210, 0xFFF)]
    for at, word in words:
        yield inserted(f"record {word:#x} in section[{at}]", Kind.EOS, at, _ram_word(word))


def _ram_word(word: int) -> Structure:
    return Structure(Kind.EOS, "new", ram.RamRecord(word))


def _block_lists() -> Iterator[Mutant]:
    """Lists of blocks where no writer has them; with other sums, lengths and names."""
    items = synth_elements()
    start, stop = (Elements(items, PAGE).index(kind) for kind in (Kind.MEM_SIZE, Kind.EOS))
    before, blocks, after = items[:start], items[start:stop], items[stop:]
    first = [_ram_word(16 << 20 | RamSaveFlag.MEM_SIZE), *blocks[1:3]]
    second = [_ram_word(8 << 20 | RamSaveFlag.MEM_SIZE), *blocks[3:5]]
    for section in range(3):
        for name, again in (("all blocks", blocks), ("block[0]", first), ("block[1]", second)):
            yield inserted(f"{name} again in section[{section}]", Kind.EOS, section, *again)
    for pages in (0, 1, 2048, 4096):
        word = _ram_word(pages * PAGE | RamSaveFlag.MEM_SIZE)
        yield of_elements(f"MEM_SIZE of {pages} pages", [*before, word, *blocks[1:], *after])
    yield of_elements("one MEM_SIZE for each block", [*before, *first, *second, *after])
    yield of_elements("block[0] alone", [*before, *first, *after])
    yield of_elements("block[1] alone", [*before, *second, *after])
    yield of_elements("the blocks in section[1]", [*before, *after[:3], *blocks, *after[3:]])
    for number, name in ((0, "mem1"), (1, "pc.ram"), (1, "pc.bios"), (1, "MEM1"), (1, "mem")):
        found = Elements(synth_elements(), PAGE)
        found.change(Kind.BLOCK, number, idstr=name.encode())
        yield of_elements(f"block[{number}] is called {name}", found.items)


_CAPABILITIES = (
    "mapped-ram", "xbzrle", "multifd", "postcopy-ram", "events", "zero-copy-send", "auto-converge",
    "dirty-bitmaps", "return-path", "background-snapshot", "switchover-ack", "validate-uuid",
    "x-colo", "x-ignore-shared", "compress", "fixed-ram", "imagined", "",
)  # fmt: skip
_BITS, _UUID = b"configuration/target-page-bits", b"configuration/uuid"
_CAPS = b"configuration/capabilities"
#: Subsections of the configuration: name, version, body.
_SUBSECTIONS = [
    *((_BITS, 1, number.to_bytes(4, "big")) for number in (0, 11, 12, 13, 64, 0xFFFFFFFF)),
    *((_UUID, version, bytes(range(16))) for version in (0, 1, 2)),
    (_BITS, 2, b"\0\0\0\x0c"), (_CAPS, 0, bytes(4)), (_CAPS, 1, bytes(4)),
    (_CAPS, 1, b"\0\0\0\1\x06xbzrle"), (_CAPS, 1, b"\0\0\0\1\x0fx-ignore-shared"),
    (_CAPS, 2, b"\0\0\0\1\x0amapped-ram"), (_UUID, 1, bytes(15)), (_CAPS[:-1], 1, bytes(4)),
    (b"configuration", 1, b""), (b"uuid", 1, b""), (b"ram/x", 1, bytes(8)), (b"", 1, b""),
]  # fmt: skip


def _configurations() -> Iterator[Mutant]:
    """Other capabilities and subsections, before and after those that have to be there."""
    for number, name in enumerate(_CAPABILITIES):
        found = Elements(synth_elements(), PAGE)
        found.change(Kind.CAPABILITIES, caps_count=2)
        new = Structure(Kind.CAPABILITY, "new", stream.Capability(name.encode()))
        found.insert(found.index(Kind.CAPABILITY) + number % 2, new)
        yield of_elements(f"capability {name!r} too", found.items)
    for number, (idstr, version, body) in enumerate(_SUBSECTIONS):
        kind = (Kind.SUBSECTION, Kind.SECTION_START)[number % 2]
        header = Structure(Kind.SUBSECTION, "new", stream.Subsection(5, idstr, version))
        name = f"subsection {idstr.decode()!r} v{version} [{body.hex()}] before {kind}"
        yield inserted(name, kind, 0, header, Raw(Kind.UNKNOWN, "new", Literal(body)))


def _offsets(base: Base) -> Iterator[Mutant]:
    """bitmap_offset and pages_offset point to other things in the file."""
    end = len(base.raw)
    for block, other in (base.blocks, base.blocks[::-1]):
        start = block.header_offset or 0
        places = {
            "8": 8, "the header": start, "the entry": block.entry_offset,
            "the bitmap": block.bitmap_offset, "the pages": block.pages_offset,
            "the other bitmap": other.bitmap_offset, "the other pages": other.pages_offset,
            "8 before the end": end - 8, "its length before the end": end - block.used_length,
            "its length before 2^64": (1 << 64) - block.used_length,
        }  # fmt: skip
        for name, at in places.items():
            bits, pages = (number.to_bytes(8, "big") for number in (at, at // PAGE * PAGE))
            if at != block.bitmap_offset:
                splice = (start + 12, start + 20, bits)
                yield base.spliced(f"{block.path}/header.bitmap_offset is {name}", splice)
            if at // PAGE * PAGE not in (0, block.pages_offset):
                splice = (start + 20, start + 28, pages)
                yield base.spliced(f"{block.path}/header.pages_offset is page of {name}", splice)


def _is_present(base: Base, block: RamBlock, page: int) -> bool:
    return bool(base.raw[block.bitmap_offset + page // 8] >> page % 8 & 1)


def _memory(base: Base) -> Iterator[Mutant]:
    """Bits of bitmaps and bytes of pages are others, and what nobody looks at is."""
    for block in base.blocks[:2]:
        chance = random_of(f"{base.name}/{block.path} memory")
        pages = range(block.pages_total // 8, block.pages_total)  # below, QEMU has its own tables
        present = chance.sample([page for page in pages if _is_present(base, block, page)], 3)
        absent = chance.sample([page for page in pages if not _is_present(base, block, page)], 2)
        bits, last = block.bitmap_offset, block.pages_total - 1
        starts = {page: block.pages_offset + page * PAGE for page in present + absent}
        for name, at, mask, meant in (
            (f"bitmap bit {present[0]}", bits + present[0] // 8, 1 << present[0] % 8, True),
            (f"bitmap bit {absent[0]}", bits + absent[0] // 8, 1 << absent[0] % 8, True),
            (f"bitmap bit {last}", bits + last // 8, 1 << last % 8, True),
            (f"bitmap[{last // 8}]", bits + last // 8, 0xFF, True),
            (f"page[{present[1]}][0]", starts[present[1]], 0xFF, True),
            (f"page[{present[2]}][4095]", starts[present[2]] + 4095, 0x01, True),
            (f"absent page[{absent[1]}][0]", starts[absent[1]], 0xFF, False),
            ("padding", block.pages_offset - 1, 0xFF, False),
        ):
            splice = (at, at + 1, bytes([base.raw[at] ^ mask]))
            yield base.spliced(f"{block.path}/{name}", splice, changes_meaning=meant)
    tail = base.blocks[-1]
    if tail.pages_total % 64:
        at = tail.bitmap_offset + tail.bitmap_length() - 1
        yield base.spliced(f"{tail.path}/bitmap tail", (at, at + 1, b"\xff"))
