"""Every schema: parse and build are inverse, the fast path is the layout, spans tile."""

from __future__ import annotations

import dataclasses
from typing import Any

import construct as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt.errors import TruncatedError
from fixedram_fmt.schema import device, libvirt, ram, stream
from fixedram_fmt.schema.base import Schema


def _exported() -> dict[str, Schema[Any]]:
    found: dict[str, Schema[Any]] = {}
    for module in (stream, ram, device, libvirt):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, Schema):
                found[name] = value
            elif isinstance(value, dict):
                found.update({f"{name}[{key}]": item for key, item in value.items()})
    return found


SCHEMAS = _exported()
EVERY = pytest.mark.parametrize("name", SCHEMAS)
FIXED = [name for name, schema in SCHEMAS.items() if schema.is_fixed]

#: Sizes by struct declarations upstream, counted by hand.
SIZES = {
    "FILE_HEADER": 8,
    "SECTION_PART": 5,
    "SECTION_FOOTER": 5,
    "EOF": 1,
    "UUID": 16,
    "TARGET_PAGE_BITS": 4,
    "CAPABILITIES": 4,
    "VMDESCRIPTION": 5,
    "PACKAGED_LENGTH": 4,
    "RAM_RECORD": 8,
    "MAPPED_RAM_HEADER": 28,
    "POSTCOPY_PAGE_SIZE": 8,
    "REGION_ADDRESS": 8,
    "ZERO_PAGE": 1,
    "XBZRLE_PAGE": 3,
    "COMPRESS_PAGE": 4,
    "S390_WORD": 8,
    "S390_COUNT": 8,
    "HTAB_HEADER": 4,
    "HTAB_CHUNK": 8,
    "BITMAP_FLAGS": 1,
    "BITMAP_START": 5,
    "BITMAP_BITS": 12,
    "BITMAP_DATA": 8,
    "LIBVIRT_HEADER[little]": 92,
    "LIBVIRT_HEADER[big]": 92,
}


def _counts(schema: Schema[Any]) -> dict[str, int]:
    """Width in bytes of the count in front of each string."""
    fields = list(schema.layout.subcons)
    return {
        after.name: before.subcon.subcon.length
        for before, after in zip(fields, fields[1:], strict=False)
        if isinstance(before.subcon, cs.Rebuild)
    }


