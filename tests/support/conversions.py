"""Conversions in memory and in files, what must not change, and a guest that sends records."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from conftest import (
    SAMPLES,
    sample_entries,
    unpack,
)
from fixedram_fmt import Image, Source
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.container.opening import OpenedStream
from fixedram_fmt.conversion import MAPPED_RAM, Conversion, ConvertOptions
from fixedram_fmt.io.output import BufferOutput, replacing
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import Kind
from support.memory import block_memory
from support.synthetic import PAGE, ram_word

if TYPE_CHECKING:
    from pathlib import Path


ENTRIES = {entry["name"]: entry for entry in sample_entries()}
MIB = 1 << 20
PAGE_FLAG, ZERO, CONTINUE = RamSaveFlag.PAGE, RamSaveFlag.ZERO, RamSaveFlag.CONTINUE


def sample(name: str, folder: Path) -> tuple[Path, str]:
    """A sample's file, and the location that opens it."""
    entry = ENTRIES[name]
    path = unpack(SAMPLES / entry["file"], folder / f"sample-{name}")
    offset = entry["stream_offset"]
    return path, f"{path}@{offset}" if offset and not name.startswith("libvirt") else str(path)


def converted(raw: bytes, to: str = MAPPED_RAM, **options: Any) -> bytes:
    """What becomes of a file, in memory."""
    source, container = locate_stream(Source.from_buffer(raw))
    with OpenedStream(source, container) as located:
        output = BufferOutput()
        size = Conversion(located, ConvertOptions(to=to, **options)).write(output)
    assert size == len(output.data)
    return bytes(output.data)


def convert_file(before: str | Path, after: Path, to: str) -> None:
    """Write a file anew, as convert does."""
    with OpenedStream.open(before) as located, replacing(after) as output:
        Conversion(located, ConvertOptions(to=to)).write(output)


def devices(image: Image) -> list[tuple[str, int, int, bytes]]:
    """Name, length, instance and content of every device."""
    return [
        (record.value.idstr, record.length, record.value.instance_id,
         image.source.read_exact(record.offset, record.length))
        for record in image.records()
        if record.kind is Kind.DEVICE
    ]  # fmt: skip


def meaning(image: Image) -> dict[str, Any]:
    """What must not change, by the most naive reading."""
    return {
        "machine": image.machine,
        "uuid": image.uuid,
        "page size": image.target_page_size,
        "memory": {block.name: sha(block_memory(image, block)) for block in image.blocks},
        "sections": [(section.name, section.version_id, section.parts)
                     for section in image.sections],
        "devices": devices(image),
        "devices described": image.vmdesc and image.vmdesc.devices,
    }  # fmt: skip


def sha(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


NAMES = [b"pc.ram", b"a rom \x1b[2J"]
LENGTHS = [40 * PAGE, 3 * PAGE]


def delta(old: bytes, new: bytes) -> bytes:
    """migration/xbzrle.c: unchanged and changed runs in turn, their lengths as ULEB128."""
    out, at = b"", 0
    while at < len(new):
        start = at
        while at < len(new) and old[at] == new[at]:
            at += 1
        if at == len(new):
            break
        changed = at
        while at < len(new) and old[at] != new[at]:
            at += 1
        out += uleb(changed - start) + uleb(at - changed) + new[changed:at]
    return out


def uleb(value: int) -> bytes:
    """A length of at most two bytes."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7])


class Guest:
    """A guest that sends records, and keeps what its memory is: the oracle."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.memory = [bytearray(length) for length in LENGTHS]
        self.last: int | None = None

    def head(self, block: int, page: int, flag: RamSaveFlag) -> bytes:
        on = block == self.last and self.random.random() < 0.9
        self.last = block
        name = b"" if on else bytes([len(NAMES[block])]) + NAMES[block]
        return ram_word(page * PAGE, flag, *([CONTINUE] if on else [])) + name

    def records(self, kind: str, block: int, first: int, count: int) -> bytes:
        out = b""
        for page in range(first, min(first + count, LENGTHS[block] // PAGE)):
            held = memoryview(self.memory[block])[page * PAGE : (page + 1) * PAGE]
            if kind == "page":
                held[:] = self.random.randbytes(PAGE)
                out += self.head(block, page, PAGE_FLAG) + bytes(held)
            elif kind in ("zero", "ones"):
                fill = b"\0" if kind == "zero" else b"\1"
                held[:] = fill * PAGE
                out += self.head(block, page, ZERO) + fill
            elif kind == "flush":
                out += ram_word(0, RamSaveFlag.MULTIFD_FLUSH)
            else:
                old = bytes(held)
                for _ in range(self.random.randrange(1, 9)):
                    at = self.random.randrange(PAGE)
                    held[at : at + 200] = self.random.randbytes(len(held[at : at + 200]))
                change = delta(old, bytes(held))
                out += self.head(block, page, RamSaveFlag.XBZRLE)
                out += ram.XBZRLE_PAGE.build(ram.XbzrlePage(1, len(change))) + change
        return out


def whole_stream(parts: list[bytes], capabilities: list[bytes] = []) -> bytes:  # noqa: B006
    """An ordinary stream with two blocks, its records in PARTs, two devices after them."""
    entries = b"".join(
        ram.BLOCK_ENTRY.build(ram.BlockEntry(name, length)) + (bytes(8) if capabilities else b"")
        for name, length in zip(NAMES, LENGTHS, strict=True)
    )
    eos = ram_word(0, RamSaveFlag.EOS)
    foot = stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 1))
    raw = stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3))
    raw += stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc"))
    if capabilities:
        raw += stream.SUBSECTION.build(stream.Subsection(5, b"configuration/capabilities", 1))
        raw += stream.CAPABILITIES.build(stream.Capabilities(len(capabilities)))
        raw += b"".join(stream.CAPABILITY.build(stream.Capability(word)) for word in capabilities)
    raw += stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 1, b"ram", 0, 4))
    raw += ram_word(sum(LENGTHS), RamSaveFlag.MEM_SIZE) + entries + eos + foot
    for number, records in enumerate(parts):
        kind = SectionType.SECTION_END if number + 1 == len(parts) else SectionType.SECTION_PART
        raw += stream.SECTION_PART.build(stream.SectionPart(kind, 1)) + records + eos + foot
    for number in (2, 3):
        header = stream.SectionHeader(SectionType.SECTION_FULL, number, b"timer", number, 2)
        raw += stream.SECTION.build(header) + bytes(range(9))
        raw += stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, number))
    return raw + stream.EOF.build(stream.Eof(SectionType.EOF))


_PEAK = """
import re, sys
from pathlib import Path
import numpy, fixedram_cli.app, fixedram_fmt.conversion
from fixedram_cli.main import main
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
before = peak()
try:
    main()
except SystemExit as end:
    assert not end.code
print(peak() - before)
"""


def peak(*words: str | Path) -> int:
    """Bytes of memory that the command takes beyond an interpreter with numpy."""
    done = subprocess.run([sys.executable, "-c", _PEAK, *map(str, words)], capture_output=True,
                          text=True, timeout=110, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
