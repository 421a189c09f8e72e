"""-dump-vmstate is read as it is; whatever else calls itself that is refused, in no time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fixedram_fmt.knowledge import is_dump, read_dump


def field(name: str = "a", **others: Any) -> dict[str, Any]:
    return {"field": name, "version_id": 0, "field_exists": False, "size": 4, **others}


def description(name: str = "dev", **others: Any) -> dict[str, Any]:
    return {"name": name, "version_id": 2, "minimum_version_id": 1, **others}


def dump(*descriptions: Any) -> dict[str, Any]:
    devices = {
        f"class{number}": {
            "Name": f"class{number}", "version_id": 2, "minimum_version_id": 1, "Description": one
        }
        for number, one in enumerate(descriptions)
    }  # fmt: skip
    return {"vmschkmachine": {"Name": "pc-q35-10.0"}, **devices}


def text(*descriptions: Any) -> bytes:
    return json.dumps(dump(*descriptions)).encode()


def nested(depth: int, inner: str = "Subsections") -> dict[str, Any]:
    found = description()
    for _ in range(depth - 1):
        members = [found] if inner == "Subsections" else [field(Description=found)]
        found = description(**{inner: members})
    return found


def test_a_dump_is_read() -> None:
    found = read_dump(
        text(
            description(
                Fields=[field("x", num=3, field_exists=True), field("s", Description=nested(1))],
                Subsections=[description("dev/more")],
            ),
            description("unmigratable"),
        )
    )
    assert found.machine == "pc-q35-10.0"
    assert list(found.vmstates) == ["dev", "unmigratable"]
    (device,) = found.vmstates["dev"]
    assert (device.version_id, device.minimum_version_id) == (2, 1)
    array, structure = device.fields
    assert (array.name, array.count, array.size, array.conditional) == ("x", 3, 4, True)
    assert (structure.size, structure.count, structure.conditional) == (0, None, False)
    assert structure.structure is not None
    assert [one.name for one in device.subsections] == ["dev/more"]
    assert found.vmstates["unmigratable"][0].fields == ()


def test_equal_structures_are_one_and_others_are_kept() -> None:
    one, other = description(Fields=[field("a")]), description(Fields=[field("b")])
    vmstates = read_dump(text(one, other, one)).vmstates["dev"]
    assert [inner.name for vmstate in vmstates for inner in vmstate.fields] == ["a", "b"]


def test_a_dump_is_recognized_by_its_content() -> None:
    assert is_dump(dump())
    for other in ({}, {"machine": "pc"}, ["vmschkmachine"], "vmschkmachine", None):
        assert not is_dump(other)


@pytest.mark.parametrize("inner", ["Subsections", "Fields"])
def test_depth_has_a_ceiling(inner: str) -> None:
    assert read_dump(text(nested(32, inner))).vmstates
    with pytest.raises(ValueError, match="more than 32 deep"):
        read_dump(text(nested(33, inner)))


LONG = 10_000_000
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"QEMU emulator version 10.0",
    "no UTF-8": b'{"vmschkmachine": {"Name": "\xff"}}',
    "a list": b"[]",
    "a null": b"null",
    "no machine": b"{}",
    "machine a list": b'{"vmschkmachine": []}',
    "machine without a name": b'{"vmschkmachine": {}}',
    "name a number": b'{"vmschkmachine": {"Name": 1}}',
    "device without description": b'{"vmschkmachine": {"Name": "pc"}, "a": {"Name": "a"}}',
    "name long": text(description("n" * 256)),
    "field's name long": text(description(Fields=[field("n" * 1025)])),
    "version huge": text(description(version_id=1 << 31)),
    "version of many digits": text(description()).replace(b": 2,", b": " + b"9" * 100_000 + b","),
    "version a fraction": text(description(version_id=0.5)),
    "version a bool": text(description(version_id=True)),
    "size negative": text(description(Fields=[field(size=-1)])),
    "size huge": text(description(Fields=[field(size=1 << 49)])),
    "count negative": text(description(Fields=[field(num=-1)])),
    "condition a number": text(description(Fields=[field(field_exists=1)])),
    "field a text": text(description(Fields=["a"])),
    "fields an object": text(description(Fields={})),
    "fields null": text(description(Fields=None)),
    "subsection null": text(description(Subsections=[None])),
    "no size": text(description(Fields=[{"field": "a", "version_id": 0, "field_exists": True}])),
    "nested lists": b'{"vmschkmachine": {"Name": "pc"}, "a": ' + b"[" * LONG + b"]" * LONG + b"}",
    "nested objects": b'{"a":' * 90_000 + b"1" + b"}" * 90_000,
    "nested structures": b'{"vmschkmachine":{"Name":"pc"},"a":{"Name":"a","Description":'
    + b'{"name":"a","version_id":0,"minimum_version_id":0,"Subsections":[' * 40_000
    + b"]}" * 40_000
    + b"}}",
    "ignored and nested": b'{"vmschkmachine":{"Name":"pc","x":'
    + b"[" * 90_000
    + b"]" * 90_000
    + b"}}",
    "many fields": text(description(Fields=[field()] * 100_001)),
    "many values": b'{"vmschkmachine":{"Name":"pc","x":[' + b"0," * 600_000 + b"0]}}",
    "long": b'{"vmschkmachine":{"Name":"' + b"p" * (16 << 20) + b'"}}',
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_qemu_writes_is_refused_at_once(what: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match=r".{10}"):
        read_dump(HOSTILE[what])
    assert time.process_time() - begun < 1


@pytest.mark.slow
@pytest.mark.untraced
def test_the_most_that_is_taken_takes_no_second() -> None:
    full = text(description(Fields=[field(f"f{number}") for number in range(99_000)]))
    begun = time.process_time()
    (device,) = read_dump(full).vmstates["dev"]
    assert time.process_time() - begun < 1
    assert len(device.fields) == 99_000


def test_a_dump_cut_off_anywhere_is_refused() -> None:
    whole = text(description(Fields=[field("x", num=3), field("s", Description=nested(2))]))
    assert read_dump(whole)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            read_dump(whole[:end])
