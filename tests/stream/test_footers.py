"""Sections delimited by footers alone: every end leads to a consistent rest, and hostile bodies."""

from __future__ import annotations

import os
import struct
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import Image
from fixedram_fmt.container.locate import locate_stream, split_location
from fixedram_fmt.io.file import FileSource
from support.builders import Block, StreamBuilder, open_bytes, page
from support.real_files import ENTRIES, location_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = Block(b"ram0", page(1, 256))


def begun() -> StreamBuilder:
    return StreamBuilder().header().configuration().mapped_ram(BLOCK)


def section(section_id: int, name: bytes, body: bytes = b"") -> bytes:
    return bytes(StreamBuilder().full(section_id, name, body).data)


def lengths(image: Image) -> list[tuple[str, int | None]]:
    return [(one.name, one.body_length) for one in image.sections if one.name != "ram"]


def codes(image: Image) -> set[str]:
    return {note.code for note in image.notes if note.code}


@contextmanager
def cut_off(location: str, stop: int) -> Iterator[Image]:
    """The image as if its file ended at stop."""
    path, offset, _ = split_location(location)
    fd = os.open(path, os.O_RDONLY)
    with FileSource(fd, name=str(path), size=stop) as outer:
        inner, container = locate_stream(outer, offset=offset, search=False)
        yield Image(inner, container)


@contextmanager
def described_image(name: str, folder: Path) -> Iterator[tuple[str, Image, int]]:
    """Location, image, and where its description begins; skips what has none."""
    location = location_of(name, folder)
    with Image.open(location) as whole:
        if whole.vmdesc is None:
            pytest.skip("the image has no description to compare with")
        if whole.container.stream_compression:
            pytest.skip("the stream lies in pieces: the file cannot be cut off in it")
        yield location, whole, whole.vmdesc.offset


# -- real images: the description is the oracle ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_without_its_description_an_image_has_the_same_sections(
    name: str, unpacked_dir: Path
) -> None:
    with (
        described_image(name, unpacked_dir) as (location, whole, stop),
        cut_off(location, stop) as image,
    ):
        assert image.complete
        assert image.vmdesc is None
        assert lengths(image) == lengths(whole)
        assert not [code for code in codes(image) if code.startswith("device-end")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample/q35-dimm", "sample/s390x-virtio", "sample/ppc64-pseries"])
def test_an_image_cut_off_around_a_device_keeps_what_came_before(
    name: str, unpacked_dir: Path
) -> None:
    with described_image(name, unpacked_dir) as (location, whole, description):
        expected = lengths(whole)
        for one in whole.sections:
            if not one.full or one.body_length is None:
                continue
            end = one.body_offset + one.body_length
            for stop in {one.body_offset + one.body_length // 2, end, end + 4, end + 5, end + 12}:
                if stop >= description:
                    continue
                with cut_off(location, stop) as image:
                    assert not image.complete or stop == description - 1
                    found = [pair for pair in lengths(image) if pair[1] is not None]
                    assert found == expected[: len(found)]
                    place = [other.section_id for other in whole.sections].index(one.section_id)
                    assert len(found) >= place - 1 + (stop >= end + 5)


# -- bodies that look like streams -----------------------------------------------------------------


def trap(*after: bytes) -> bytes:
    """Bytes that end section 3 as far as its footer goes."""
    return b"\x7e\0\0\0\3" + b"".join(after)


SKEYS_END = struct.pack(">Q", 1)

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
    "a stream's end with a description": trap(b"\0\x06\0\0\0\x02{}") + b"more",
    "a command": trap(b"\x08\0\x0b\0\0") + b"more",
    "RAM": trap(b"\x01\0\0\0\x09\x03ram" + struct.pack(">IIQ", 0, 4, 1 << 20 | 4)) + b"more",
    "a part of RAM": trap(b"\x02\0\0\0\x02" + struct.pack(">Q", 0x10)) + b"more",
    "storage keys without a footer": trap(b"\x04\0\0\0\x09\x0as390-skeys" + bytes(8) + SKEYS_END)
    + b"more",
}  # fmt: skip


#: What ends in a description is more credible than what just ends.
ENDINGS = {"a stream's end with a description": ["eof", "described"]}


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        (name, ending)
        for name in ADVERSARIAL
        for ending in ENDINGS.get(name, ["eof", "described", "trailing", "cut"])
    ],
)
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


