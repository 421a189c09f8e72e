"""Decoded values against the plainest interpreter, on real state and on made-up structures."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import FormatError, Image
from fixedram_fmt.vmstate.description import Description
from fixedram_fmt.vmstate.values import Value, children
from support.naive_state import Interpreter, interpret
from support.real_files import ENTRIES, location_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def described(*fields: dict[str, Any], subsections: Any = ()) -> Description:
    device = {
        "name": "d",
        "instance_id": 0,
        "vmsd_name": "d",
        "version": 1,
        "fields": list(fields),
        "subsections": list(subsections),
    }
    return Description(json.dumps({"devices": [device]}).encode(), name="test")


def field(name: str, type_: str, size: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "size": size, **more}


def struct(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"vmsd_name": "s", "version": 1, "fields": list(fields)}


def decode(body: bytes, *fields: dict[str, Any], subsections: Any = ()) -> dict[str, Any]:
    description = described(*fields, subsections=subsections)
    structure = description.structure(description.devices[0])
    assert structure.size == len(body)
    return structure.decode(body)


# -- real state ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_every_value_is_what_the_plain_interpreter_reads(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        description = Description.of_image(image)
        if description is None:
            assert image.vmdesc is None
            return
        devices = [device for device in image.state.devices if device.structure is not None]
        order = {
            (one.name, one.instance_id): place for place, one in enumerate(description.devices)
        }
        devices = sorted(devices[1:], key=lambda one: order[one.name, one.instance_id])
        bodies = [device.read(0, device.size) for device in devices]
        assert len(devices) == len(order)
        assert [device.fields for device in devices] == interpret(description.text, bodies)
        assert not image.state.notes


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_the_values_of_a_device_tile_its_body(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        for device in image.state.devices:
            if device.structure is None:
                continue
            headers = [
                (device.offset + start, 6 + len(child.vmsd_name))
                for start, child in device.structure.headers()
            ]
            spans = [(leaf.offset, leaf.size) for leaf in leaves(device.root) if leaf.size]
            at = device.offset
            for start, size in sorted([*spans, *headers]):
                assert start == at, device.path
                at += size
            assert at == device.offset + device.size, device.path


def leaves(value: Value) -> Iterator[Value]:
    below = list(children(value))
    if not below and value.structure is None and value.parts is None and not value.is_array:
        yield value
    for child in below:
        yield from leaves(child)


# -- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "size", "raw", "value"),
    [
        ("uint8", 1, "ff", 255),
        ("int8", 1, "ff", -1),
        ("uint16", 2, "0102", 258),
        ("int32", 4, "fffffffe", -2),
        ("int32 equal", 4, "00000007", 7),
        ("int32 le", 4, "00000007", 7),
        ("uint64", 8, "8000000000000000", 1 << 63),
        ("int64 equal", 8, "ffffffffffffffff", -1),
        ("bool", 1, "00", False),
        ("bool", 1, "02", True),
        ("timer", 8, "ffffffffffffffff", -1),
        ("float64", 8, "3ff8000000000000", 1.5),
        ("buffer", 3, "610062", b"a\0b"),
        ("cpsr", 4, "000001d3", bytes.fromhex("000001d3")),
        ("nullptr", 1, "30", None),
        ("nullptr", 1, "31", b"1"),
        ("capability", 4, "03616263", b"abc"),
        # Sizes that the type does not have are kept as bytes.
        ("uint32", 3, "010203", b"\1\2\3"),
        ("float64", 4, "01020304", b"\1\2\3\4"),
        ("bool", 2, "0100", b"\1\0"),
        ("buffer", 0, "", b""),
    ],
)
def test_a_type_is_read_as_qemu_puts_it(type_: str, size: int, raw: str, value: Any) -> None:
    assert decode(bytes.fromhex(raw), field("x", type_, size)) == {"x": value}


def test_an_array_is_a_list_whatever_it_holds() -> None:
    body = bytes.fromhex("0001 0002 aabb ccdd 01 00 07")
    assert decode(
        body,
        field("numbers", "uint16", 2, array_len=2),
        field("bytes", "buffer", 2, array_len=2),
        field("flags", "bool", 1, array_len=2),
        field("one", "uint8", 1, array_len=1),
        field("none", "uint8", 1, array_len=0),
    ) == {
        "numbers": [1, 2],
        "bytes": [b"\xaa\xbb", b"\xcc\xdd"],
        "flags": [True, False],
        "one": [7],
        "none": [],
    }


def test_an_array_split_around_null_pointers_is_one_list_in_order() -> None:
    found = decode(
        b"00\x05\x060\x07",
        field("p", "nullptr", 1, array_len=2),
        field("p", "uint8", 1, array_len=2),
        field("p", "nullptr", 1),
        field("p", "uint8", 1, index=5),
    )
    assert found == {"p": [None, None, 5, 6, None, 7]}


def test_elements_apart_and_names_met_again_are_lists() -> None:
    found = decode(
        b"\1\2\3\4",
        field("a", "uint8", 1, index=0),
        field("b", "uint8", 1),
        field("c", "uint8", 1),
        field("b", "uint8", 1),
    )
    assert found == {"a": [1], "b": [2, 4], "c": 3}


def test_structures_nest_and_a_tmp_is_one_too() -> None:
    inner = struct(field("x", "uint8", 1), field("y", "uint8", 1))
    found = decode(
        b"\1\2\3\4\5\6\7\x08",
        field("s", "struct", 2, struct=inner),
        field("many", "struct", 2, array_len=2, struct=inner),
        field("tmp", "tmp", 2, vmsd_name="t", version=1, fields=inner["fields"]),
    )
    assert found == {
        "s": {"x": 1, "y": 2},
        "many": [{"x": 3, "y": 4}, {"x": 5, "y": 6}],
        "tmp": {"x": 7, "y": 8},
    }


def test_a_structure_that_does_not_add_up_is_kept_as_bytes() -> None:
    inner = struct(field("x", "uint8", 1))
    assert decode(b"\1\2\3", field("s", "struct", 3, struct=inner)) == {"s": b"\1\2\3"}


def test_subsections_follow_the_fields_by_their_names() -> None:
    body = b"\x09" + b"\x05\x03d/a" + b"\0\0\0\1" + b"\x07"
    sub = {"vmsd_name": "d/a", "version": 1, "fields": [field("x", "uint8", 1)]}
    assert decode(body, field("f", "uint8", 1), subsections=[sub]) == {"f": 9, "d/a": {"x": 7}}


# -- made-up structures -------------------------------------------------------------------------

_PLAIN = st.sampled_from(
    [
        *(("uint8", 1), ("int16", 2), ("uint32", 4), ("int64", 8), ("bool", 1), ("timer", 8)),
        *(("buffer", 5), ("unused_buffer", 0), ("cpsr", 4), ("int32 equal", 4), ("int32 le", 4)),
    ]
)
_NAMES = st.sampled_from("abcd")
_SHAPES = st.sampled_from([{}, {"array_len": 0}, {"array_len": 1}, {"array_len": 3}, {"index": 0}])


def _size(fields: list[dict[str, Any]], subsections: list[dict[str, Any]]) -> int:
    total = sum(one["size"] * one.get("array_len", 1) for one in fields)
    for sub in subsections:
        total += 6 + len(sub["vmsd_name"]) + _size(sub["fields"], sub.get("subsections", []))
    return total


@st.composite
def _fields(draw: st.DrawFn, depth: int = 2) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw(st.integers(0, 4))):
        shape = draw(_SHAPES)
        if depth and draw(st.booleans()):
            inner = draw(_vmstate(depth - 1))
            size = _size(inner["fields"], inner["subsections"])
            found.append(field(draw(_NAMES), "struct", size, struct=inner, **shape))
        else:
            type_, size = draw(_PLAIN)
            found.append(field(draw(_NAMES), type_, size, **shape))
    return found


@st.composite
def _vmstate(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    subsections = []
    for number in range(draw(st.integers(0, 1)) if depth else 0):
        fields = draw(_fields(depth - 1))
        subsections.append(
            {"vmsd_name": f"v/{number}", "version": 1, "fields": fields, "subsections": []}
        )
    fields = draw(_fields(depth))
    return {"vmsd_name": "v", "version": 1, "fields": fields, "subsections": subsections}


class _Writer(Interpreter):
    """Makes a body by reading one that does not exist: random bytes, and the headers in place."""

    def __init__(self, source: Any) -> None:
        super().__init__(b"")
        self._source = source
        self.written = b""

    def structure(self, description: dict[str, Any]) -> dict[str, Any]:
        for one in description["fields"]:
            for _ in range(one.get("array_len", 1)):
                if "struct" in one:
                    self.structure(one["struct"])
                else:
                    self.written += self._source.randbytes(one["size"])
        for sub in description.get("subsections", ()):
            name = sub["vmsd_name"].encode()
            self.written += bytes([5, len(name)]) + name + sub["version"].to_bytes(4, "big")
            self.structure(sub)
        return {}


@pytest.mark.slow
@settings(max_examples=200)
@given(vmstate=_vmstate(2), source=st.randoms(use_true_random=False))
def test_made_up_structures_are_read_as_the_plain_interpreter_does(
    vmstate: dict[str, Any], source: Any
) -> None:
    writer = _Writer(source)
    writer.structure(vmstate)
    body = writer.written
    description = described(*vmstate["fields"], subsections=vmstate["subsections"])
    structure = description.structure(description.devices[0])
    assert structure.size == len(body)
    assert structure.decode(body) == Interpreter(body).structure(vmstate)


# -- hostile descriptions -----------------------------------------------------------------------


def _nested(depth: int) -> bytes:
    opened = (
        b'{"vmsd_name":"x","version":1,"fields":[{"name":"f","type":"struct","size":0,"struct":'
    )
    inner = b'{"vmsd_name":"x","version":1,"fields":[]}'
    head = b'{"devices":[{"name":"a","instance_id":0,"vmsd_name":"a","version":1,"fields":'
    field_ = b'[{"name":"f","type":"struct","size":0,"struct":'
    return head + field_ + opened * depth + inner + b"}]}" * depth + b"}]}]}"


def _text(*fields: dict[str, Any], subsections: Any = ()) -> bytes:
    return described(*fields, subsections=subsections).text


def _growing() -> bytes:
    """Twenty levels, each a thousand of the one below: 10^60 values that take no byte."""
    inner = struct(field("z", "uint8", 0))
    for _ in range(20):
        inner = struct(field("f", "struct", 0, array_len=1000, struct=inner))
    return _text(field("f", "struct", 0, struct=inner))


HOSTILE = {
    "array_len 2^40": lambda: _text(field("f", "uint8", 1, array_len=1 << 40)),
    "array_len 2^62 of nothing": lambda: _text(field("f", "uint8", 0, array_len=1 << 62)),
    "a negative size": lambda: _text(field("f", "uint8", -1)),
    "a negative array_len": lambda: _text(field("f", "uint8", 1, array_len=-5)),
    "nested 100 deep": lambda: _nested(100),
    "nested 100,000 deep": lambda: _nested(100_000),
    "growing at each level": _growing,
    "long text at each level": lambda: _nested(30).replace(b"[]", b"[%*s]" % (14 << 20, b"")),
    "200,000 subsections": lambda: _text(
        subsections=[{"vmsd_name": f"s{i}", "version": 1, "fields": []} for i in range(200_000)]
    ),
    "a subsection of version -1": lambda: _text(
        subsections=[{"vmsd_name": "s", "version": -1, "fields": []}]
    ),
    "a subsection's name of 300 bytes": lambda: _text(
        subsections=[{"vmsd_name": "s" * 300, "version": 1, "fields": []}]
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions_end_in_a_clean_error_within_a_second(name: str) -> None:
    text = HOSTILE[name]()
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        _compile(text)
    assert time.process_time() - start < 1
    assert caught.value.path.startswith("vmdescription")


def _compile(text: bytes) -> None:
    description = Description(text, name="hostile")
    for device in description.devices:
        description.structure(device)


@pytest.mark.slow
@pytest.mark.untraced
def test_a_hundred_thousand_fields_are_decoded_well_within_a_second() -> None:
    text = _text(*(field(f"f{number}", "uint32", 4) for number in range(100_000)))
    start = time.process_time()
    description = Description(text, name="large")
    structure = description.structure(description.devices[0])
    found = structure.decode(bytes(range(256)) * (400_000 // 256) + bytes(400_000 % 256))
    assert time.process_time() - start < 0.6
    assert found["f1"] == 0x04050607
    assert len(found) == 100_000
