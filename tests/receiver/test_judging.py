"""All that a receiver would refuse of an image, and that none refuses its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import run_cli
from fixedram_fmt.image import Image
from fixedram_fmt.receiver import Receiver, load_receiver
from fixedram_fmt.receiver.judging import misfits, own_structures
from fixedram_fmt.receiver.misfit import Kind
from fixedram_fmt.validation import validate
from support.faulty_images import rules_of
from support.real_files import ENTRIES, location_of
from support.receivers import Part, Sub, found, number, part, saved, struct, with_contents

COMPLETE = [
    name
    for name, entry in ENTRIES.items()
    if name.startswith("sample/") and entry.get("migration") == "completed"
]
#: What a QEMU of another version is known to refuse, whatever the receiver.
KNOWN = {"T18", "T19", "T20"}


# -- its own ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_an_image_is_taken_by_the_vm_that_saved_it(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        receiver = Receiver.of_image(image)
        assert list(misfits(image, receiver)) == []
        report = validate(image, receiver)
        assert not {one.rule.id for one in report.findings if one.rule.id[0] == "T"} - KNOWN


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_an_image_is_taken_by_its_own_description_in_a_file(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    place = location_of(name, unpacked_dir)
    for suffix in ("json", "toml"):
        vm = tmp_path / f"x.{suffix}"
        written = run_cli("destination", place, "-o", vm)
        assert (written.code, written.err) == (0, "")
        result = run_cli("validate", place, "--destination", vm, "--json")
        assert not {rule for rule in rules_of(result) if rule[0] == "T"} - KNOWN
    first, second = (load_receiver(tmp_path / f"x.{suffix}") for suffix in ("json", "toml"))
    # The command line stands in JSON alone.
    without = {"sources": None, "argv": None, "uncertain": None}
    first, second = (msgspec.structs.replace(one, **without) for one in (first, second))
    assert first == second


TYPES = ("uint8", "uint32 equal", "int32 le", "pci config", "buffer", "timer", "str")


@st.composite
def parts(draw: st.DrawFn, depth: int = 2) -> Part:
    name = draw(st.sampled_from("abcd"))
    if depth and draw(st.booleans()):
        inner = draw(st.lists(parts(depth - 1), max_size=3))
        return struct(name, *inner, count=draw(st.none() | st.integers(0, 3)))
    kind = draw(st.sampled_from(TYPES))
    if "int" in kind:
        return number(name, draw(st.integers(0, 200)), kind)
    return part(name, kind, draw(st.binary(max_size=8)))


DEVICES = st.tuples(
    st.lists(parts(), max_size=5),
    st.lists(st.builds(Sub, st.sampled_from(["cpu/a", "cpu/b"]), st.tuples(parts())), max_size=2),
)


@pytest.mark.slow
@given(DEVICES)
def test_any_device_is_taken_by_the_vm_that_saved_it(
    device: tuple[list[Part], list[Sub]],
) -> None:
    image = saved("cpu", *device[0], *device[1])
    assert found(image, image) == []


@pytest.mark.slow
@given(DEVICES, DEVICES)
def test_any_two_devices_are_compared(
    one: tuple[list[Part], list[Sub]], other: tuple[list[Part], list[Sub]]
) -> None:
    image, own = saved("cpu", *one[0], *one[1]), saved("cpu", *other[0], *other[1])
    told = found(image, own)
    assert [x.met for x in told] == sorted(x.met for x in told)
    for misfit in told:
        assert 0 <= misfit.start <= misfit.device.size
        assert misfit.message
        assert misfit.found != misfit.expected


# -- others ----------------------------------------------------------------------------------------


def test_misfits_of_a_device_are_in_the_order_in_which_it_is_read() -> None:
    def device(value: int, *more: Part) -> Image:
        config = part("config", "pci config", bytes([value]) * 64)
        return saved("d", config, number("n", value, "uint8 equal"), *more)

    told = found(device(1, number("x", 0)), device(2))
    kinds = [one.kind for one in told]
    assert kinds[-2:] == [Kind.VALUE, Kind.FIELDS]
    assert set(kinds[:-2]) == {Kind.CONFIG}
    assert [one.met for one in told] == sorted(one.met for one in told)


def test_devices_that_the_receiver_has_not_are_told_by_others() -> None:
    image = saved("d", number("n", 1, "uint8 equal"))
    own = saved("e", number("n", 2, "uint8 equal"))
    assert found(image, own) == []


def test_a_device_by_its_old_name_is_compared_too() -> None:
    image = saved("vga", number("n", 1, "uint8 equal"))
    (one,) = found(image, saved("0000:00:02.0/vga", number("n", 2, "uint8 equal")))
    assert one.item == "n"


def test_what_the_receiver_does_not_tell_is_not_judged() -> None:
    image = saved("d", number("n", 1, "uint8 equal"), number("m", 1))
    own = Receiver.of_image(saved("d", number("n", 2, "uint8 equal")))
    assert {one.kind for one in found(image, own)} == {Kind.VALUE, Kind.FIELDS}
    assert {one.kind for one in found(image, msgspec.structs.replace(own, contents=None))} == {
        Kind.FIELDS
    }
    assert {one.kind for one in found(image, msgspec.structs.replace(own, description=None))} == {
        Kind.VALUE
    }
    assert found(image, Receiver()) == []


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"devices": 1}', '{"devices": [{"name": "d"}]}',
     '{"devices": [{"name": "d", "instance_id": 0, "fields": [{"name": "x", "size": -1}]}]}',
     '{"devices": [{"name": "d", "instance_id": 0, "fields": 7}]}'],
)  # fmt: skip
def test_a_description_that_is_none_tells_nothing(text: str) -> None:
    image = saved("d", number("n", 1, "uint8 equal"))
    receiver = Receiver(sections={"d": 1}, description=text)
    assert not own_structures(receiver)
    assert found(image, receiver) == []


def test_contents_of_another_type_are_only_bytes() -> None:
    image = saved("d", part("c", "pci config", bytes(64)), number("n", 1, "uint8 equal"))
    receiver = Receiver.of_image(image)
    for value in ("", "00", "ff" * 64, "ff" * 5000):
        odd = with_contents(receiver, "d/0", c=("odd", value), n=("pci config", value))
        told = found(image, odd)
        assert {one.path.split("[")[0] for one in told} <= {"c", "n"}


def test_findings_say_what_to_change_and_what_the_loader_does() -> None:
    image = saved("0000:00:02.0/e1000", part("c", "pci config", bytes(64)), number("m", 1))
    own = saved("0000:00:02.0/e1000", part("c", "pci config", b"\0\0\1" + bytes(61)))
    told = {
        one.rule.id: one
        for one in validate(image, Receiver.of_image(own)).findings
        if one.rule.id in ("T12", "T13")
    }
    assert "e1000-82545em" in told["T13"].fix
    assert told["T12"].found == "4 bytes"
    # QEMU comes to the configuration first, and stops there.
    assert "says" in told["T13"].holes
    assert "says" not in told["T12"].holes