def values_of(schema: Schema[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Random values of each field, within its width."""
    counts = _counts(schema)
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for field in schema.layout.subcons:
        if field.name not in schema.names:
            continue
        if field.name in counts:
            most = min(300, 256 ** counts[field.name] - 1)
            chosen[field.name] = st.binary(max_size=most)
        elif isinstance(field.subcon, cs.Bytes):
            size = field.subcon.length
            chosen[field.name] = st.binary(min_size=size, max_size=size)
        else:
            chosen[field.name] = st.integers(0, 256**field.subcon.length - 1)
    return st.fixed_dictionaries(chosen)


def sample(schema: Schema[Any]) -> bytes:
    """A small structure with recognisable bytes."""
    counts = _counts(schema)
    values: dict[str, Any] = {}
    for field in schema.layout.subcons:
        if field.name in counts:
            values[field.name] = b"name"
        elif isinstance(field.subcon, cs.Bytes):
            values[field.name] = bytes(range(1, field.subcon.length + 1))
        elif field.name in schema.names:
            values[field.name] = 3
    return schema.build(schema.record(**values))


def test_sizes_are_those_of_upstream() -> None:
    assert {name: SCHEMAS[name].size for name in SIZES} == SIZES
    assert set(FIXED) <= set(SIZES)


@EVERY
def test_layout_names_every_field_of_the_record(name: str) -> None:
    schema = SCHEMAS[name]
    fields = {field.name for field in dataclasses.fields(schema.record)}
    in_layout = {field.name for field in schema.layout.subcons}
    assert fields <= in_layout
    # what the record lacks are counts, which follow from the strings
    assert len(in_layout - fields) == len(_counts(schema))
    assert schema.upstream


@pytest.mark.slow
@EVERY
@settings(max_examples=40)
@given(data=st.data())
def test_build_and_parse_are_inverse(name: str, data: st.DataObject) -> None:
    schema = SCHEMAS[name]
    record = schema.record(**data.draw(values_of(schema)))
    built = schema.build(record)
    tail = data.draw(st.binary(max_size=8))
    assert schema.parse(built + tail) == (record, len(built))
    # construct itself agrees on the bytes
    assert bytes(schema.layout.build(dict(schema.layout.parse(built)))) == built


@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=40)
@given(data=st.data())
def test_fast_path_reads_what_the_layout_reads(name: str, data: st.DataObject) -> None:
    schema = SCHEMAS[name]
    raw = data.draw(st.binary(min_size=schema.size, max_size=schema.size))
    record, length = schema.parse(raw)
    interpreted = schema.layout.parse(raw)
    assert length == schema.layout.sizeof() == len(raw)
    assert dataclasses.asdict(record) == {field: interpreted[field] for field in schema.names}
    assert schema.build(record) == raw


@pytest.mark.slow
@EVERY
@settings(max_examples=40)
@given(data=st.data())
def test_spans_tile_the_structure(name: str, data: st.DataObject) -> None:
    schema = SCHEMAS[name]
    values = data.draw(values_of(schema))
    built = schema.build(schema.record(**values))
    at = 0
    for span in schema.spans(built):
        assert span.offset == at
        raw = built[at : at + span.length]
        if isinstance(span.value, bytes):
            assert span.value == raw
        else:
            order = "little" if name == "LIBVIRT_HEADER[little]" else "big"
            assert span.value == int.from_bytes(raw, order)
        if span.name in values:
            assert span.value == values[span.name]
        at += span.length
    assert at == len(built)


@EVERY
def test_truncation_at_every_byte_is_told_with_its_place(name: str) -> None:
    schema = SCHEMAS[name]
    whole = sample(schema)
    for length in range(len(whole)):
        with pytest.raises(TruncatedError) as caught:
            schema.parse(whole[:length], offset=0x1234, path="some/where")
        assert caught.value.offset == 0x1234
        assert caught.value.path.startswith("some/where")
        assert "0x1234" in str(caught.value)
    assert schema.build(schema.parse(whole)[0]) == whole


def test_truncated_string_names_the_field() -> None:
    with pytest.raises(TruncatedError) as caught:
        stream.SECTION.parse(b"\x01\0\0\0\x02\x03ra", path="section[0]")
    assert caught.value.path == "section[0].idstr"


@pytest.mark.parametrize(
    ("schema", "raw", "record"),
    [
        (stream.FILE_HEADER, b"QEVM\0\0\0\x03", stream.FileHeader(b"QEVM", 3)),
        (
            stream.CONFIGURATION,
            b"\x07\0\0\0\x02pc",
            stream.Configuration(7, b"pc"),
        ),
        (
            stream.SECTION,
            b"\x04\0\0\0\x05\x03rtc\0\0\0\x07\0\0\0\x03",
            stream.SectionHeader(4, 5, b"rtc", 7, 3),
        ),
        (stream.COMMAND, b"\x08\0\x0b\0\x02ab", stream.Command(8, 11, b"ab")),
        (
            ram.BLOCK_ENTRY,
            b"\x06pc.ram\0\0\0\0\x02\0\0\0",
            ram.BlockEntry(b"pc.ram", 32 << 20),
        ),
        (
            ram.MAPPED_RAM_HEADER,
            bytes.fromhex("00000001 0000000000001000 0000000000000123 0000000000100000"),
            ram.MappedRamHeader(1, 4096, 0x123, 0x100000),
        ),
        (
            libvirt.LIBVIRT_HEADER["little"],
            b"LibvirtQemudSave" + bytes.fromhex("02000000 10000000 01000000 06000000 00000000")
            + bytes(56),
            libvirt.LibvirtHeader(b"LibvirtQemudSave", 2, 16, 1, 6, 0, bytes(56)),
        ),
    ],
)  # fmt: skip
def test_bytes_written_by_hand_are_read(schema: Schema[Any], raw: bytes, record: Any) -> None:
    assert schema.parse(raw) == (record, len(raw))
    assert schema.build(record) == raw
