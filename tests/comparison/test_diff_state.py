"""diff: device state and structure, by path."""

from __future__ import annotations

import pytest

from fixedram_fmt.vmstate.paths import Pattern
from support.builders import Block, StreamBuilder, uint
from support.image_pairs import FIELDS, PAGE, compared, memory, with_device


def test_values_that_changed_are_named_with_before_and_after() -> None:
    before = bytes(range(20)) + b"abc".ljust(20, b"\0")
    after = bytearray(before)
    after[3] = 9
    after[12 + 2 * 2] ^= 0xFF
    after[20] = ord("X")
    a, b = with_device(before, *FIELDS), with_device(bytes(after), *FIELDS)
    state = compared(a, b).state
    assert state is not None
    found = {value.path: (value.a, value.b) for value in state.values}
    assert found == {
        "dev/count": (0x00010203, 0x00010209),
        "dev/regs[2]": (0x1011, 0xEF11),
        "dev/name": (bytes(before[20:]), bytes(after[20:])),
    }
    value = next(value for value in state.values if value.path == "dev/regs[2]")
    assert value.offset_a is not None
    assert a[value.offset_a : value.offset_a + 2] == b"\x10\x11"
    assert b[value.offset_b : value.offset_b + 2] == b"\xef\x11"


@pytest.mark.parametrize("glob", ["dev/clock", "**/clock", "dev/0/clock", "*/cl?ck", "dev"])
def test_state_that_is_ignored_does_not_count(glob: str) -> None:
    before = bytes(40)
    after = bytes(11) + b"\x01" + bytes(28)
    a, b = with_device(before, *FIELDS), with_device(after, *FIELDS)
    assert not compared(a, b).same
    found = compared(a, b, ignore=(Pattern(glob),))
    assert found.same
    assert found.state.ignored == 1


def test_without_a_description_the_bytes_are_compared() -> None:
    def image(body: bytes) -> bytes:
        builder = StreamBuilder().header().configuration().mapped_ram(Block(b"r", bytes(PAGE)))
        return builder.full(3, b"dev", body).eof().file()

    state = compared(image(bytes(9)), image(bytes(5) + b"\x01\x02" + bytes(2))).state
    (value,) = state.values
    assert value.path == "dev"
    assert "2 bytes differ, from byte 0x5" in value.note


def test_an_image_without_a_description_is_read_by_the_others() -> None:
    body = bytes(40)
    described = with_device(bytes(3) + b"\x05" + body[4:], *FIELDS)
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(PAGE)))
    bare = builder.start(3, b"dev", full=True, version=1).put("device", body).footer(3).eof().file()
    for pair in ((described, bare), (bare, described)):
        (value,) = compared(*pair).state.values
        assert value.path == "dev/count"
        assert {value.a, value.b} == {0, 5}


def test_structure_names_machine_capabilities_devices_and_versions() -> None:
    def image(machine: bytes, capability: bytes, *names: bytes, version: int = 1) -> bytes:
        builder = StreamBuilder().header().configuration(machine, (b"mapped-ram", capability))
        builder.mapped_ram(Block(b"ram", bytes(PAGE)))
        for number, name in enumerate(names, 3):
            builder.start(number, name, full=True, version=version).put("device", bytes(4))
            builder.footer(number)
        return builder.eof().file()

    found = compared(
        image(b"pc-1", b"x-ignore-shared-not", b"timer", b"gone"),
        image(b"pc-2", b"other", b"timer", b"new", version=2),
    )
    assert {(one.what, one.name, one.a, one.b) for one in found.structure} == {
        ("machine", "", "pc-1", "pc-2"),
        ("capability", "x-ignore-shared-not", "on", None),
        ("capability", "other", None, "on"),
        ("device", "timer", "version 1", "version 2"),
        ("device", "gone", "version 1", None),
        ("device", "new", None, "version 2"),
    }


def test_the_layouts_capability_is_a_note_and_no_difference() -> None:
    content = memory(17, 20)

    def image(layout: bytes) -> bytes:
        builder = StreamBuilder().header().configuration(capabilities=(layout,))
        return builder.mapped_ram(Block(b"ram", content)).eof().file()

    found = compared(image(b"mapped-ram"), image(b"fixed-ram"))
    assert found.same
    assert any(note.startswith("dialect") for note in found.notes)


def test_long_arrays_are_compared_by_their_bytes() -> None:
    size = 900_000
    field = {**uint("table", 1), "array_len": size}
    before, after = bytes(size), bytearray(size)
    after[777_777] = 5
    (value,) = compared(with_device(before, field), with_device(bytes(after), field)).state.values
    assert (value.path, value.a, value.b) == ("dev/table[777777]", 0, 5)
