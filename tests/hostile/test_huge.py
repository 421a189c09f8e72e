"""A 1 TiB guest costs what its bitmap costs: about a second, a bounded memory, no page read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image, Source
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.summary import summarize

if TYPE_CHECKING:
    from pathlib import Path

TIB = 1 << 40
PAGE = 4096
#: One page in so many is present.
STRIDE = 1 << 16
MEMORY_BOUND = 150 << 20
#: A generous multiple of "about a second": CI machines are shared.
TIME_BOUND = 10


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of a 1 TiB guest with every 65536th page present, the others holes."""
    path = tmp_path_factory.mktemp("huge") / "huge.img"
    pages = TIB // PAGE
    head = b"".join([
        stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3)),
        stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc-q35-10.0")),
        stream.SUBSECTION.build(
            stream.Subsection(SectionType.SUBSECTION, b"configuration/capabilities", 1)
        ),
        stream.CAPABILITIES.build(stream.Capabilities(1)),
        stream.CAPABILITY.build(stream.Capability(b"mapped-ram")),
        stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 2, b"ram", 0, 4)),
        ram.RAM_RECORD.build(ram.RamRecord(TIB | ram.RamSaveFlag.MEM_SIZE)),
        ram.BLOCK_ENTRY.build(ram.BlockEntry(b"pc.ram", TIB)),
    ])  # fmt: skip
    bitmap_offset = len(head) + ram.MAPPED_RAM_HEADER.size
    pages_offset = -(-(bitmap_offset + pages // 8) // (1 << 20)) * (1 << 20)
    head += ram.MAPPED_RAM_HEADER.build(ram.MappedRamHeader(1, PAGE, bitmap_offset, pages_offset))
    tail = b"".join([
        ram.RAM_RECORD.build(ram.RamRecord(int(ram.RamSaveFlag.EOS))),
        stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 2)),
        stream.EOF.build(stream.Eof(SectionType.EOF)),
    ])  # fmt: skip
    try:
        with path.open("wb") as file:
            file.write(head)
            file.write((b"\1" + bytes(STRIDE // 8 - 1)) * (pages // STRIDE))
            for page in range(0, pages, STRIDE):
                file.seek(pages_offset + page * PAGE)
                file.write(b"x" * PAGE)
            file.seek(pages_offset + TIB)
            file.write(tail)
    except OSError as error:
        pytest.skip(f"this file system has no file of 1 TiB: {error}")
    return path


def measured(*arguments: str) -> tuple[bytes, float, int]:
    """Output, seconds and peak memory over that of a bare interpreter, of one run."""
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
        "sys.stdout.buffer.write(done.stdout)"
    )

    def peak(*command: str) -> tuple[bytes, float, int]:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", script, sys.executable, *command],
            capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        return done.stdout, time.monotonic() - start, int(done.stderr.split()[-1]) * 1024

    bare = peak("-c", "pass")[2]
    out, seconds, memory = peak("-m", "fixedram_cli", *arguments)
    return out, seconds, memory - bare


@pytest.mark.slow
def test_info_of_a_tebibyte_takes_about_a_second_and_bounded_memory(huge: Path) -> None:
    out, seconds, memory = measured("info", str(huge), "--json")
    info = json.loads(out)
    assert info["blocks"][0]["used_length"] == TIB
    assert info["blocks"][0]["pages_present"] == TIB // PAGE // STRIDE
    assert info["complete"] is True
    assert seconds < TIME_BOUND
    assert memory < MEMORY_BOUND


@pytest.mark.slow
def test_dump_of_a_tebibyte_is_bounded_too(huge: Path) -> None:
    out, _, memory = measured("dump", str(huge))
    assert b"more records" in out
    assert memory < MEMORY_BOUND


def test_opening_and_info_read_headers_and_bitmaps_only(
    huge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[int, int]] = []
    pread = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        reads.append((offset, length))
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.delattr(os, "preadv")
    with Image.open(huge) as image:
        opened = sum(length for _, length in reads)
        block = image.blocks[0]
        summarize(image, str(huge), cells=512)
    assert opened < 1 << 16, "opening reads headers only"
    bitmap = block.bitmap_length()
    assert sum(length for _, length in reads) < opened + 2 * bitmap + (1 << 16)
    in_pages = [
        (offset, length)
        for offset, length in reads
        if offset + length > block.pages_offset and offset < block.pages_stop
    ]
    assert in_pages == []


def test_source_of_a_sparse_file_knows_its_holes(huge: Path) -> None:
    with Source.open(huge) as source:
        extents = list(source.extents())
    assert extents[0].start == 0
    assert extents[-1].stop == huge.stat().st_size
    assert sum(extent.stop - extent.start for extent in extents if extent.data) < 64 << 20
