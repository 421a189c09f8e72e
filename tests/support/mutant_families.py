"""Mutants of other kinds than one field or one element: mutants.py has those.

Two faults at once, ids and versions of sections, commands with a state, names that hold NULs,
descriptions that lie, blocks that overlap or do not fit, and bytes in the state of devices.  `busy`
is what a real QEMU saves with a dozen more devices.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import Literal, Raw
from fixedram_fmt.write.faults.fault import Elements
from fixedram_fmt.write.spec import ImageSpec, parse_block
from fixedram_fmt.write.synth import elements
from support.mutant import Base, Mutant, inserted, of_elements, random_of, spliced, synth
from support.mutant import synth_elements as _elements
from support.mutants import mutants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from support.mutant import Splice

__all__ = ["families"]

_PAGE = 4096
_PAIRS = 40
#: Bytes that are changed in the state of each device.
_BYTES = 2


def families(real: bytes, busy: bytes) -> list[Mutant]:
    """All of them; seeded, so that the same images always have the same mutants."""
    bases = Base("synth", synth()), Base("real", real), Base("busy", busy)
    found = [
        *_two_faults(mutants(real)), *_sections(bases[2]), *_commands(), *_commands_of(bases[2]),
        *_names(), *_descriptions(bases[1]), *_descriptions(bases[2]), *_memories(),
        *_overlaps(bases[0]), *_device_bytes(bases[2]), *_device_lengths(bases[2]),
    ]  # fmt: skip
    unique = {mutant.image.args: mutant for mutant in reversed(found)}
    return list(reversed(unique.values()))


def _two_faults(single: list[Mutant]) -> Iterator[Mutant]:
    """Pairs of the mutants of one field that do not touch the same bytes."""
    for base in ("synth", "real"):
        fields = [one for one in single if one.base == base and one.image.func is spliced]
        chance = random_of(f"{base} pairs")
        pairs = (sorted(chance.sample(fields, 2), key=_splices) for _ in iter(int, 1))
        apart = (pair for pair in pairs if _splices(pair[0])[-1][1] <= _splices(pair[1])[0][0])
        for first, second in islice(apart, _PAIRS):
            name = f"{first.name.removeprefix(base + '/')} and {second.name.partition('/')[2]}"
            raw = first.image.args[0]
            image = partial(spliced, raw, (*_splices(first), *_splices(second)))
            changing = [one for one in (first, second) if one.changes_meaning]
            meant = partial(spliced, raw, tuple(chain.from_iterable(map(_splices, changing))))
            yield Mutant(f"{base}/{name}", base, image, bool(changing), meant=meant)


def _splices(mutant: Mutant) -> tuple[Splice, ...]:
    splices: tuple[Splice, ...] = mutant.image.args[1]
    return splices


# -- sections -------------------------------------------------------------------------------------


class _Section:
    """Where a section's header, body and footer lie in the file."""

    def __init__(self, base: Base, number: int) -> None:
        path = f"section[{number}]"
        records = [one for one in base.records if one.path.split("/")[0] == path]
        self.header = next(one for one in records if one.path.endswith("/header"))
        self.footer = records[-1]
        self.path, self.start, self.stop = path, self.header.offset, self.footer.stop
        self.body = base.raw[self.header.stop : self.footer.offset]
        self.data = base.raw[self.start : self.stop]

    def with_id(self, section_id: int) -> bytes:
        """The section with another id, in its header and its footer."""
        new = section_id.to_bytes(4, "big")
        return self.data[:1] + new + self.data[5:-4] + new


def _device_sections(base: Base) -> list[_Section]:
    numbers = [
        int(re.findall(r"\d+", one.path)[0])
        for one in base.records
        if one.kind is Kind.SECTION_FULL
    ]
    return [_Section(base, number) for number in numbers]