pieces = st.sampled_from(
    [trap(), b"\x7e\0\0\0\4", b"\x7e\0\0\0\2", b"\0", b"\x7e", b"\4\0\0\0\x09\1f" + bytes(8)]
) | st.binary(max_size=9)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(pieces, max_size=7).map(b"".join), st.lists(pieces, max_size=7).map(b"".join))
def test_random_bodies_are_found_or_it_is_told(first: bytes, second: bytes) -> None:
    builder = begun().full(3, b"timer", first).full(4, b"rtc", second).full(5, b"i8254", b"12")
    with open_bytes(builder.eof().file()) as image:
        exact = [("timer", len(first)), ("rtc", len(second)), ("i8254", 2)]
        told = [code for code in codes(image) if code.startswith("device-end")]
        assert lengths(image) == exact or told


def test_two_ends_that_are_as_good_are_told() -> None:
    """A section inside a body whose footer is followed by the end of the body: either may be."""
    inner = section(9, b"fake", b"x")
    # The last byte of the body is a footer's first but one section later: both chains add up.
    body = b"a" + trap(inner[:-5] + b"z")
    raw = begun().full(3, b"timer", body).full(9, b"real", b"r").eof().file()
    with open_bytes(raw) as image:
        assert image.complete
        assert "device-end-ambiguous" in codes(image)


# -- other sections around the searched ones -------------------------------------------------------


def test_parts_of_a_device_end_at_their_own_footers_without_a_doubt() -> None:
    builder = begun().start(3, b"0000:00:05.0/vfio", version=1).put("device", b"setup").footer(3)
    for number in range(300):
        builder.part(3, end=number == 299).put("device", bytes(number)).footer(3)
    raw = builder.full(4, b"rtc", b"12").eof().file()
    with open_bytes(raw) as image:
        assert image.complete
        assert not image.notes
        bodies = [one.length for one in image.records() if one.path.endswith("body")]
        assert bodies == [5, *range(300), 2]


DESCRIBED = b'\0\x06\0\0\0\x0e{"devices":[]}'
#: What a guest has in its memory that looks at migration images.
MEMORY = (b"guest" + trap(section(9, b"fake", b"x" * 9), DESCRIBED)).ljust(4096, b"\0")


@pytest.mark.parametrize("end", [b"\0", DESCRIBED])
@pytest.mark.parametrize("ram", ["mapped", "ordinary", "started"])
def test_a_device_saved_before_the_pages_is_not_mistaken_by_their_content(
    ram: str, end: bytes
) -> None:
    """virtio-mem-device-early is such a device; the guest's memory can hold a whole stream."""
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    if ram == "mapped":
        builder = StreamBuilder().header().configuration()
        builder.full(3, b"virtio-mem-early", b"plan").mapped_ram(Block(b"ram0", MEMORY))
    elif ram == "ordinary":
        builder.full(3, b"virtio-mem-early", b"plan")
        builder.start(2, b"ram").listed(Block(b"ram0", MEMORY)).eos().footer(2)
    else:
        builder.start(2, b"ram").listed(Block(b"ram0", MEMORY)).eos().footer(2)
        builder.full(3, b"virtio-mem-early", b"plan")
    if ram != "mapped":
        builder.part(2, end=True).record("page", 0, MEMORY, b"ram0").eos().footer(2)
    builder.full(4, b"rtc", b"12").full(5, b"i8254", b"3")
    with open_bytes(builder.file() + end) as image:
        assert image.complete
        assert lengths(image) == [("virtio-mem-early", 4), ("rtc", 2), ("i8254", 1)]
        assert not [code for code in codes(image) if code.startswith("device-end")]


def test_what_a_command_has_packaged_is_passed_over() -> None:
    packaged = trap(b"\0")
    builder = begun().full(3, b"timer", b"1" + trap() + b"2")
    builder.command(7, struct.pack(">I", len(packaged))).put("packaged", packaged)
    with open_bytes(builder.full(4, b"rtc", b"12").eof().file()) as image:
        assert lengths(image) == [("timer", 7), ("rtc", 2)]
        assert not image.notes


