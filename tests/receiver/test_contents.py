"""What is taken out of a device's state to be compared, and how each type is compared."""

from __future__ import annotations

import pytest

from fixedram_fmt.receiver.contents import contents_of
from fixedram_fmt.receiver.misfit import Kind
from support.receivers import Part, Sub, found, number, part, saved, struct


def contents(name: str, *parts: Part | Sub, vmsd: str | None = None) -> dict[str, tuple[str, str]]:
    """Type and bytes by path."""
    device = saved(name, *parts, vmsd=vmsd).state.devices[-1]
    return {path: (one.type, one.raw.hex()) for path, one in contents_of(device).items()}


# -- what is taken ---------------------------------------------------------------------------------


def test_types_say_what_is_compared() -> None:
    told = contents(
        "dev",
        number("plain", 1),
        number("ports", 4, "uint8 equal"),
        number("most", 7, "int32 le"),
        part("config", "pci config", bytes(4)),
        part("pins", "pci irq state", bytes(16)),
        part("data", "unused_buffer", b"ab"),
    )
    assert told == {
        "ports": ("uint8 equal", "04"),
        "most": ("int32 le", "00000007"),
        "config": ("pci config", "00000000"),
        "pins": ("pci irq state", "00" * 16),
    }


def test_values_are_found_in_structures_arrays_and_subsections() -> None:
    told = contents(
        "dev",
        struct("port", number("n", 1, "uint8 equal"), count=2),
        struct("one", struct("two", number("n", 2, "uint8 equal"))),
        Sub("dev/sub", (struct("in", number("n", 3, "uint8 equal")),)),
    )
    assert list(told) == ["port[0]/n", "port[1]/n", "one/two/n", "dev/sub/in/n"]
    assert [raw for _, raw in told.values()] == ["01", "01", "02", "03"]


def test_elements_written_apart_have_numbers() -> None:
    fields = [part("q", "uint8 equal", bytes([one]), index=one) for one in range(2)]
    assert list(contents("dev", *fields)) == ["q[0]", "q[1]"]


def test_places_are_those_in_the_file() -> None:
    image = saved("dev", number("a", 1), Sub("dev/sub", (number("n", 3, "uint8 equal"),)))
    device = image.state.devices[-1]
    (one,) = contents_of(device).values()
    assert one.offset == device.offset + device.size - 1
    assert image.source.read_exact(one.offset, 1) == b"\3"


def test_the_number_before_an_array_is_its_length_where_it_says_so() -> None:
    assert contents("dev", number("n", 3), part("a", "uint16", bytes(6), 3)) == {
        "a#": ("#", "00000003")
    }
    assert contents("dev", number("n", 3), part("a", "buffer", bytes(3))) == {
        "a#": ("#", "00000003")
    }
    # Another number, or none at all.
    assert contents("dev", number("n", 2), part("a", "uint16", bytes(6), 3)) == {}
    assert contents("dev", part("a", "uint16", bytes(6), 3)) == {}


def test_some_values_are_compared_for_their_names() -> None:
    assert set(contents("hpet", number("num_timers_save", 3, "uint8"))) == {"num_timers_save"}
    assert contents("dev", number("num_timers_save", 3, "uint8")) == {}
    fields = [number(name, 1, "uint16") for name in ("subsys", "subsys_ven", "rx")]
    assert set(contents("0:0/e1000e", *fields)) == {"subsys", "subsys_ven"}
    caps = Sub("spapr/cap/htm", (number("caps.htm", 1, "uint8"), part("x", "odd", b"a")))
    assert set(contents("spapr", number("v", 1), caps)) == {"spapr/cap/htm/caps.htm"}


