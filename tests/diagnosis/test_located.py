"""A message and an image: the place, both values, and whether the log is of that image."""

from __future__ import annotations

from pathlib import Path

import pytest

import fixedram_fmt as fx
from fixedram_fmt.diagnosis import Side, diagnose
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.receiver import Receiver
from fixedram_fmt.write.faults import fault_named
from support.real_files import unpacked_case
from support.receivers import number, saved
from support.synthetic import PAGE, image_of, made

BLOCK = 'Unknown ramblock "{}", cannot accept migration'
VERSION = "dev: incoming version_id 3 is too new for local version_id 1"


def test_a_block_that_the_message_names_is_found_in_the_image() -> None:
    image = image_of(made())
    cause = diagnose(BLOCK.format("pc.rom"), image).causes[0]
    assert (cause.offset, cause.path) == (image.blocks[1].entry_offset, image.blocks[1].path)
    assert (cause.side, cause.rule) == (Side.RECEIVER, "T04")
    assert any("dump" in command and hex(cause.offset or 0) in command for command in cause.more)


def test_the_finding_that_agrees_says_what_the_message_leaves_open() -> None:
    image = image_of(made())
    receiver = Receiver(blocks={"pc.ram": 8 * PAGE})
    told = diagnose(BLOCK.format("pc.rom"), image, receiver)
    assert told.causes[0].rule == "T04"
    assert told.causes[0].path == "section[0]/ram/block[1]"
    assert told.verdict is Outcome.REFUSES
    assert told.warnings == ()


def test_a_section_that_the_message_names_is_found_in_the_image() -> None:
    image = image_of(made())
    section = next(one for one in image.sections if one.name == "timer")
    log = "error while loading state for instance 0x0 of device 'timer'"
    cause = diagnose(log, image).causes[0]
    assert cause.offset == section.offset
    assert cause.path.startswith("section[")
    assert any("fixedram state" in command and "timer" in command for command in cause.more)


def test_both_values_of_a_field_are_told() -> None:
    image, own = (
        saved("dev", number("a", 7, "int32 equal")),
        saved("dev", number("a", 9, "int32 equal")),
    )
    log = "qemu: 9 != 7\nerror while loading state for instance 0x0 of device 'dev'"
    cause = diagnose(log, image, Receiver.of_image(own)).causes[0]
    assert cause.rule == "T14"
    assert (cause.values["local"], cause.values["value"]) == ("9", "7")
    assert "7" in cause.values["found"]
    assert "9" in cause.values["expected"]
    assert cause.path.endswith("/a")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (BLOCK.format("other"), "block other, which the image has not"),
        ("Missing section footer for other", "section other, which the image has not"),
        (
            "Machine type received is 'q35' and local is 'pc'",
            "machine type q35, the image is of pc",
        ),
        (
            "Size mismatch: pc.rom: 0x3000 != 0x1000: Invalid argument",
            "block pc.rom has 0x3000 bytes, in the image it has 0x2000",
        ),
    ],
)
def test_a_log_of_another_image_is_told(log: str, words: str) -> None:
    told = diagnose(log, image_of(made()))
    assert any(words in warning for warning in told.warnings)


def test_without_a_log_the_verdict_is_the_cause() -> None:
    image = image_of(made(faults=[fault_named("header-version-2")]))
    told = diagnose(None, image)
    assert [cause.rule for cause in told.causes] == ["L01"]
    cause = told.causes[0]
    assert cause.message.startswith("Migration mapped-ram capability version not supported")
    assert (cause.side, cause.line) == (Side.IMAGE, None)
    assert cause.offset is not None
    assert told.verdict is Outcome.REFUSES


def test_a_verdict_without_words_of_qemu_is_told_in_those_of_its_rule() -> None:
    told = diagnose(None, image_of(made(faults=[fault_named("page-size-zero")])))
    assert told.causes
    assert told.causes[0].explanation
    assert told.causes[0].fix


def test_an_image_that_loads_has_no_cause() -> None:
    told = diagnose(None, image_of(made()))
    assert (told.causes, told.verdict) == ((), Outcome.LOADS)


