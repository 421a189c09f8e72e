"""Where a device's state ends: by the description, and by a footer that is verified."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import Image
from support.builders import Block, StreamBuilder, device, open_bytes, page

BLOCK = Block(b"ram0", page(1, 256))


def footer(section_id: int) -> bytes:
    return b"\x7e" + section_id.to_bytes(4, "big")


def begun() -> StreamBuilder:
    return StreamBuilder().header().configuration().mapped_ram(BLOCK)


def lengths(image: Image) -> list[tuple[str, int | None, str]]:
    assert image.stopped is None, str(image.stopped)
    assert image.complete
    return [
        (section.name, section.body_length, section.delimited_by)
        for section in image.sections
        if section.name != "ram"
    ]


BODIES: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(100),
    "own footer": footer(3) + b"rest",
    "own footer twice": footer(3) * 2 + b"rest",
    "own footer and zero": b"x" + footer(3) + b"\0 more",
    "own footer, zero and a description without {": footer(3) + b"\0\x06\0\0\0\x05hello",
    "own footer and a part of nobody": footer(3) + b"\x02\0\0\0\x63",
    "own footer and a section without a name": footer(3) + b"\x04\0\0\0\x09\0" + bytes(20),
    "own footer and a section with an odd name": footer(3)
    + b"\x04\0\0\0\x09\x02\x01\xff"
    + bytes(9),
    "own footer and an unknown command": footer(3) + b"\x08\0\x63\0\0",
    "own footer and command 0": footer(3) + b"\x08\0\0\0\0",
    "other footers": footer(2) + footer(4) + footer(0),
    "half a footer at the end": b"abc\x7e\0\0\0",
    "across a search step": b"\xaa" * ((1 << 20) - 3),
    "long": b"\x55" * (3 << 20),
}


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("follower", ["device", "command", "part"])
@pytest.mark.parametrize("name", BODIES)
def test_footers_inside_a_body_do_not_end_it(name: str, follower: str, *, described: bool) -> None:
    body = BODIES[name]
    builder = begun().full(3, b"timer", body)
    devices = [device("timer", len(body))]
    expected: list[tuple[str, int | None, str]] = [
        ("timer", len(body), "vmdesc" if described else "footer")
    ]
    if follower == "device":
        builder.full(4, b"rtc", b"12345")
        devices.append(device("rtc", 5))
        expected.append(("rtc", 5, expected[0][2]))
    elif follower == "command":
        builder.command(11)
    else:
        builder.part(2).eos().footer(2)
    builder = builder.described(*devices) if described else builder.eof()
    with open_bytes(builder.file()) as image:
        assert lengths(image) == expected


@pytest.mark.parametrize("name", [name for name in BODIES if "zero" not in name])
@pytest.mark.parametrize("tail", ["file", "description"])
def test_last_device_ends_before_eof(name: str, tail: str) -> None:
    builder = begun().full(3, b"timer", BODIES[name]).eof()
    if tail == "description":
        builder.vmdesc({"page_size": 256, "devices": [device("timer", 1 << 40)]})
    with open_bytes(builder.file()) as image:
        assert lengths(image) == [("timer", len(BODIES[name]), "footer")]


def test_last_device_in_front_of_trailing_bytes_ends_at_its_footer() -> None:
    builder = begun().full(3, b"timer", b"body").eof().put("trailing", b"junk" * 10)
    with open_bytes(builder.file()) as image:
        assert lengths(image) == [("timer", 4, "footer")]


@pytest.mark.parametrize("lie", [0, 1, 7, 9, 13, 22, 1000, 1 << 20, 1 << 31, 1 << 62, 10**30])
def test_description_that_lies_is_not_believed(lie: int) -> None:
    builder = begun().full(3, b"timer", b"\xeeabcdefg").full(4, b"rtc", b"\xee" * 5)
    builder.described(device("timer", lie), device("rtc", 5))
    with open_bytes(builder.file()) as image:
        assert lengths(image) == [("timer", 8, "footer"), ("rtc", 5, "vmdesc")]


def test_description_that_names_other_devices_does_not_matter() -> None:
    builder = begun().full(3, b"timer", b"12345678").full(3 + 1, b"rtc", b"abc", instance_id=1)
    builder.described(device("other", 8), device("rtc", 99, instance_id=0))
    with open_bytes(builder.file()) as image:
        assert lengths(image) == [("timer", 8, "footer"), ("rtc", 3, "footer")]


def test_devices_of_one_name_and_instance_are_taken_in_order() -> None:
    builder = begun().full(3, b"cpu", b"1" * 4).full(4, b"cpu", b"2" * 9).full(5, b"cpu", b"3" * 2)
    builder.described(device("cpu", 4), device("cpu", 9), device("cpu", 2))
    with open_bytes(builder.file()) as image:
        assert lengths(image) == [(name, size, "vmdesc") for name, size in
                                  [("cpu", 4), ("cpu", 9), ("cpu", 2)]]  # fmt: skip


def test_missing_footer_stops_where_the_state_begins() -> None:
    builder = begun().start(3, b"timer", full=True, version=1)
    at = builder.offset
    builder.put("device", b"\xee" * 100)
    with open_bytes(builder.file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at
        assert image.sections[-1].body_length is None


bodies = st.binary(max_size=60) | st.lists(
    st.sampled_from(
        [footer(3), footer(4), footer(5), b"\0", b"\x7e", b"\xee", b"\x08\0\x0c", b"\x05"]
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.slow
@settings(max_examples=80)
@given(st.lists(bodies, min_size=1, max_size=4))
def test_described_devices_have_their_exact_length_whatever_they_hold(states: list[bytes]) -> None:
    builder = begun()
    devices: list[dict[str, Any]] = []
    for number, state in enumerate(states):
        builder.full(3 + number, b"dev", state, instance_id=number)
        devices.append(device("dev", len(state), instance_id=number))
    with open_bytes(builder.described(*devices).file()) as image:
        assert lengths(image) == [("dev", len(state), "vmdesc") for state in states]
