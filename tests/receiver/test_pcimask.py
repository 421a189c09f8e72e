"""Which bits of a PCI configuration space are compared: those that no driver writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt.receiver.pcimask import compared
from support.receivers import found, part, saved

SIZE, EXPRESS = 256, 4096
#: The header's bytes that are compared whole.
IDENTITY = {0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0A, 0x0B, 0x0E, 0x34}


def space(
    *capabilities: tuple[int, str],
    size: int = SIZE,
    header: dict[int, int] | None = None,
    extended: dict[int, str] | None = None,
) -> bytes:
    """A configuration space with a chain of capabilities: where each is, and its bytes."""
    config = bytearray(size)
    config[:4] = bytes.fromhex("f41a0010")
    for offset, value in (header or {}).items():
        config[offset] = value
    if capabilities:
        config[0x06] = 0x10
        config[0x34] = capabilities[0][0]
    for number, (offset, data) in enumerate(capabilities):
        raw = bytearray.fromhex(data)
        raw[1] = capabilities[number + 1][0] if number + 1 < len(capabilities) else 0
        config[offset : offset + len(raw)] = raw
    for offset, data in (extended or {}).items():
        raw = bytearray.fromhex(data)
        config[offset : offset + len(raw)] = raw
    return bytes(config)


def bits(config: bytes) -> dict[int, int]:
    return {offset: mask for offset, (mask, _) in compared(config).items()}


def device_of(config: bytes) -> list[str]:
    """What a VM with a plain space says of config: offsets."""
    return [one.path for one in found(saved("d", part("config", "pci config", config)),
                                      saved("d", part("config", "pci config", SPACE)))]  # fmt: skip


# -- the header ------------------------------------------------------------------------------------


def test_of_a_header_what_says_what_device_it_is_is_compared() -> None:
    found_bits = bits(space())
    assert {offset for offset, mask in found_bits.items() if mask == 0xFF} == IDENTITY
    # The bit of the status that says whether there are capabilities.
    assert found_bits == {**dict.fromkeys(IDENTITY, 0xFF), 0x06: 0x10}


@pytest.mark.parametrize(
    ("number", "word", "told"),
    [
        (0, 0x0000_C001, {0x10: 0x03}),
        (1, 0xFEBD_0000, {0x14: 0x0F}),
        (2, 0xFEBD_0008, {0x18: 0x0F}),
        # Of 64 bits: the next holds the address' upper half, and no kind.
        (4, 0x0000_000C, {0x20: 0x0F}),
        (0, 0, {}),
    ],
)
def test_kinds_of_bars_are_compared_and_not_their_addresses(
    number: int, word: int, told: dict[int, int]
) -> None:
    offset = 0x10 + 4 * number
    config = space(header={offset + at: word >> 8 * at & 0xFF for at in range(4)})
    assert {at: mask for at, mask in bits(config).items() if 0x10 <= at < 0x28} == told


def test_upper_half_of_a_bar_of_64_bits_is_an_address() -> None:
    config = space(header={0x10: 0x0C, 0x14: 0x01, 0x17: 0xFE})
    assert 0x14 not in bits(config)


@pytest.mark.parametrize("kind", [0x01, 0x81])
def test_bridges_have_two_bars_and_kinds_of_windows(kind: int) -> None:
    config = space(header={0x0E: kind, 0x18: 0x05, 0x1C: 0xF1, 0x20: 0x0C, 0x24: 0xF1})
    told = bits(config)
    assert {offset: told[offset] for offset in (0x1C, 0x1D, 0x24, 0x26)} == dict.fromkeys(
        (0x1C, 0x1D, 0x24, 0x26), 0x0F
    )
    # Numbers of buses and windows of memory, where other devices have BARs.
    assert not {0x18, 0x19, 0x20} & set(told)


# -- capabilities ----------------------------------------------------------------------------------

#: A capability of each kind (after id and pointer ff is put everywhere), and by its byte which bits
#: stay: PCI Local Bus 3.0, 6.8; PCI Express 3.0, 7.8; hw/virtio/virtio-pci.c.
KINDS: dict[str, tuple[int, int, dict[int, int]]] = {
    "power management": (0x01, 8, {2: 0xFF, 3: 0xFF, 6: 0xFF}),
    "vital product data": (0x03, 8, {}),
    # Message control: enable (bit 0) and multiple message enable (bits 4-6) are the driver's.
    "MSI": (0x05, 24, {2: 0x8E, 3: 0xFF}),
    "hot-plug controller": (0x0C, 8, {}),
    "subsystem id of a bridge": (0x0D, 8, dict.fromkeys(range(2, 8), 0xFF)),
    # Table size, table and pending bits; enable and mask (bits 15, 14) are the driver's.
    "MSI-X": (0x11, 12, {2: 0xFF, 3: 0x3F, **dict.fromkeys(range(4, 12), 0xFF)}),
    "SATA data": (0x12, 8, dict.fromkeys(range(2, 8), 0xFF)),
    "advanced features": (0x13, 6, {2: 0xFF, 3: 0xFF}),
    "PCI Express": (
        0x10,
        0x3C,
        # Express, device, link, slot, device 2, link 2 capabilities.
        dict.fromkeys((*range(0x02, 0x08), *range(0x0C, 0x10), *range(0x14, 0x18),
                       *range(0x24, 0x28), *range(0x2C, 0x30)), 0xFF),
    ),
    "unknown": (0x42, 16, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_of_a_capability_bits_that_a_driver_writes_are_not_compared(name: str) -> None:
    number, length, stays = KINDS[name]
    config = space((0x40, f"{number:02x}00" + "ff" * (length - 2)))
    told = {offset - 0x40: mask for offset, mask in bits(config).items() if offset >= 0x40}
    if name == "PCI Express":
        # Root capabilities say what the slot can do, too.
        assert {at: mask for at, mask in told.items() if at in stays} == stays
        # Control and status of device, link, slot, device 2 and link 2.
        written = {at + step for at in (0x08, 0x10, 0x18, 0x28, 0x30) for step in range(4)}
        assert not written & set(told)
        return
    assert told == {0: 0xFF, 1: 0xFF, **stays}


def test_a_vendor_specific_capability_is_compared_for_its_length() -> None:
    told = bits(space((0x40, "0900 10 01" + "ff" * 12), (0x60, "0900 14 05" + "ff" * 16)))
    assert {offset for offset in told if 0x40 <= offset < 0x60} == set(range(0x40, 0x50))
    # virtio's window onto its configuration: what lies behind it is the driver's.
    assert {offset for offset in told if offset >= 0x60} == {0x60, 0x61, 0x62, 0x63}


def test_a_capability_at_the_end_stays_inside() -> None:
    assert max(bits(space((0xF8, "0900ff02")))) == 0xFF
    assert max(bits(space((0xFC, "0900ff02")))) == 0xFF


@pytest.mark.parametrize("first", [0x40, 0x43, 0x00, 0x10, 0x3C, 0xFF])
def test_chains_that_lead_nowhere_end(first: int) -> None:
    config = bytearray(space((0x40, "050000000000"), (0x50, "0100000000000000")))
    config[0x34] = first
    told = bits(bytes(config))
    assert (0x40 in told) is (first & ~3 == 0x40)
    assert 0x34 in told


@pytest.mark.parametrize(("at", "target"), [(0x41, 0x40), (0x51, 0x40), (0x51, 0x50)])
def test_cyclic_chains_end(at: int, target: int) -> None:
    config = bytearray(space((0x40, "0500"), (0x50, "0500")))
    config[at] = target
    assert {0x40, 0x41} <= set(bits(bytes(config)))


# -- PCI Express -----------------------------------------------------------------------------------


def test_extended_capabilities_are_compared_where_there_is_room_for_them() -> None:
    # AER, then access control, then a serial number, then what is not known.
    chain = {
        0x100: "01000214 ffffffff", 0x140: "0d000115 7f00ffff", 0x150: "03000116 0102030405060708",
        0x160: "ff7f0100 ffffffff",
    }  # fmt: skip
    told = bits(space(size=EXPRESS, extended=chain))
    extended = {offset for offset in told if offset >= SIZE}
    assert extended == {
        *range(0x100, 0x104), *range(0x140, 0x146), *range(0x150, 0x15C), *range(0x160, 0x164),
    }  # fmt: skip
    assert not {offset for offset in bits(space()) if offset >= SIZE}


def test_no_extended_capability_is_compared_where_there_is_none() -> None:
    assert max(bits(space(size=EXPRESS))) < SIZE


def test_cyclic_extended_chains_end() -> None:
    for following in ("10010010", "01000110", "0100f1ff"):
        told = bits(space(size=EXPRESS, extended={0x100: following}))
        assert set(range(0x100, 0x104)) <= set(told)
        assert max(told) < EXPRESS


# -- what is none ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 3, 14, 15, 52, 53, 63, 64, 255, 257, 4095, 4097])
@pytest.mark.parametrize("byte", [0x00, 0x40, 0xFF, 0x0C])
def test_damaged_spaces_of_any_length_are_compared_as_far_as_they_go(
    length: int, byte: int
) -> None:
    assert all(offset < length for offset in bits(bytes([byte]) * length))


@given(st.binary(max_size=300) | st.binary(min_size=EXPRESS, max_size=EXPRESS))
def test_no_space_is_too_strange(config: bytes) -> None:
    told = compared(config)
    assert list(told) == sorted(told)
    assert all(0 <= offset < len(config) and 0 < mask <= 0xFF for offset, (mask, _) in told.items())


# -- as misfits ------------------------------------------------------------------------------------

SPACE = space(
    (0x40, "0100 0320 0000 0000"), (0x50, "1100 0400 0000 0000 0008 0000"),
    (0x60, "0500 8000" + "00" * 10), (0x80, "0900 1001" + "11" * 12),
    header={0x10: 0x01, 0x11: 0xC0, 0x14: 0x0C, 0x18: 0x01, 0x20: 0x08, 0x21: 0x10},
)  # fmt: skip


@pytest.mark.slow
@given(st.integers(0, SIZE - 1), st.integers(0, 7))
def test_a_bit_that_is_compared_is_found_and_no_other(offset: int, bit: int) -> None:
    config = bytearray(SPACE)
    config[offset] ^= 1 << bit
    mask = bits(SPACE).get(offset, 0)
    expected = [f"config[{offset:#x}]"] if mask >> bit & 1 else []
    assert device_of(bytes(config)) == expected


def test_what_is_found_says_the_register_and_both_bytes() -> None:
    other = bytearray(SPACE)
    other[0x02] = 0x41
    image = saved("0000:00:03.0/d", part("v", "uint32", b"abcd"),
                  part("config", "pci config", bytes(other)))  # fmt: skip
    own = saved("0000:00:03.0/d", part("v", "uint32", b"abcd"),
                part("config", "pci config", SPACE))  # fmt: skip
    (one,) = found(image, own)
    assert (one.start, one.message, one.found, one.expected) == (6, "device id", "0x41", "0x00")
    assert one.holes["offset"] == 2
    assert one.item == "device id"


def test_a_space_of_another_length_is_told_as_such() -> None:
    express = SPACE + bytes(EXPRESS - SIZE)
    image = saved("d", part("config", "pci config", express))
    told = found(image, saved("d", part("config", "pci config", SPACE)))
    assert "a configuration space of another length" in [one.message for one in told]
    assert {one.says for one in told} == {"footer"}


@pytest.mark.parametrize("length", [0, 3, 63, 255])
def test_spaces_that_are_too_short_are_compared_too(length: int) -> None:
    image = saved("d", part("config", "pci config", b"\x01" * length))
    own = saved("d", part("config", "pci config", b"\x02" * length))
    told = found(image, own)
    assert bool(told) is bool(length)
