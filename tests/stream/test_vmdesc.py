"""The description: sizes of devices, and where it lies in the file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixedram_fmt import FormatError, Source
from fixedram_fmt.stream.vmdesc import VmDescription, find_vmdesc
from support.builders import StreamBuilder, device, open_bytes, tiny_image, uint


def parse(devices: Any, **more: Any) -> VmDescription:
    text = json.dumps({"configuration": {}, "page_size": 4096, "devices": devices, **more})
    return VmDescription.parse(text.encode(), 77)


def size_of(entry: dict[str, Any]) -> int:
    whole = {"name": "x", "instance_id": 0, "vmsd_name": "x", "version": 1, **entry}
    return parse([whole]).devices[0].size


def subsection(name: str, *fields: Any, subsections: Any = ()) -> dict[str, Any]:
    return {
        "vmsd_name": name,
        "version": 1,
        "fields": list(fields),
        "subsections": list(subsections),
    }


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        ({"fields": []}, 0),
        ({"fields": [uint("a"), uint("b", 8), uint("c", 1)]}, 13),
        ({"fields": [uint("a", 2, array_len=10)]}, 20),
        ({"fields": [uint("a", 2, array_len=0)]}, 0),
        ({"fields": [uint("a", 4, index=0), uint("a", 4, index=1), uint("a", 4, index=2)]}, 12),
        # an array split around NULL pointers: one byte for each
        (
            {
                "fields": [
                    {"name": "p", "type": "nullptr", "size": 1, "array_len": 3},
                    uint("p", 8, array_len=2),
                    {"name": "p", "type": "nullptr", "size": 1},
                ]
            },
            3 + 16 + 1,
        ),
        # the size of a struct covers what is in it
        (
            {
                "fields": [
                    {
                        "name": "s",
                        "type": "struct",
                        "size": 12,
                        "struct": {"vmsd_name": "s", "fields": [uint("a"), uint("b", 8)]},
                    }
                ]
            },
            12,
        ),
        (
            {
                "fields": [
                    {
                        "name": "s",
                        "type": "struct",
                        "size": 12,
                        "array_len": 5,
                        "struct": {"vmsd_name": "s", "fields": [uint("a"), uint("b", 8)]},
                    }
                ]
            },
            60,
        ),
        # 0x05, length of the name, name, version, body
        ({"fields": [uint("a")], "subsections": [subsection("x/y", uint("b", 2))]},
         4 + 1 + 1 + 3 + 4 + 2),
        (
            {
                "fields": [],
                "subsections": [
                    subsection("x/1", uint("b"), subsections=[subsection("x/1/2", uint("c", 8))]),
                    subsection("x/3"),
                ],
            },
            (1 + 1 + 3 + 4 + 4) + (1 + 1 + 5 + 4 + 8) + (1 + 1 + 3 + 4),
        ),
        ({"size": 1234}, 1234),
        ({"fields": [{"name": "data", "size": 99, "type": "buffer"}], "size": 7}, 99),
        ({}, 0),
    ],
)  # fmt: skip
def test_size_is_that_of_fields_and_subsections(entry: dict[str, Any], size: int) -> None:
    assert size_of(entry) == size


def test_facts_around_the_devices_are_kept() -> None:
    found = parse([device("a", 3, instance_id=5), device("a", 4, instance_id=5), device("b", 0)])
    assert found.offset == 77
    assert found.page_size == 4096
    assert [(d.name, d.instance_id, d.version, d.size) for d in found.devices] == [
        ("a", 5, 1, 3),
        ("a", 5, 1, 4),
        ("b", 0, 1, 0),
    ]
    table = found.by_section()
    # They are taken by pop(), the first one first.
    assert [d.size for d in table["a", 5]] == [4, 3]
    assert ("c", 0) not in table


def test_configuration_gives_the_bodies_of_its_subsections() -> None:
    configuration = {
        "vmsd_name": "configuration",
        "fields": [uint("len"), {"name": "name", "type": "buffer", "size": 9}],
        "subsections": [subsection("configuration/uuid", uint("uuid", 16))],
    }
    assert parse([], configuration=configuration).configuration == {"configuration/uuid": 16}


#: Enough for Python 3.14 too, which ends a recursion by the stack it used and not by its depth.
NESTED = 1_000_000
BAD = {
    "empty": b"",
    "not json": b"{hello}",
    "cut": b'{"devices": [',
    "no object": b"[1, 2]",
    "a number": b"5",
    "null": b"null",
    "no devices": b'{"page_size": 4096}',
    "devices is a number": b'{"devices": 5}',
    "devices is an object": b'{"devices": {"a": 1}}',
    "device is a string": b'{"devices": ["x"]}',
    "device without name": b'{"devices": [{"instance_id": 0}]}',
    "name is a number": b'{"devices": [{"name": 5, "instance_id": 0}]}',
    "instance is a bool": b'{"devices": [{"name": "x", "instance_id": true}]}',
    "size is missing": b'{"devices": [{"name": "x", "instance_id": 0, "fields": [{}]}]}',
    "size is a float": b'{"devices": [{"name":"x","instance_id":0,"fields":[{"size":1.5}]}]}',
    "size is infinite": b'{"devices": [{"name":"x","instance_id":0,"fields":[{"size":1e999}]}]}',
    "size is negative": b'{"devices": [{"name":"x","instance_id":0,"fields":[{"size":-5}]}]}',
    "array is negative": b'{"devices": [{"name":"x","instance_id":0,"fields":[{"size":5,'
    b'"array_len":-1}]}]}',
    "old size is negative": b'{"devices": [{"name":"x","instance_id":0,"size":-5}]}',
    "fields is a string": b'{"devices": [{"name":"x","instance_id":0,"fields":"abc"}]}',
    "fields is a number": b'{"devices": [{"name":"x","instance_id":0,"fields":3}]}',
    "subsection without name": b'{"devices":[{"name":"x","instance_id":0,"subsections":[{}]}]}',
    "subsection name too long": b'{"devices":[{"name":"x","instance_id":0,"subsections":'
    b'[{"vmsd_name":"' + b"y" * 300 + b'"}]}]}',
    "subsection name is no text": b'{"devices":[{"name":"x","instance_id":0,"subsections":'
    b'[{"vmsd_name":"\\ud800"}]}]}',
    "number with a million digits": b'{"devices":[{"name":"x","instance_id":0,"fields":[{"size":'
    + b"9" * 1_000_000 + b"}]}]}",
    "no utf-8": b'{"devices": ["\xff\xfe"]}',
    "nul": b"{\0}",
    "deep arrays": b'{"devices":' + b"[" * NESTED + b"]" * NESTED + b"}",
    "deep objects": b'{"devices":[], "a":' + b'{"a":' * NESTED + b"1" + b"}" * NESTED + b"}",
    "deep subsections": b'{"devices":[{"name":"x","instance_id":0,'
    + b'"subsections":[{"vmsd_name":"y",' * 200 + b'"size":1' + b"}]" * 200 + b"}]}",
    "configuration is a number": b'{"devices": [], "configuration": 7}',
    "configuration is a list": b'{"devices": [], "configuration": [1]}',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_description_is_a_format_error_at_its_place(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        VmDescription.parse(BAD[name], 4321)
    assert caught.value.offset == 4321
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", BAD)
def test_stream_with_a_bad_description_is_read_all_the_same(name: str) -> None:
    builder = StreamBuilder().header().configuration()
    builder.full(3, b"timer", b"1234").full(4, b"rtc", b"abc").eof().vmdesc(BAD[name])
    with open_bytes(builder.file()) as image:
        assert image.complete, str(image.stopped)
        assert image.vmdesc is None
        assert [section.body_length for section in image.sections] == [4, 3]


@pytest.mark.parametrize("page_size", [None, "4096", True, 4096.0, [], -1, 0, 3, 10**30])
def test_page_size_that_is_none_is_not_used(page_size: Any) -> None:
    builder = StreamBuilder(page_size=1024).header().configuration(page_bits=10).eof()
    builder.vmdesc({"page_size": page_size, "devices": []})
    with open_bytes(builder.file()) as image:
        assert image.complete
        assert image.target_page_size == 1024


# -- finding it -----------------------------------------------------------------------------------


def section(document: bytes) -> bytes:
    return b"\x06" + len(document).to_bytes(4, "big") + document


def sized(size: int, **values: Any) -> bytes:
    """A description of exactly size bytes, with spaces."""
    raw = json.dumps({"devices": [], **values}).encode()
    assert len(raw) <= size
    return raw[:-1] + b" " * (size - len(raw)) + b"}"


def find(data: bytes, start: int = 0) -> VmDescription | None:
    return find_vmdesc(Source.from_buffer(data), start)


@pytest.mark.parametrize("length", [0x7B, 0x7B7B, 0x17B, 0x107B, 0x17B00, 0x7D, 0x0606])
def test_brace_in_a_byte_of_the_length_does_not_mislead(length: int) -> None:
    found = find(b"\0" * 50 + section(sized(length)))
    assert found is not None
    assert (found.offset, found.length) == (50, length)


@pytest.mark.parametrize("junk", [b"\0", b"}", b"{}", b"\x06\0\0\0\x02{}", b"x" * 3_000_000])
def test_junk_behind_it_does_not_hide_it(junk: bytes) -> None:
    found = find(b"\0" * 50 + section(sized(200)) + junk)
    assert found is not None
    assert (found.offset, found.length) == (50, 200)


def test_one_that_ends_with_the_file_wins_over_one_in_memory() -> None:
    memory = section(sized(100, page_size=1))
    found = find(memory + bytes(30) + section(sized(90, page_size=2)) + b"")
    assert found is not None
    assert found.page_size == 2


def test_last_of_several_wins_where_none_ends_with_the_file() -> None:
    data = b"".join(bytes(10) + section(sized(100, page_size=n)) for n in range(1, 6)) + b"tail"
    found = find(data)
    assert found is not None
    assert found.page_size == 5


def test_candidate_inside_the_json_itself_does_not_win() -> None:
    inner = section(b"{}").decode("latin-1")
    document = json.dumps({"devices": [], "page_size": 8192, "x": inner}, ensure_ascii=False)
    found = find(bytes(20) + section(document.encode("latin-1")))
    assert found is not None
    assert found.offset == 20


@pytest.mark.parametrize("border", range(-7, 7))
def test_description_across_a_search_step_is_found(border: int) -> None:
    """Searched backwards from the end in steps of 1 MiB."""
    length = (1 << 20) + border
    found = find(bytes(100) + section(sized(length)))
    assert found is not None
    assert (found.offset, found.length) == (100, length)


def test_nothing_before_start_is_looked_at() -> None:
    data = section(sized(50)) + bytes(100)
    assert find(data, 1) is None
    assert find(data, 0) is not None


def test_none_where_there_is_none() -> None:
    assert find(b"") is None
    assert find(b"\x06\0\0\0\x05") is None
    assert find(b"\x06\xff\xff\xff\xff{}") is None
    assert find(b"\x06\0\0\0\x01{") is None


@pytest.mark.slow
def test_description_far_from_the_end_is_found_from_the_front(tmp_path: Any) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.write(bytes(5000) + section(sized(300)))
        file.truncate(200 << 20)
    with Source.open(path) as source:
        found = find_vmdesc(source, 100)
    assert found is not None
    assert found.offset == 5000


def test_devices_are_delimited_though_junk_follows_the_description() -> None:
    builder = tiny_image()
    with open_bytes(builder.file() + b"junk {\x06\0\0\0\x02{}" * 3) as image:
        assert image.complete
        assert [s.delimited_by for s in image.sections] == ["records", "vmdesc", "vmdesc"]
