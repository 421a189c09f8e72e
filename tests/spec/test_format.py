"""spec/FORMAT.md and its relatives: as they are made, complete, and true of a real image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT, SAMPLES, unpack
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema import device, libvirt, ram, stream
from fixedram_fmt.schema.base import Schema
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.validation import Severity, all_rules
from specification.__main__ import main
from specification.document import parts, render
from specification.facts import CHECKS
from specification.files import EXAMPLE, made_files
from specification.meanings import STRUCTURES, VALUES
from specification.tables import field_rows, table

SPEC = ROOT / "spec"
FORMAT = (SPEC / "FORMAT.md").read_text("utf-8")


@pytest.mark.slow
def test_what_is_committed_is_what_is_made() -> None:
    stale = [path.name for path, text in made_files(SPEC) if path.read_text("utf-8") != text]
    assert not stale, "run make spec"


@pytest.mark.slow
def test_making_it_writes_what_is_out_of_date_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / EXAMPLE).symlink_to(SAMPLES / EXAMPLE)
    folder = tmp_path / "spec"
    folder.mkdir()
    (folder / "FORMAT.md").write_text(FORMAT.replace("**FileHeader**", "**Elsewhere**"))
    assert main([str(folder), "--check"]) == 1
    assert not (folder / "schemas").exists()
    assert main([str(folder)]) == 0
    assert (folder / "FORMAT.md").read_text() == FORMAT
    assert main([str(folder), "--check"]) == 0
    capsys.readouterr()


def test_a_document_that_lacks_a_part_or_names_another_is_refused() -> None:
    made = parts(SAMPLES / EXAMPLE)
    with pytest.raises(FixedRamError, match="no place"):
        render(FORMAT.replace("<!-- made: dialects -->", ""), made)
    with pytest.raises(FixedRamError, match="names no part"):
        render(FORMAT.replace("<!-- made: dialects -->", "<!-- made: dialect -->"), made)


@pytest.mark.parametrize("key", STRUCTURES)
def test_every_field_has_a_meaning_and_no_meaning_is_left_over(key: str) -> None:
    entry = STRUCTURES[key]
    names = [str(field.name) for field in entry.schema.layout.subcons]
    assert names == list(entry.meanings)
    assert all(entry.meanings.values())


@pytest.mark.parametrize("key", VALUES)
def test_every_value_has_a_meaning(key: str) -> None:
    assert [member.name for member in VALUES[key].members] == list(VALUES[key].meanings)


def test_every_layout_of_the_stream_is_in_the_document() -> None:
    described = {id(entry.schema) for entry in STRUCTURES.values()}
    for module in (stream, ram, device):
        for name, value in vars(module).items():
            if isinstance(value, Schema):
                assert id(value) in described, name
    assert id(libvirt.LIBVIRT_HEADER["little"]) in described


def test_places_of_fields_are_those_of_built_structures() -> None:
    header = stream.SECTION.build(stream.SectionHeader(1, 2, b"name", 3, 4))
    length = len("name")
    places = {
        name: eval(offset, {"len": length}) for offset, _, name, _ in field_rows(stream.SECTION)
    }
    assert {span.name: span.offset for span in stream.SECTION.spans(header)} == places


def test_every_error_that_a_reader_can_meet_is_among_its_checks() -> None:
    named = {rule for _, _, rules in CHECKS for rule in rules.split()}
    rules = all_rules()
    assert named <= set(rules)
    missing = {rule.id for rule in rules.values() if rule.severity is Severity.ERROR} - named
    assert not missing


def test_rules_named_in_the_text_exist() -> None:
    text = FORMAT.split("## 15 Worked example", 1)[0]
    assert set(re.findall(r"\b[CSGRLBPDYT]\d\d\b", text)) <= set(all_rules())


def test_links_inside_the_document_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", FORMAT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", FORMAT)) <= heads
    files = set(re.findall(r"\]\(([^#)][^)]*)\)", FORMAT))
    assert all((SPEC / name).exists() for name in files)


def test_hand_coded_sections_are_all_described() -> None:
    assert all(f"`{idstr.decode()}`" in FORMAT for idstr in FRAMINGS)


def test_the_worked_example_is_the_sample_byte_for_byte(unpacked_dir: Path) -> None:
    data = unpack(SAMPLES / EXAMPLE, unpacked_dir / EXAMPLE.removesuffix(".xz")).read_bytes()
    listing = FORMAT.split("## 15 Worked example", 1)[1]
    rows = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?)+)", listing, re.MULTILINE)
    shown = 0
    for offset, digits in rows:
        row = bytes.fromhex(digits)
        assert data[int(offset, 16) :][: len(row)] == row
        shown += len(row)
    cut = sum(map(int, re.findall(r"\.\.\. (\d+) more bytes", listing)))
    assert shown + cut == len(data)


def test_tables_are_aligned_and_escape_what_would_break_them() -> None:
    lines = table(("a", "b|c"), [("1", "22"), ("333", "4")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0] == "| a   | b\\|c |"


def test_prose_stays_within_the_width_of_the_code() -> None:
    fenced = False
    for number, line in enumerate(FORMAT.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        assert fenced or line.startswith("|") or len(line) <= 100, number
