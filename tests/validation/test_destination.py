"""What the receiving VM has: judged as far as it is told, and as QEMU compares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.receiver import ReceiverError
from fixedram_fmt.results import builtins, dumps
from fixedram_fmt.validation import Receiver, Report, load_receiver, validate
from fixedram_fmt.write.faults import Outcome
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from support.synthetic import PAGE, image_of, made

KIB = 1024
SPEC: dict[str, Any] = {
    "machine": "pc-i440fx-10.0",
    "target_page_bits": True,
    "blocks": [
        {"name": "pc.ram", "size": 8 * PAGE, "pattern": "counter", "density": 0.5},
        {"name": "pc.rom", "size": 2 * PAGE, "pattern": "text"},
    ],
    "align": 1 << 20,
    "devices": [
        {"name": "timer", "data": "00" * 24},
        {"name": "cpu", "instance_id": 0, "version": 12, "data": "7e" * 40},
        {"name": "cpu", "instance_id": 1, "version": 12, "data": "7e" * 40},
    ],
}
#: What an image of SPEC was saved from, written down by hand.
FITTING: dict[str, Any] = {
    "machine": "pc-i440fx-10.0",
    "capabilities": ["mapped-ram"],
    "target_page_size": 4096,
    "blocks": {"pc.ram": 32 * KIB, "pc.rom": 8 * KIB},
    "sections": {"ram": 4, "timer": 1, "cpu": 12},
    "instances": {"ram": [0], "timer": [0], "cpu": [0, 1]},
}
#: For each field a value that does not fit, and the rules that say so.
WRONG: dict[str, tuple[Any, set[str]]] = {
    "machine": ("pc-q35-10.0", {"T01"}),
    "capabilities": (["mapped-ram", "x-ignore-shared"], {"T02"}),
    # A destination with other pages sees the headers' as too small, too.
    "target_page_size": (8192, {"T03", "L05"}),
    "blocks": ({"pc.ram": 16 * KIB, "more": KIB}, {"T04", "T05", "T06"}),
    "sections": ({"ram": 4, "timer": 2, "cpu": 11, "more": 1}, {"T09", "T10", "T11"}),
    "instances": ({"cpu": [0]}, {"T08"}),
}


@pytest.fixture(scope="module")
def raw() -> bytes:
    output = BufferOutput()
    write_image(spec_from(SPEC), output)
    return bytes(output.data)


def judged(raw: bytes, **fields: Any) -> Report:
    return validate(image_of(raw), Receiver(**fields))


def without_sources(receiver: Receiver) -> Receiver:
    return msgspec.structs.replace(receiver, sources=None)


def rules_of(report: Report) -> set[str]:
    return {finding.rule.id for finding in report.findings}


def outcome(report: Report, loader: str = "qemu-11.1") -> Outcome:
    return report.verdict(LOADERS[loader], multifd=False).outcome


# -- what is left out -----------------------------------------------------------------------------


def test_image_fits_the_vm_it_was_saved_from(raw: bytes) -> None:
    report = judged(raw, **FITTING)
    assert rules_of(report) == set()
    assert outcome(report) is Outcome.LOADS
    told = builtins(Receiver.of_image(image_of(raw)))
    assert {name: told[name] for name in FITTING} == FITTING
    # Besides, the devices field by field; nothing in them is compared.
    assert set(told) - set(FITTING) == {"description"}


def test_nothing_is_judged_by_a_destination_that_says_nothing(raw: bytes) -> None:
    assert rules_of(judged(raw)) == set()


@pytest.mark.parametrize("field", WRONG)
def test_field_is_judged_where_it_is_told_and_only_there(field: str, raw: bytes) -> None:
    value, rules = WRONG[field]
    assert rules_of(judged(raw, **{**FITTING, field: value})) == rules
    # Instances are those of the sections that are told.
    context = {"sections": FITTING["sections"]} if field == "instances" else {}
    assert rules_of(judged(raw, **context, **{field: value})) == rules


@pytest.mark.parametrize("field", WRONG)
def test_wrong_field_is_no_matter_where_it_is_left_out(field: str, raw: bytes) -> None:
    rest = {name: value for name, value in FITTING.items() if name != field}
    assert rules_of(judged(raw, **rest)) == set()
    wrong = {name: value for name, (value, _) in WRONG.items() if name != field}
    rules = set().union(*(rules for name, (_, rules) in WRONG.items() if name in wrong))
    gone = WRONG[field][1] | ({"T08"} if field == "sections" else set())
    assert rules_of(judged(raw, **wrong)) == rules - gone


def test_empty_is_not_the_same_as_left_out(raw: bytes) -> None:
    report = judged(raw, blocks={}, sections={}, capabilities=[])
    told = [finding.rule.id for finding in report.findings]
    # Two blocks, and four sections (ram is one) for which there is nothing.
    assert sorted(told) == ["T02", "T04", "T04", "T08", "T08", "T08", "T08"]


# -- comparisons as QEMU makes them ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "destination", "fits"),
    [
        ("pc-i440fx-10.0", "pc-i440fx-10.0", True),
        ("pc-i440fx", "pc-i440fx-10.0", True),
        ("pc-i440fx-1", "pc-i440fx-10.0", True),
        ("", "pc-i440fx-10.0", True),
        ("pc-i440fx-10.0", "pc-i440fx", False),
        ("pc-i440fx-10.0", "", False),
        ("i440fx", "pc-i440fx-10.0", False),
        ("PC-i440fx-10.0", "pc-i440fx-10.0", False),
    ],
)
def test_machine_in_the_image_must_be_a_prefix_of_the_destinations(
    image: str, destination: str, fits: bool
) -> None:
    report = judged(made(machine=image), machine=destination)
    assert ("T01" not in rules_of(report)) is fits
    assert outcome(report) is (Outcome.LOADS if fits else Outcome.REFUSES)


@pytest.mark.parametrize(
    ("capabilities", "differ"),
    [
        (["mapped-ram"], []),
        # Others are not compared (FORMAT 7: the set of the validated ones).
        (["mapped-ram", "multifd", "events", "xbzrle", "imagined"], []),
        ([], ["mapped-ram"]),
        (["x-ignore-shared"], ["mapped-ram", "x-ignore-shared"]),
    ],
)
def test_only_the_validated_capabilities_are_compared(
    capabilities: list[str], differ: list[str], raw: bytes
) -> None:
    report = judged(raw, capabilities=capabilities)
    told = [finding.message for finding in report.findings if finding.rule.id == "T02"]
    assert [name for message in told for name in message.split() if name in _VALIDATED] == differ


_VALIDATED = ("mapped-ram", "x-ignore-shared")


def test_zero_blocks_is_a_capability_of_qemu_10_and_not_of_11() -> None:
    """qapi/migration.json of the two versions."""
    report = validate(image_of(made(capabilities=["zero-blocks", "mapped-ram"])))
    assert outcome(report, "qemu-10.0") is Outcome.LOADS
    assert outcome(report, "qemu-11.1") is Outcome.REFUSES


@pytest.mark.parametrize(
    ("length", "rule", "plain"),
    [
        (32 * KIB, None, Outcome.LOADS),
        # Pages past the destination's end are refused; the last one of eight is present or not.
        (28 * KIB, "T06", None),
        (36 * KIB, "T07", Outcome.WRONG_MEMORY),
    ],
)
def test_lengths_of_blocks_are_compared(
    length: int, rule: str | None, plain: Outcome | None, raw: bytes
) -> None:
    report = judged(raw, blocks={"pc.ram": length, "pc.rom": 8 * KIB})
    assert rules_of(report) == ({rule} if rule else set())
    with image_of(raw) as image:
        bits = image.source.read_exact(image.blocks[0].bitmap_offset, 1)[0]
    last = Outcome.REFUSES if bits >> 7 else Outcome.LOADS
    assert outcome(report) is (plain or last)


@pytest.mark.parametrize("text", ["32K", "32 KiB", "0x8000", "32768", "0.03125M", "32k"])
def test_sizes_may_be_text(text: str, raw: bytes) -> None:
    assert rules_of(judged(raw, blocks={"pc.ram": text, "pc.rom": "8K"})) == set()
    assert Receiver(blocks={"pc.ram": text}).block_lengths == {"pc.ram": 32768}


def test_any_instance_fits_where_none_is_told(raw: bytes) -> None:
    sections = FITTING["sections"]
    assert "T08" not in rules_of(judged(raw, sections=sections))
    assert "T08" not in rules_of(judged(raw, sections=sections, instances={"timer": [0]}))
    (finding,) = judged(raw, sections=sections, instances={"cpu": [1, 2]}).findings[:1]
    assert finding.rule.id == "T08"
    assert "#0" in finding.message


@pytest.mark.parametrize(("instance", "fits"), [(7, True), (0xFFFFFFFF, True), (8, False)])
def test_instance_of_all_ones_fits_every_device(instance: int, fits: bool) -> None:
    """migration/savevm.c find_se(): it is the alias_id of every device that has no other."""
    raw = made(devices=[{"name": "cpu", "instance_id": instance, "data": "00" * 8}])
    report = judged(raw, sections={"ram": 4, "cpu": 1}, instances={"cpu": [7]})
    assert ("T08" not in rules_of(report)) is fits


@pytest.mark.parametrize(
    ("version", "rule"), [(12, None), (11, "T09"), (0, "T09"), (13, "T10"), (99, "T10")]
)
def test_versions_of_sections_are_compared(version: int, rule: str | None, raw: bytes) -> None:
    report = judged(raw, sections={**FITTING["sections"], "cpu": version})
    assert rules_of(report) == ({rule} if rule else set())
    # Whether an older one is still loaded only the receiver knows.
    assert outcome(report) is (Outcome.REFUSES if rule == "T09" else Outcome.LOADS)


def test_destination_of_a_sound_image_fits_it_whatever_its_names(tmp_path: Path) -> None:
    names = ["/rom@etc/acpi/tables", 'quo"te', "back\\slash", "\U0001f4be", "\x7f", "a.b = 1\n[x]"]
    blocks = [{"name": name, "size": PAGE, "pattern": "text"} for name in names]
    raw = made(blocks=blocks, machine="[[m]]'\t")
    destination = Receiver.of_image(image_of(raw))
    assert destination.blocks is not None
    assert list(destination.blocks) == names
    assert not {rule for rule in rules_of(validate(image_of(raw), destination)) if rule[0] == "T"}
    path = tmp_path / "vm.json"
    path.write_text(dumps(destination))
    assert without_sources(load_receiver(path)) == destination


# -- files ----------------------------------------------------------------------------------------

TOML = """\
machine = "pc-i440fx-10.0"
[blocks]
"pc.ram" = "32K"
"pc.rom" = 8192
[sections]
ram = 4
"""


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml, other, js = tmp_path / "vm.toml", tmp_path / "vm", tmp_path / "vm.json"
    toml.write_text(TOML)
    other.write_text(TOML)
    document = {"machine": "pc-i440fx-10.0", "blocks": {"pc.ram": "32K", "pc.rom": 8192},
                "sections": {"ram": 4}}  # fmt: skip
    js.write_text(json.dumps(document))
    wanted = Receiver(**document)
    for path, kind in ((toml, "TOML"), (other, "TOML"), (js, "JSON")):
        found = load_receiver(path)
        assert found.sources == [f"{kind} {path}"]
        assert without_sources(found) == wanted
    assert wanted.block_lengths == {"pc.ram": 32768, "pc.rom": 8192}
    assert builtins(wanted) == document


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"machin": "pc"}', "machin"),
        ('{"blocks": {"pc.ram": "many"}}', "many"),
        ('{"blocks": {"pc.ram": 1.5}}', "blocks"),
        ('{"blocks": {"pc.ram": null}}', "blocks"),
        ('{"blocks": {"pc.ram": -1}}', "pc.ram"),
        ('{"blocks": {"pc.ram": "16E"}}', "pc.ram"),
        ('{"blocks": {"pc.ram": %s}}' % ("9" * 4200), "pc.ram"),
        ('{"blocks": {"pc.ram": "0x%s"}}' % ("f" * 4000), "pc.ram"),
        ('{"blocks": ["pc.ram"]}', "blocks"),
        ('{"blocks": {"\\ud800": 4096}}', "surrogates"),
        ('{"machine": "\\udfff"}', "surrogates"),
        ('{"sections": {"\\ud800": 4}}', "surrogates"),
        ('{"sections": {"ram": "4"}}', "sections"),
        ('{"instances": {"cpu": 0}}', "instances"),
        ('{"target_page_size": "4K"}', "target_page_size"),
        ('{"target_page_size": 0}', "target_page_size"),
        ('{"target_page_size": -4096}', "target_page_size"),
        ('{"target_page_size": 5000}', "target_page_size"),
        ('{"capabilities": "mapped-ram"}', "capabilities"),
        ('{"machine": 1}', "machine"),
        ("[]", "object"),
        ("null", "object"),
        ("", "line 1"),
        ("{", "line 1"),
        ('{"a":' * 100_000, "recursion"),
        ("9" * 5000, "digits"),
    ],
)
def test_file_that_makes_no_sense_is_refused_with_what_is_wrong(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "vm.json"
    path.write_text(text)
    with pytest.raises(ReceiverError) as refused:
        load_receiver(path)
    assert told in str(refused.value)
    assert "vm.json" in str(refused.value)
    assert "fixedram destination" in refused.value.hint


@pytest.mark.parametrize("data", [b"\xff\xfe", b"machine = pc", b"\0", b"a = 1\na = 2", b"x = 1"])
def test_toml_that_makes_no_sense_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vm.toml"
    path.write_bytes(data)
    with pytest.raises(ReceiverError, match=r"vm\.toml"):
        load_receiver(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.toml", "nul\0byte"):
        with pytest.raises(ReceiverError):
            load_receiver(path)


def test_fields_are_those_of_the_contract() -> None:
    """DESIGN, `validate`; anything may be left out."""
    fields = {field.name: field.default for field in msgspec.structs.fields(Receiver)}
    contract = {"machine", "capabilities", "target_page_size", "blocks", "sections"}
    assert contract <= set(fields)
    assert set(fields.values()) == {None}
