"""Sections with a framing of their own, in streams without any description."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import Block, StreamBuilder, open_bytes, page

BLOCK = Block(b"ram0", page(1, 256))
FOOTER = b"\x7e\0\0\0\x05"
#: What a search for a footer would fall for: footer, and a section behind it.
TRAP = FOOTER + b"\x04\0\0\0\x09\x04trap\0\0\0\0\0\0\0\x01"


def be64(*words: int) -> bytes:
    return struct.pack(f">{len(words)}Q", *words)


def keys(flag: int, address: int, data: bytes) -> bytes:
    return be64(address | flag, len(data)) + data


def htab(index: int, invalid: int, entries: bytes) -> bytes:
    assert len(entries) % 16 == 0
    return struct.pack(">IHH", index, len(entries) // 16, invalid) + entries


HTAB_END = bytes(8)


def chunk(flags: int, *pieces: bytes) -> bytes:
    return bytes([flags]) + b"".join(pieces)


def name(value: bytes) -> bytes:
    return bytes([len(value)]) + value


BODIES = {
    "s390-skeys": [
        be64(1),
        keys(2, 0, TRAP * 3) + be64(1),
        keys(2, 0x5000, TRAP) + keys(2, 0x9000, b"") + be64(4),
        keys(2, 1 << 40, bytes(70000)) + be64(0x1001),
    ],
    "s390-storage_attributes": [
        be64(1),
        keys(2, 0, TRAP) + be64(8, 1),
        keys(2, 0, TRAP) + keys(2, 0x3000, TRAP * 9) + be64(1),
        be64(8) + keys(2, 0, b"\x01") + be64(8, 1),
    ],
    "spapr/htab": [
        struct.pack(">I", 24),
        struct.pack(">i", -1),
        bytes(4) + HTAB_END,
        bytes(4) + htab(0, 3, (TRAP + b"0123456789" * 9)[:64]) + HTAB_END,
        bytes(4)
        + htab(5, 0, TRAP[:16] * 2)
        + htab(0, 7, b"")
        + htab(100, 0, b"\0" * 16)
        + HTAB_END,
    ],
    "dirty-bitmap": [
        chunk(0x01),
        chunk(0x1C, name(b"node0"), name(b"bitmap0"), struct.pack(">IB", 65536, 3)) + chunk(0x01),
        chunk(0x48, name(b"n"), struct.pack(">QI", 0, 128), be64(len(TRAP)), TRAP)
        + chunk(0x42, struct.pack(">QI", 128, 128))
        + chunk(0x20)
        + chunk(0x01),
        chunk(0x4C, name(TRAP), name(b""), struct.pack(">QI", 1, 2), be64(0)) + chunk(0x21),
        chunk(0x80, b"\x00") + chunk(0x80, b"\x80\0\0") + chunk(0x80, b"\x01"),
    ],
}
CASES = [(idstr, body) for idstr, bodies in BODIES.items() for body in bodies]


def stream_with(idstr: str, *bodies: bytes) -> StreamBuilder:
    """A section in parts: START, PARTs, END, each with its body, and RAM around it."""
    builder = StreamBuilder().header().configuration()
    builder.start(2, b"ram").mem_size(BLOCK).mapped(BLOCK).eos().footer(2)
    builder.start(5, idstr.encode(), version=1).put("device", bodies[0]).footer(5)
    for number, body in enumerate(bodies[1:], 1):
        builder.part(5, end=number == len(bodies) - 1).put("device", body).footer(5)
    builder.part(2, end=True).eos().footer(2)
    return builder.full(9, b"timer", b"0123456789").eof()


def check(builder: StreamBuilder) -> None:
    with open_bytes(builder.file()) as image:
        assert image.stopped is None, str(image.stopped)
        assert image.complete
        assert not image.notes
        walked = [(str(record.kind), record.offset, record.length) for record in image.records()]
    assert walked == [
        part for part in builder.parts if part[0] not in ("bitmap", "padding", "pages")
    ]


@pytest.mark.parametrize(("idstr", "body"), CASES)
def test_body_ends_where_its_framing_says(idstr: str, body: bytes) -> None:
    check(stream_with(idstr, body))


@pytest.mark.parametrize("idstr", BODIES)
def test_section_in_parts_is_read_through(idstr: str) -> None:
    check(stream_with(idstr, *BODIES[idstr]))


@pytest.mark.parametrize("idstr", BODIES)
def test_section_says_that_its_framing_told(idstr: str) -> None:
    with open_bytes(stream_with(idstr, BODIES[idstr][1]).file()) as image:
        section = next(section for section in image.sections if section.name == idstr)
        assert section.delimited_by == "framing"
        assert section.body_length == len(BODIES[idstr][1])


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.sampled_from(["s390-skeys", "s390-storage_attributes"]),
    st.lists(st.tuples(st.integers(0, 1 << 50), st.binary(max_size=60)), max_size=6),
)
def test_storage_keys_and_attributes_with_any_content(
    idstr: str, runs: list[tuple[int, bytes]]
) -> None:
    body = b"".join(keys(2, at << 12, data) for at, data in runs) + be64(1)
    check(stream_with(idstr, body, body))


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1 << 31), st.integers(1, 99), st.integers(0, 5),
                          st.binary(min_size=16, max_size=16)), max_size=6))  # fmt: skip
def test_hash_tables_with_any_content(runs: list[tuple[int, int, int, bytes]]) -> None:
    body = bytes(4) + b"".join(
        htab(index, invalid, entry * valid) for index, invalid, valid, entry in runs
    )
    check(stream_with("spapr/htab", struct.pack(">I", 18), body + HTAB_END, body + HTAB_END))


@pytest.mark.parametrize("idstr", BODIES)
def test_body_cut_off_anywhere_is_truncated(idstr: str) -> None:
    body = BODIES[idstr][-2]
    builder = StreamBuilder().header().configuration().start(5, idstr.encode(), version=1)
    whole = builder.put("device", body).file()
    for length in range(len(whole) - min(len(body), 300), len(whole)):
        with open_bytes(whole[:length]) as image:
            assert image.stopped is not None
            assert not image.complete
            assert image.sections[-1].body_length is None


@pytest.mark.parametrize(
    ("idstr", "body"),
    [
        ("s390-skeys", be64(3)),
        ("s390-skeys", keys(2, 0, b"x") + be64(0)),
        ("s390-storage_attributes", be64(0x10)),
    ],
)
def test_unknown_flags_stop_the_walk(idstr: str, body: bytes) -> None:
    with open_bytes(stream_with(idstr, body).file()) as image:
        assert image.stopped is not None
        assert "flags" in str(image.stopped)


@pytest.mark.parametrize("count", [1 << 63, (1 << 64) - 1, 1 << 40])
@pytest.mark.parametrize("idstr", ["s390-skeys", "s390-storage_attributes"])
def test_counts_past_the_end_are_truncated(idstr: str, count: int) -> None:
    with open_bytes(stream_with(idstr, be64(2, count) + b"x").file()) as image:
        assert image.stopped is not None
        assert not image.complete
