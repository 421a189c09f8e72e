"""The walk over a stream: every kind of section, and what is odd but read on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt import FormatError, TruncatedError
from fixedram_fmt.stream.records import Kind
from support.builders import (
    Block,
    StreamBuilder,
    device,
    open_bytes,
    ordinary_image,
    page,
    tiny_image,
)

BLOCK = Block(b"ram0", page(1, 256) + bytes(256))
LAYOUT = {"bitmap", "padding", "pages"}


def begun() -> StreamBuilder:
    return StreamBuilder().header().configuration()


def stream_parts(builder: StreamBuilder) -> list[tuple[str, int, int]]:
    return [part for part in builder.parts if part[0] not in LAYOUT]


def walked(builder: StreamBuilder) -> list[tuple[str, int, int]]:
    with open_bytes(builder.file()) as image:
        assert image.stopped is None, str(image.stopped)
        assert image.complete
        return [
            (str(record.kind), record.offset, record.length)
            for record in image.records()
            if record.length
        ]


# -- header and configuration ---------------------------------------------------------------------


@pytest.mark.parametrize("magic", [b"QEVN", b"\0\0\0\0", b"qevm"])
def test_other_magic_is_refused(magic: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        open_bytes(magic + b"\0\0\0\x03\0", offset=0)
    assert caught.value.offset == 0
    assert caught.value.path == "header.magic"


@pytest.mark.parametrize("version", [0, 2, 4, 0x03000000])
def test_other_version_is_refused_at_its_place(version: int) -> None:
    with pytest.raises(FormatError) as caught:
        open_bytes(StreamBuilder().header(version).eof().file())
    assert caught.value.offset == 4
    assert str(version) in str(caught.value)


@pytest.mark.parametrize("length", range(1, 8))
def test_header_that_is_cut_off_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedError):
        open_bytes(b"." + StreamBuilder().header().file()[:length], offset=1)


def test_configuration_is_read() -> None:
    uuid = bytes(range(16))
    builder = StreamBuilder(page_size=1024).header()
    builder.configuration(
        b"virt-11.1", (b"mapped-ram", b"x-ignore-shared", b"new"), page_bits=10, uuid=uuid
    )
    with open_bytes(builder.eof().file()) as image:
        assert image.complete
        assert image.machine == "virt-11.1"
        assert image.capabilities == ["mapped-ram", "x-ignore-shared", "new"]
        assert image.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
        assert image.target_page_size == 1024
        assert image.dialect == "mapped-ram"
    assert walked(builder) == builder.parts


@pytest.mark.parametrize(
    ("capabilities", "dialect"),
    [
        ((b"mapped-ram",), "mapped-ram"),
        ((b"fixed-ram",), "fixed-ram-v4"),
        ((b"x-ignore-shared",), "ordinary"),
        ((), "ordinary"),
        (None, "ordinary"),
    ],
)
def test_dialect_is_that_of_the_capability(
    capabilities: tuple[bytes, ...] | None, dialect: str
) -> None:
    with open_bytes(StreamBuilder().header().configuration(b"pc", capabilities).eof().file()) as im:
        assert im.dialect == dialect


def test_stream_without_configuration_is_walked() -> None:
    builder = StreamBuilder().header().full(1, b"timer", b"12345678")
    builder.described(device("timer", 8))
    assert walked(builder) == builder.parts
    with open_bytes(builder.file()) as image:
        assert image.machine is None


@pytest.mark.parametrize("bits", [0, 7, 17, 63, 64, 0xFFFFFFFF])
def test_impossible_target_page_bits_are_noted(bits: int) -> None:
    with open_bytes(StreamBuilder().header().configuration(page_bits=bits).eof().file()) as image:
        assert image.complete
        assert len(image.notes) == 1
        assert str(bits) in image.notes[0].message
        assert image.target_page_size == 4096


def test_unknown_subsection_ends_where_a_section_starts() -> None:
    builder = begun().subsection(b"configuration/later").put("unknown", b"whatever it is")
    builder.mapped_ram(BLOCK).described()
    assert walked(builder) == stream_parts(builder)


def test_unknown_subsection_ends_where_another_starts() -> None:
    builder = begun().subsection(b"configuration/later").put("unknown", b"\x01\x02\x03")
    builder.subsection(b"configuration/latest").put("unknown", b"\xff" * 9)
    builder.mapped_ram(BLOCK).described()
    assert walked(builder) == stream_parts(builder)


def test_unknown_subsection_is_as_long_as_its_description() -> None:
    """Its body holds what looks like a section."""
    fake = StreamBuilder().full(9, b"fake", b"\0" * 8).file()
    builder = begun().subsection(b"configuration/later").put("unknown", fake)
    builder.mapped_ram(BLOCK).eof()
    builder.vmdesc(
        {
            "configuration": {
                "vmsd_name": "configuration",
                "version": 1,
                "fields": [{"name": "len", "size": 4}, {"name": "name", "size": 14}],
                "subsections": [
                    {
                        "vmsd_name": "configuration/later",
                        "version": 1,
                        "fields": [{"name": "x", "type": "buffer", "size": len(fake)}],
                    }
                ],
            },
            "page_size": 256,
            "devices": [],
        }
    )
    assert walked(builder) == stream_parts(builder)


def test_unknown_subsection_without_end_stops_with_its_name() -> None:
    builder = begun().subsection(b"configuration/later").put("unknown", b"\xee" * 5000)
    with open_bytes(builder.file()) as image:
        assert image.stopped is not None
        assert "configuration/later" in str(image.stopped)
        assert image.machine == "pc-i440fx-11.1"


# -- sections -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [0, 1, 100])
def test_tiny_image_is_walked_as_it_was_written(parts: int) -> None:
    builder = begun().mapped_ram(BLOCK, parts=parts).described()
    assert walked(builder) == stream_parts(builder)
    with open_bytes(builder.file()) as image:
        (section,) = image.sections
        assert section.parts == parts + 1
        assert section.ended
        assert not section.full


def test_sections_carry_their_headers() -> None:
    builder = begun()
    offsets = [builder.offset]
    builder.full(7, b"slirp", b"abc", instance_id=3)
    offsets.append(builder.offset)
    builder.full(0xFFFFFFFF, b"x" * 255, b"", instance_id=0xFFFFFFFF)
    builder.described(
        device("slirp", 3, instance_id=3), device("x" * 255, 0, instance_id=0xFFFFFFFF)
    )
    with open_bytes(builder.file()) as image:
        assert image.complete
        first, second = image.sections
    assert (first.section_id, first.name, first.instance_id, first.version_id) == (7, "slirp", 3, 1)
    assert (second.section_id, second.instance_id) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert [first.offset, second.offset] == offsets
    assert (first.body_length, second.body_length) == (3, 0)


def test_ram_sent_as_a_full_section_is_read() -> None:
    builder = begun().start(2, b"ram", full=True).mem_size(BLOCK).mapped(BLOCK).eos().footer(2)
    assert walked(builder.described()) == stream_parts(builder)


def test_missing_footers_are_noted_and_read_over() -> None:
    builder = begun().start(2, b"ram").mem_size(BLOCK).mapped(BLOCK).eos()
    builder.part(2, end=True).eos()
    builder.full(3, b"timer", b"\x05" * 9, footer=False)
    builder.full(4, b"rtc", b"\x06" * 5, footer=False)
    builder.described(device("timer", 9), device("rtc", 5))
    with open_bytes(builder.file()) as image:
        assert image.complete, str(image.stopped)
        assert len(image.notes) == 4
        assert [section.body_length for section in image.sections][1:] == [9, 5]
    assert walked(builder) == stream_parts(builder)


def test_footer_of_another_section_is_noted() -> None:
    builder = begun().start(2, b"ram").mem_size(BLOCK).mapped(BLOCK).eos().footer(99)
    with open_bytes(builder.described().file()) as image:
        assert image.complete
        assert "99" in image.notes[0].message


def test_part_of_a_section_that_never_started_stops_the_walk() -> None:
    builder = begun()
    at = builder.offset
    with open_bytes(builder.part(77).eos().footer(77).eof().file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at
        assert "77" in str(image.stopped)


def test_section_id_used_twice_is_noted_and_the_later_one_counts() -> None:
    builder = begun().full(5, b"one", b"111").full(5, b"two", b"2222")
    builder.described(device("one", 3), device("two", 4))
    with open_bytes(builder.file()) as image:
        assert image.complete
        assert "again" in image.notes[0].message
        assert image.sections[-1].name == "two"


@pytest.mark.parametrize("kind", [0x05, 0x06, 0x07, 0x09, 0x7E, 0x7F, 0xFF])
def test_unknown_section_type_stops_the_walk_at_it(kind: int) -> None:
    builder = begun().mapped_ram(BLOCK)
    at = builder.offset
    with open_bytes(builder.put("?", bytes([kind]) * 3).file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at
        assert f"{kind:#04x}" in str(image.stopped)
        assert not image.complete


@pytest.mark.parametrize("command", [0, 1, 2, 3, 10, 11, 12, 0xFFFF])
@pytest.mark.parametrize("length", [0, 4, 600, 65535])
def test_commands_are_kept_with_their_data(command: int, length: int) -> None:
    builder = begun().command(command, b"\x7e" * length).mapped_ram(BLOCK)
    builder.command(command, bytes(length)).described()
    assert walked(builder) == stream_parts(builder)


def test_packaged_stream_is_stepped_over() -> None:
    inner = StreamBuilder().full(9, b"inside", b"\0" * 30).file()
    builder = begun().mapped_ram(BLOCK).command(7, len(inner).to_bytes(4, "big"))
    builder.put("packaged", inner).full(3, b"timer", b"1234").described(device("timer", 4))
    assert walked(builder) == stream_parts(builder)


def test_packaged_stream_that_reaches_past_the_end_is_truncated() -> None:
    builder = begun().command(7, b"\xff\xff\xff\xff").put("packaged", b"short")
    with open_bytes(builder.file()) as image:
        assert isinstance(image.stopped, TruncatedError)


# -- after EOF -----------------------------------------------------------------------------------


@pytest.mark.parametrize("described", [True, False])
def test_trailing_bytes_have_an_owner(*, described: bool) -> None:
    builder = begun().mapped_ram(BLOCK)
    builder = builder.described() if described else builder.eof()
    builder.put("trailing", b"\0" * 40 + b"QEVM")
    assert walked(builder) == stream_parts(builder)


def test_file_that_ends_with_eof_is_complete() -> None:
    assert walked(begun().eof())[-1][0] == "eof"


def test_file_without_eof_is_not_complete() -> None:
    builder = begun().mapped_ram(BLOCK)
    with open_bytes(builder.file()) as image:
        assert isinstance(image.stopped, TruncatedError)
        assert image.stopped.offset == builder.offset
        assert not image.complete


@pytest.mark.parametrize("raw", [b"", b"{", b"{}", b"[]", b'{"devices": 5}', b"\0\0", b'{"a":"}'])
def test_description_that_cannot_be_read_is_noted(raw: bytes) -> None:
    builder = begun().mapped_ram(BLOCK).eof().vmdesc(raw)
    with open_bytes(builder.file()) as image:
        assert image.complete
        assert image.vmdesc is None
        assert len(image.notes) == 1
    assert walked(builder) == stream_parts(builder)


def test_description_cut_off_is_truncated() -> None:
    data = tiny_image().file()[:-10]
    with open_bytes(data) as image:
        assert isinstance(image.stopped, TruncatedError)
        assert image.sections[-1].name == "0000:00:02.0/vga"


# -- the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [0, 1, 70001])
def test_stream_at_any_offset(base: int) -> None:
    builder = tiny_image(base=base)
    with open_bytes(builder.file(), offset=base) as image:
        assert image.complete
        assert not image.notes
        got = [(str(record.kind), record.offset, record.length) for record in image.records()]
    assert got == stream_parts(builder)


def test_walk_can_be_repeated_and_gives_the_same() -> None:
    with open_bytes(ordinary_image(1024).file()) as image:
        assert list(image.records()) == list(image.records())


@pytest.mark.slow
@given(st.lists(st.sampled_from(["ram", "full", "command", "part"]), max_size=6), st.data())
def test_elements_in_any_order_are_walked_as_written(order: list[str], data: st.DataObject) -> None:
    builder = begun().start(2, b"ram").mem_size(BLOCK).mapped(BLOCK).eos().footer(2)
    devices = []
    for number, what in enumerate(order):
        if what == "full":
            body = data.draw(st.binary(max_size=40))
            builder.full(10 + number, b"dev", body, instance_id=number)
            devices.append(device("dev", len(body), instance_id=number))
        elif what == "command":
            builder.command(
                data.draw(st.sampled_from([1, 2, 11])), data.draw(st.binary(max_size=9))
            )
        elif what == "part":
            builder.part(2).eos().footer(2)
        else:
            builder.part(2, end=True).eos().footer(2)
    assert walked(builder.described(*devices)) == stream_parts(builder)


def test_ordinary_stream_is_not_taken_for_a_mapped_one() -> None:
    with open_bytes(ordinary_image().file()) as image:
        assert image.complete
        assert not any(block.mapped for block in image.blocks)
        assert Kind.MAPPED_RAM_HEADER not in {record.kind for record in image.records()}