def _sections(base: Base) -> Iterator[Mutant]:
    """Ids, instances and versions that agree with themselves; sections that go on under an id."""
    sections = _device_sections(base)
    chance = random_of("busy sections")
    for one in chance.sample(sections, 6):
        for new in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            yield base.spliced(f"{one.path} has id {new}", (one.start, one.stop, one.with_id(new)))
        name = f"{one.path} again with another id"
        yield base.spliced(name, (one.stop, one.stop, one.with_id(4711)))
        instance = one.header.stop - 8
        for new in (1, 0xFFFFFFFF):
            splice = instance, instance + 4, new.to_bytes(4, "big")
            yield base.spliced(f"{one.path} is instance {new}", splice)
        version = one.header.stop - 4
        splice = version, version + 4, (one.header.value.version_id + 1).to_bytes(4, "big")
        yield base.spliced(f"{one.path} is a version newer", splice)
        yield base.spliced(f"{one.path} without footer", (one.footer.offset, one.stop, b""))
    parts = [one for one in base.records if one.kind is Kind.SECTION_PART]
    for one in chance.sample(sections, 5):
        target = chance.choice(sections)
        splice = parts[0].offset + 1, parts[0].offset + 5, target.data[1:5]
        yield base.spliced(f"a PART of {target.path}", splice)
        part = b"\x02" + one.data[1:5] + one.body + b"\x7e" + one.data[1:5]
        yield base.spliced(f"{one.path} goes on as a PART", (one.stop, one.stop, part))


# -- commands -------------------------------------------------------------------------------------


def _command(number: int, data: bytes = b"") -> bytes:
    return stream.COMMAND.build(stream.Command(8, number, data))


_OPEN, _PING = _command(MigCmd.OPEN_RETURN_PATH), _command(MigCmd.PING, bytes(4))
_ADVISE = _command(MigCmd.POSTCOPY_ADVISE)
_BITMAP = _command(MigCmd.RECV_BITMAP, b"\x06pc.ram")
_START = _command(MigCmd.SWITCHOVER_START)
#: Commands one after the other.
_SEQUENCES = {
    "OPEN": _OPEN, "OPEN PING": _OPEN + _PING, "PING OPEN": _PING + _OPEN,
    "OPEN OPEN": _OPEN * 2, "OPEN OPEN PING": _OPEN * 2 + _PING,
    "OPEN PING PING": _OPEN + _PING * 2, "ADVISE": _ADVISE, "ADVISE ADVISE": _ADVISE * 2,
    "ADVISE PING": _ADVISE + _PING, "OPEN ADVISE": _OPEN + _ADVISE, "BITMAP": _BITMAP,
    "OPEN BITMAP": _OPEN + _BITMAP, "START START": _START * 2,
    "BITMAP of nobody": _command(MigCmd.RECV_BITMAP, b"\x06nobody"),
    "BITMAP cut": _command(MigCmd.RECV_BITMAP, b"\x06pc"),
    "OPEN LISTEN": _OPEN + _command(MigCmd.POSTCOPY_LISTEN),
    "ADVISE LISTEN": _ADVISE + _command(MigCmd.POSTCOPY_LISTEN),
    "ADVISE RUN": _ADVISE + _command(MigCmd.POSTCOPY_RUN),
    "OPEN RESUME": _OPEN + _command(MigCmd.POSTCOPY_RESUME),
}  # fmt: skip


def _stray(data: bytes) -> Raw:
    return Raw(Kind.UNKNOWN, "new", Literal(data))


