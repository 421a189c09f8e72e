"""Sections delimited by footers alone: every end leads to a consistent rest, and hostile bodies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from builders import Block, StreamBuilder, open_bytes, page
from fixedram_fmt import Image
from real_files import ENTRIES, location_of, without_description

BLOCK = Block(b"ram0", page(1, 256))


def begun() -> StreamBuilder:
    return StreamBuilder().header().configuration().mapped_ram(BLOCK)


def section(section_id: int, name: bytes, body: bytes = b"") -> bytes:
    builder = StreamBuilder().full(section_id, name, body)
    return bytes(builder.data)


def lengths(image: Image) -> list[tuple[str, int | None]]:
    return [(one.name, one.body_length) for one in image.sections if one.name != "ram"]


def codes(image: Image) -> set[str]:
    return {note.code for note in image.notes if note.code}


@pytest.mark.parametrize("name", ENTRIES)
def test_without_its_description_an_image_has_the_same_sections(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of(name, unpacked_dir)
    path, _, offset = location.partition("@")
    with Image.open(location) as whole:
        if whole.vmdesc is None or whole.container.libvirt or "loongarch" in name:
            return
        cut = without_description(Path(path), whole.vmdesc.offset, tmp_path / "cut")
        with Image.open(f"{cut}@{offset}" if offset else cut) as image:
            assert image.complete
            assert image.vmdesc is None
            assert lengths(image) == lengths(whole)
            assert not codes(image)


@pytest.mark.parametrize("name", ["sample/q35-dimm", "sample/pc-once", "sample/ppc64-pseries"])
def test_an_image_cut_off_in_a_device_keeps_what_came_before(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of(name, unpacked_dir)
    with Image.open(location) as whole:
        devices = [one for one in whole.sections if one.full]
        for number in (len(devices) // 2, len(devices) - 1):
            last = devices[number]
            stop = last.body_offset + (last.body_length or 0) // 2
            cut = without_description(Path(location), stop, tmp_path / "cut")
            with Image.open(cut) as image:
                assert not image.complete
                whole_lengths = lengths(whole)
                place = whole_lengths.index((last.name, last.body_length))
                assert lengths(image)[:place] == whole_lengths[:place]


def trap(*after: bytes) -> bytes:
    """Bytes that end section 3 as far as its footer goes."""
    return b"\x7e\0\0\0\3" + b"".join(after)


ADVERSARIAL = {
    "a whole section": b"a" + trap(section(9, b"fake", b"xyz")) + b"b",
    "a section that never ends": b"a" + trap(b"\x04\0\0\0\x09\x04fake" + bytes(8)) + b"b",
    "a chain of sections": trap(*(section(20 + n, b"fake", b"z") for n in range(50))) + b"b",
    "a section with an id in use": trap(section(3, b"fake", b"x")) + b"b",
    "its own footer at the end of a chain": trap(section(9, b"f", b"x" + trap())) + b"more",
    "a whole stream": trap()
    + StreamBuilder().header().configuration().full(3, b"x", b"y").eof().file(),
    "a stream's end": trap(section(9, b"fake", b"x"), b"\0") + b"more",
    "a stream's end with half a description": trap(b"\0\x06\0\0\0\x10{") + b"more",
    "a command": trap(b"\x08\0\x0b\0\0") + b"more",
}  # fmt: skip


@pytest.mark.parametrize("ending", ["eof", "described", "trailing", "cut"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_what_looks_like_an_end_inside_a_body_is_none(name: str, ending: str) -> None:
    body = ADVERSARIAL[name]
    builder = begun().full(3, b"timer", body)
    for number in range(4, 8):
        builder.full(number, b"rtc", bytes([number]) * number, instance_id=number)
    if ending == "described":
        builder.described()
    elif ending != "cut":
        builder.eof()
    raw = builder.file() + (b"\xffjunk" if ending == "trailing" else b"")
    with open_bytes(raw) as image:
        assert image.complete is (ending != "cut")
        assert lengths(image) == [("timer", len(body)), *(("rtc", n) for n in range(4, 8))]


def test_two_ends_that_are_as_good_are_told() -> None:
    """A section inside a body whose footer is followed by the end of the body: either may be."""
    inner = section(9, b"fake", b"x")
    # The last byte of the body is a footer's first but one section later: both chains add up.
    body = b"a" + trap(inner[:-5] + b"z")
    raw = begun().full(3, b"timer", body).full(9, b"real", b"r").eof().file()
    with open_bytes(raw) as image:
        assert image.complete
        assert "device-end-ambiguous" in codes(image)


@pytest.mark.parametrize(
    "filler",
    [
        trap(b"\0"),
        trap(b"\x04\0\0\0\x09\x04fake" + bytes(8)),
        trap(section(9, b"fake")),
        b"\x7e",
        trap(b"\x08\0\x0b\0\0"),
        trap(b"\x02\0\0\0\2"),
    ],
)
def test_a_body_full_of_footers_takes_linear_time(filler: bytes) -> None:
    body = filler * ((16 << 20) // len(filler))
    raw = begun().full(3, b"timer", body).full(4, b"rtc", b"12").eof().file()
    start = time.process_time()
    with open_bytes(raw) as image:
        assert time.process_time() - start < 10
        # Whatever is made of it, it is said where it is not certain.
        assert lengths(image)[0] == ("timer", len(body)) or image.stopped or codes(image)