def test_hand_coded_section_must_end_at_its_footer() -> None:
    """The one inside the body has its own footer, but not where its framing ends."""
    keys = section(9, b"s390-skeys", SKEYS_END + b"x")
    body = trap(keys)
    with open_bytes(begun().full(3, b"timer", body).full(4, b"rtc", b"1").eof().file()) as image:
        assert lengths(image) == [("timer", len(body)), ("rtc", 1)]
        assert not image.notes


@pytest.mark.parametrize(
    "damaged",
    [
        section(9, b"s390-skeys", struct.pack(">Q", 0x7C5) + b"\xff" * 600),
        section(2, b"rtc", b"id of another"),
    ],
)
def test_an_end_in_front_of_a_damaged_section_is_taken_and_told(damaged: bytes) -> None:
    raw = begun().full(3, b"timer", b"12345").file() + damaged + b"\0"
    with open_bytes(raw) as image:
        assert ("timer", 5) in lengths(image)
        assert "device-end-unverified" in codes(image)


# -- hostile bodies --------------------------------------------------------------------------------

FILLERS = {
    "footers": trap(),
    "ends": trap(b"\0"),
    "headers": trap(b"\x04\0\0\0\x09\x04fake" + bytes(8)),
    "sections": trap(section(9, b"fake")),
    "first bytes": b"\x7e",
    "commands": trap(b"\x08\0\x0b\0\0"),
    "chains of commands": trap(b"\x08\0\x0b\0\0" * 60),
    "parts": trap(b"\x02\0\0\0\2"),
    "hand-coded sections": trap(section(9, b"s390-skeys", SKEYS_END)),
}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", FILLERS)
def test_a_body_full_of_footers_takes_a_second_and_ends_where_it_does(name: str) -> None:
    body = FILLERS[name] * ((16 << 20) // len(FILLERS[name]))
    raw = begun().full(3, b"timer", body).full(4, b"rtc", b"12").eof().file()
    start = time.process_time()
    with open_bytes(raw) as image:
        assert time.process_time() - start < 2
        told = [code for code in codes(image) if code.startswith("device-end")]
        assert lengths(image) == [("timer", len(body)), ("rtc", 2)] or told


@pytest.mark.slow
@pytest.mark.untraced
def test_long_hand_coded_bodies_behind_every_footer_take_a_second() -> None:
    """Each of them leads to the same 100,000 chunks."""
    unit = trap(b"\x04\0\0\0\x09\x0aspapr/htab" + bytes(12) + struct.pack(">IHH", 1, 0, 0))
    total = len(unit) * 4000
    body = b"".join(
        unit[:-8] + struct.pack(">IHH", 1, (total - at + 15) // 16, 0)
        for at in range(len(unit), total + 1, len(unit))
    )
    body += struct.pack(">IHH", 1, 0, 1) * 100_000 + bytes(8)
    start = time.process_time()
    with open_bytes(begun().full(3, b"timer", body).full(4, b"rtc", b"1").eof().file()) as image:
        assert time.process_time() - start < 2
        assert lengths(image)[0] == ("timer", len(body))


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("between", [b"", b"\x02\0\0\0\2" + struct.pack(">Q", 0x10)])
def test_many_sections_take_linear_time(between: bytes) -> None:
    """With parts of RAM between them each begins a new stretch, but not a new search."""
    builder = StreamBuilder().header().configuration()
    builder.start(2, b"ram").mem_size(BLOCK).mapped(BLOCK).eos().footer(2)
    raw = bytearray(builder.file())
    if between:
        between += b"\x7e\0\0\0\2"
    for number in range(3, 4000):
        raw += section(number, b"dev", b"x" * 700) + between
    start = time.process_time()
    with open_bytes(bytes(raw) + b"\0") as image:
        assert time.process_time() - start < 4
        assert image.complete
        assert set(lengths(image)) == {("dev", 700)}


@pytest.mark.slow
def test_more_sections_than_are_judged_at_once_are_all_found() -> None:
    raw = bytearray(begun().file())
    for number in range(3, 20_000):
        raw += section(number, b"dev", b"x" * (number % 7))
    with open_bytes(bytes(raw) + b"\0") as image:
        assert image.complete
        assert lengths(image) == [("dev", number % 7) for number in range(3, 20_000)]
        assert not image.notes