def _packaged(data: bytes, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return _command(MigCmd.PACKAGED, length.to_bytes(4, "big")) + data


def _commands() -> Iterator[Mutant]:
    """In front of the first section, between two, and before EOF."""
    for name, data in _SEQUENCES.items():
        for kind in (Kind.SECTION_START, Kind.SECTION_PART):
            yield inserted(f"commands {name} before {kind}", kind, 0, _stray(data))
    wrapped = {
        "EOF": _packaged(b"\0"), "nothing": _packaged(b""), "START EOF": _packaged(_START + b"\0"),
        "START": _packaged(_START), "OPEN PING EOF": _packaged(_OPEN + _PING + b"\0"),
        "PING EOF": _packaged(_PING + b"\0"), "junk": _packaged(b"\x55\0"),
        "a second header": _packaged(b"QEVM\0\0\0\3\0"), "EOF and more": _packaged(b"\0\x55\x55"),
        "too much": _packaged(b"\0", 1 << 30), "two deep": _packaged(_packaged(b"\0") + b"\0"),
    }  # fmt: skip
    for name, data in wrapped.items():
        yield inserted(f"PACKAGED {name}", Kind.SECTION_PART, 0, _stray(data))


def _commands_of(base: Base) -> Iterator[Mutant]:
    """Device sections in a wrapped stream, as postcopy sends them."""
    sections = random_of("busy packaged").sample(_device_sections(base), 3)
    for one in sections:
        span = one.start, one.stop
        yield base.spliced(f"{one.path} in PACKAGED", (*span, _packaged(one.data + b"\0")))
        yield base.spliced(f"{one.path} in PACKAGED without EOF", (*span, _packaged(one.data)))
        broken = one.data[:-1] + bytes([one.data[-1] ^ 1]) + b"\0"
        yield base.spliced(f"{one.path} broken in PACKAGED", (*span, _packaged(broken)))


# -- names ----------------------------------------------------------------------------------------


def _names() -> Iterator[Mutant]:
    """Names with something after a NUL, that begin with one, and of 255 bytes."""
    for kind, number, field, name in (
        (Kind.BLOCK, 0, "idstr", b"pc.ram"), (Kind.BLOCK, 1, "idstr", b"mem1"),
        (Kind.SECTION_START, 0, "idstr", b"ram"), (Kind.CONFIGURATION, 0, "name", b"pc"),
        (Kind.CAPABILITY, 0, "capability", b"mapped-ram"),
        (Kind.SUBSECTION, 0, "idstr", b"configuration/capabilities"),
    ):  # fmt: skip
        filled = name + b"\0" + b"x" * (254 - len(name))
        for new in (name + b"\0", name + b"\0x", filled, b"\0" + name, b"x" * 255, name[:-1]):
            found = Elements(_elements(), _PAGE)
            found.change(kind, number, **{field: new})
            label = new.decode() if len(new) < 40 else f"{new[:20].decode()} of {len(new)}"
            yield of_elements(f"{kind}[{number}] is called {label!r}", found.items)


# -- descriptions ---------------------------------------------------------------------------------


def _descriptions(base: Base) -> Iterator[Mutant]:
    """Descriptions that say other sizes, names and versions; that are cut, empty or no JSON."""
    record = next(one for one in base.records if one.path == "vmdescription/json")
    text = base.raw[record.offset : record.stop]
    chance = random_of(f"{base.name} descriptions")
    sizes = [match.start(1) for match in re.finditer(rb'"size": ?(\d+)', text)]
    changes = {
        f"size at {where}": (where, re.sub(rb"^\d+", _other, text[where:]))
        for where in chance.sample(sizes, 8)
    }
    made = {name: text[:where] + rest for name, (where, rest) in changes.items()}
    made |= {
        "page_size 8192": re.sub(rb'("page_size": ?)\d+', rb"\g<1>8192", text, count=1),
        "all sizes": re.sub(rb'("size": ?)\d+', rb"\g<1>1", text),
        "all names": text.replace(b'"name": "', b'"name": "x'),
        "all versions": re.sub(rb'("version": ?)\d+', rb"\g<1>99", text),
        "instances": re.sub(rb'("instance_id": ?)\d+', rb"\g<1>7", text),
        "no devices": b'{"page_size": 4096, "devices": []}',
        "an array": b"[]", "empty": b"", "cut": text[: len(text) // 2], "junk": b"\xff" * 64,
    }  # fmt: skip
    for name, new in made.items():
        length = len(new).to_bytes(4, "big")
        yield base.spliced(f"description: {name}", (record.offset - 4, record.stop, length + new))


def _other(match: re.Match[bytes]) -> bytes:
    return str(int(match[0]) + 1).encode()


# -- memory ---------------------------------------------------------------------------------------


def _memories() -> Iterator[Mutant]:
    """Other blocks than the destination's: longer, shorter, more, fewer, in another order."""
    for name, blocks in {
        "mem1 of 12M": ("pc.ram=16M:counter:0.2", "mem1=12M:text:0.2"),
        "mem1 of 12M, full": ("pc.ram=16M:counter:0.2", "mem1=12M:text:1"),
        "mem1 of 12M, empty": ("pc.ram=16M:counter:0.2", "mem1=12M:text:0"),
        "mem1 of 4M, full": ("pc.ram=16M:counter:0.2", "mem1=4M:text:1"),
        "pc.ram of 32M, full": ("pc.ram=32M:counter:1", "mem1=8M:text:0.2"),
        "pc.ram of 17M, full": ("pc.ram=17M:counter:1", "mem1=8M:text:0.2"),
        "mem1 first": ("mem1=8M:text:0.2", "pc.ram=16M:counter:0.2"),
        "three blocks": ("pc.ram=16M:counter:0.2", "mem1=8M:text:0.2", "mem2=1M:text:1"),
    }.items():
        spec = ImageSpec(blocks=[parse_block(block) for block in blocks])
        mutant = of_elements(f"memory: {name}", elements(spec))
        # What a block holds depends on its place and its length.
        yield replace(mutant, changes_meaning=True)


def _overlaps(base: Base) -> Iterator[Mutant]:
    """A bitmap over pages that are absent or present, pages over pages, a bitmap for two."""
    for block, other in (base.blocks, base.blocks[::-1]):
        for where, page in (("absent", _page(base, block, 0)), ("present", _page(base, block, 1))):
            yield _bitmap_moved(base, block, f"over its {where} page", _place(block, page))
            target = _place(other, _page(base, other, where == "present"))
            yield _bitmap_moved(base, block, f"over another's {where} page", target)
        copied = base.raw[block.bitmap_offset : block.bitmap_offset + block.bitmap_length()]
        end = len(base.raw)
        start = (block.header_offset or 0) + 12
        moved = start, start + 8, end.to_bytes(8, "big")
        yield base.spliced(f"{block.path}: bitmap at the end", moved, (end, end, copied))
        empty = bytes(len(copied))
        yield base.spliced(f"{block.path}: empty bitmap at the end", moved, (end, end, empty))
        junk = block.bitmap_offset, block.bitmap_offset + len(copied), b"\xff" * len(copied)
        yield base.spliced(f"{block.path}: all present", junk, changes_meaning=True)
        for pages in (1, 16, 256):
            place = (block.pages_offset + pages * _PAGE).to_bytes(8, "big")
            yield base.spliced(f"{block.path}: pages {pages} later", (start + 8, start + 16, place))


def _bitmap_moved(base: Base, block: RamBlock, name: str, place: int) -> Mutant:
    """The bitmap copied to a place inside of pages, and bitmap_offset with it."""
    start = (block.header_offset or 0) + 12
    bits = base.raw[block.bitmap_offset : block.bitmap_offset + block.bitmap_length()]
    splices = (start, start + 8, place.to_bytes(8, "big")), (place, place + len(bits), bits)
    return base.spliced(f"{block.path}: bitmap {name}", *sorted(splices))


def _page(base: Base, block: RamBlock, present: int) -> int:
    """A page of the block's upper half that is present or not."""
    for page in range(block.pages_total // 2, block.pages_total):
        if base.raw[block.bitmap_offset + page // 8] >> page % 8 & 1 == present:
            return page
    raise AssertionError(block.path)


def _place(block: RamBlock, page: int) -> int:
    return block.pages_offset + page * _PAGE


# -- the state of devices -------------------------------------------------------------------------


def _device_bytes(base: Base) -> Iterator[Mutant]:
    """Bytes in the bodies of devices: only the receiver can judge them."""
    for one in _device_sections(base):
        chance = random_of(f"busy {one.path}")
        for where in chance.sample(range(len(one.body)), min(_BYTES, len(one.body))):
            offset = one.header.stop + where
            new = bytes([base.raw[offset] ^ 1 << chance.randrange(8)])
            name = f"{one.path}/body[{where}]^{new[0] ^ base.raw[offset]:#x}"
            yield base.spliced(name, (offset, offset + 1, new), in_device=True)


def _device_lengths(base: Base) -> Iterator[Mutant]:
    """Bodies that are longer or shorter than described, or have a subsection more."""
    subsection = stream.SUBSECTION.build(stream.Subsection(5, b"timer/imagined", 1))
    for one in random_of("busy lengths").sample(_device_sections(base), 8):
        stop = one.footer.offset
        yield base.spliced(f"{one.path} is a byte longer", (stop, stop, b"\0"))
        yield base.spliced(f"{one.path} is 4 bytes longer", (stop, stop, b"\xff" * 4))
        yield base.spliced(f"{one.path} is a byte shorter", (stop - 1, stop, b""))
        yield base.spliced(f"{one.path} has a subsection more", (stop, stop, subsection))