def test_a_log_that_says_nothing_known_leaves_it_to_the_image() -> None:
    image = image_of(made(faults=[fault_named("header-version-2")]))
    told = diagnose("error: something failed", image)
    assert told.causes[0].rule == "L01"
    assert told.unknown == ("error: something failed",)


def test_what_validate_finds_besides_the_log_is_told() -> None:
    image = image_of(made(faults=[fault_named("header-version-2")]))
    told = diagnose(BLOCK.format("pc.rom"), image)
    assert told.causes[0].rule == "T04"
    assert any("L01" in warning for warning in told.warnings)


def test_where_the_file_ends_is_told_of_a_read_that_failed() -> None:
    raw = made()
    section = next(one for one in image_of(raw).sections if one.name == "cpu")
    cut = raw[: section.body_offset + 4]
    told = fx.diagnose("load of migration failed: Input/output error", cut)
    assert told.top is not None
    assert told.top.rule == "S03"
    assert told.top.offset is not None
    assert section.offset < told.top.offset <= len(cut)


def test_who_must_change_is_told_by_what_the_image_has() -> None:
    log = "Missing section footer for ram"
    broken = image_of(made(faults=[fault_named("footer-missing")]))
    assert diagnose(log, image_of(made())).causes[0].side is Side.RECEIVER
    damaged = diagnose(log, broken).causes[0]
    assert (damaged.side, damaged.rule) == (Side.IMAGE, "S09")


def test_a_file_that_is_no_image_still_has_its_log_explained(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"no image at all")
    told = fx.diagnose(BLOCK.format("a"), path)
    assert told.causes[0].key == "unknown-block"
    assert any("no image" in warning for warning in told.warnings)
    alone = fx.diagnose(None, path)
    assert (alone.causes[0].rule, alone.verdict) == ("S01", Outcome.REFUSES)


#: Real refusals (../shared/cases): image, receiver, what QEMU said, rule, and words of the fix.
REAL = {
    ("net-vectors-4.img", "net-vectors-0.img"): (
        "get_pci_config_device: Bad config data: i=0x34 read: 98 device: 84 cmask: ff wmask: 0"
        " w1cmask:0", "T13", "vectors=",
    ),
    ("piix4-no-acpi-index.img", "pc-plain.img"): (
        "Missing section footer for 0000:00:01.3/piix4_pm", "T12", "x-not-migrate-acpi-index",
    ),
    ("stream-rom512k.img", "stream-rom256k.img"): (
        "Size mismatch: 0000:00:03.0/virtio-net-pci.rom: 0x80000 != 0x40000: Invalid argument",
        "T06", "rom",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pair", REAL, ids="-into-".join)
def test_a_real_refusal_is_located(pair: tuple[str, str], unpacked_dir: Path) -> None:
    log, rule, words = REAL[pair]
    paths = [unpacked_case(name, unpacked_dir) for name in pair]
    with Image.open(paths[1]) as other:
        receiver = Receiver.of_image(other)
    for said in (log, None):
        told = fx.diagnose(said, paths[0], destination=receiver)
        assert told.top is not None
        assert (told.top.rule, told.top.side) == (rule, Side.RECEIVER)
        assert told.top.offset is not None
        assert words in told.top.fix
        assert told.top.values["found"]
        assert told.top.values["expected"]
        assert told.warnings == ()


@pytest.mark.slow
def test_the_byte_of_a_configuration_space_is_found_without_a_receiver(unpacked_dir: Path) -> None:
    log = (
        "get_pci_config_device: Bad config data: i=0x34 read: {} device: 84 cmask: ff wmask: 0"
        " w1cmask:0\nFailed to load virtio-net:virtio\n"
        "error while loading state for instance 0x0 of device '0000:00:03.0/virtio-net'"
    )
    path = unpacked_case("net-vectors-4.img", unpacked_dir)
    told = fx.diagnose(log.format("98"), path)
    config, field, section = told.causes
    assert config.path.endswith("/config[0x34]")
    assert path.read_bytes()[config.offset or 0] == 0x98
    assert config.values["found"] == "0x98"
    assert field.path.endswith("/body/virtio")
    assert (section.offset or 0) < (field.offset or 0) < (config.offset or 0)
    assert told.warnings == ()
    other = fx.diagnose(log.format("40"), path)
    assert any("another image" in warning for warning in other.warnings)