def test_of_the_special_registers_the_one_that_says_what_cpu_it_is_is_compared() -> None:
    registers = b"".join(bytes([0, 0, one // 256, one % 256]) for one in range(300))
    told = contents("cpu", part("env.spr", "uint32", registers, 300))
    assert told == {"env.spr[287]": ("pvr", "0000011f")}
    assert contents("cpu", part("env.spr", "uint32", registers[:1148], 287)) == {}
    assert contents("dev", part("env.spr", "uint32", registers, 300)) == {}
    compat = Sub("cpu/compat", (number("compat_pvr", 0x0F000004),))
    assert contents("cpu", number("v", 0), compat) == {
        "cpu/compat/compat_pvr": ("compat", "0f000004")
    }


def test_what_is_not_described_has_none() -> None:
    device = saved("dev", number("n", 1, "uint8 equal")).state.devices[-1]
    assert contents_of(device)
    device.structure = None
    assert contents_of(device) == {}


def test_the_configuration_is_no_device() -> None:
    image = saved("dev", number("n", 1))
    configuration = image.state.devices[0]
    assert configuration.name == "configuration"
    assert contents_of(configuration) == {}


# -- how it is compared ----------------------------------------------------------------------------

EQUAL = [f"{sign}int{width} equal" for sign in ("", "u") for width in (8, 16, 32, 64)]


@pytest.mark.parametrize("type_", EQUAL)
def test_values_of_all_widths_must_be_equal(type_: str) -> None:
    for value in (0, 1, -1, -128, 127):
        own = saved("dev", number("n", value, type_))
        assert found(saved("dev", number("n", value, type_)), own) == []
        (one,) = found(saved("dev", number("n", value + 1, type_)), own)
        assert (one.kind, one.item, one.start) == (Kind.VALUE, "n", 0)
        assert one.message == "'n' must be equal"


@pytest.mark.parametrize(
    ("type_", "told"), [("int32 equal", ("-1", "-2")), ("uint8 equal", ("255", "254"))]
)
def test_signed_values_are_told_with_their_sign(type_: str, told: tuple[str, str]) -> None:
    (one,) = found(saved("d", number("n", -1, type_)), saved("d", number("n", -2, type_)))
    assert (one.found, one.expected) == told


@pytest.mark.parametrize(
    ("value", "most", "fits"),
    [
        (3, 3, True),
        (0, 3, True),
        (4, 3, False),
        (-1, 3, False),
        (-1, -1, True),
        (1 << 30, 3, False),
    ],
)
def test_values_that_may_be_lower_are_not_below_zero(value: int, most: int, *, fits: bool) -> None:
    image = saved("dev", number("n", value, "int32 le"))
    told = found(image, saved("dev", number("n", most, "int32 le")))
    assert (told == []) is fits
    if not fits:
        assert (told[0].found, told[0].expected) == (str(value), f"at most {most}")


def test_pins_have_two_levels() -> None:
    def pins(*levels: int) -> Part:
        raw = b"".join((level % (1 << 32)).to_bytes(4, "big") for level in levels)
        return part("irq", "pci irq state", raw)

    own = saved("dev", pins(0, 0, 0, 0))
    assert found(saved("dev", pins(1, 0, 1, 0)), own) == []
    for level in (2, -1, 1 << 31):
        (one,) = found(saved("dev", pins(0, 1, level, 9)), own)
        assert (one.start, one.holes["level"]) == (8, level if level != 1 << 31 else -(1 << 31))


def test_what_one_side_alone_has_is_not_compared() -> None:
    one = saved("dev", number("n", 1, "uint32 equal"))
    other = saved("dev", number("m", 2, "uint32 equal"))
    assert found(one, other) == []


# -- lengths that the configuration decides --------------------------------------------------------


def test_an_array_that_is_longer_is_a_misfit() -> None:
    own = saved("dev", part("a", "uint16", bytes(8), 4))
    (one,) = found(saved("dev", part("a", "uint16", bytes(6), 3)), own)
    assert (one.kind, one.item, one.says) == (Kind.FIELDS, "a", "footer")
    assert (one.found, one.expected) == ("3 of 2 bytes", "4 of 2 bytes")


def test_an_array_whose_length_the_stream_tells_is_none() -> None:
    def counted(length: int) -> tuple[Part, Part]:
        return number("n", length), part("a", "uint16", bytes(2 * length), length)

    def structures(length: int) -> tuple[Part, Part]:
        return number("n", length), struct("a", number("x", 0), number("y", 0), count=length)

    for made in (counted, structures):
        assert found(saved("dev", *made(3)), saved("dev", *made(5))) == []
        # Where one side's number is about something else nothing is known.
        other = saved("dev", number("n", 9), made(5)[1])
        assert found(saved("dev", *made(3)), other)


@pytest.mark.parametrize(
    ("type_", "fits"),
    [
        ("virtio", True), ("str", True), ("qtailq", True), ("buffer", False),
        ("unused_buffer", False), ("bitmap", False), ("msix state", False),
        # No number is so long: the description is wrong, not the device.
        ("timer", True), ("uint8", True),
    ],
)  # fmt: skip
def test_types_that_tell_their_own_length_may_have_any(type_: str, *, fits: bool) -> None:
    own = saved("dev", number("v", 5), part("a", type_, bytes(8)))
    assert (found(saved("dev", number("v", 5), part("a", type_, bytes(9))), own) == []) is fits


@pytest.mark.parametrize(("name", "field"), [("cpu", "cpreg_vmstate_values"), ("cpu", "irqstate")])
def test_some_arrays_have_their_length_elsewhere(name: str, field: str) -> None:
    one, more = (saved(name, part(field, "uint64", bytes(8 * n), n)) for n in (2, 3))
    assert found(one, more) == found(more, one) == []


def test_moved_fields_are_no_misfit_and_missing_ones_are() -> None:
    flat = saved("dev", number("a", 1), number("b", 2), number("c", 3))
    moved = saved("dev", struct("s", number("a", 1), number("b", 2)), number("c", 3))
    renamed = saved("dev", number("x", 1), number("b", 2), number("c", 3))
    less = saved("dev", number("a", 1), number("c", 3))
    assert found(flat, moved) == found(moved, flat) == found(flat, renamed) == []
    (one,) = found(flat, less)
    assert (one.path, one.message) == ("b", "the receiver has no field 'b'")
    assert one.expected == "no such field"
    (one,) = found(less, flat)
    assert (one.path, one.message) == ("b", "the image has no field 'b'")
    # It would be there; QEMU notices where the footer should be.
    assert (one.start, one.met) == (4, one.device.size)


def test_subsections_of_other_lengths_are_misfits_and_absent_ones_are_not() -> None:
    def sub(*parts: Part) -> Sub:
        return Sub("dev/sub", parts)

    one = saved("dev", number("a", 1), sub(number("x", 0)))
    longer = saved("dev", number("a", 1), sub(number("x", 0), number("y", 0)))
    without = saved("dev", number("a", 1))
    (told,) = found(one, longer)
    assert told.path == "dev/sub/y"
    (shorter,) = found(longer, one)
    header = 1 + 1 + len("dev/sub") + 4
    assert (shorter.path, shorter.start) == ("dev/sub/y", 4 + header + 4)
    assert found(one, without) == found(without, one) == []
    # An array in a subsection, with its number before it.
    few, many = (
        saved("dev", number("a", 1), sub(number("n", n), part("b", "uint8", bytes(n), n)))
        for n in (2, 9)
    )
    assert found(few, many) == []
