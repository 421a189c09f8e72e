"""validate on damaged files: an answer in every form, whatever the bytes are."""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from conftest import SAMPLES, sample_entries, unpack
from fixedram_cli.render.findings import print_report, print_summary
from fixedram_cli.render.github import annotations
from fixedram_cli.render.junit import junit
from fixedram_cli.render.sarif import sarif
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.results import dumps
from fixedram_fmt.strategies import broken_images, mutated_images
from fixedram_fmt.validation import Receiver, Report, Severity, all_rules, unopened, validate
from fixedram_fmt.validation.imagereport import ReportedFinding
from fixedram_fmt.validation.report import Question, ask
from fixedram_fmt.write.faults import catalogue
from support.synthetic import PAGE, made

pytestmark = pytest.mark.untraced
#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
FINDINGS_CEILING = 100
#: A VM that nothing fits.
OTHER = Receiver(
    machine="none", capabilities=[], target_page_size=8192,
    blocks={"pc.ram": PAGE, "more": "1M"}, sections={"timer": 0, "ram": 4, "more": 1},
    instances={"timer": [7]},
)  # fmt: skip


def check(report: Report) -> None:
    """What must be true of any report; asked while the image is open, verdicts look at bitmaps."""
    told = Counter(finding.rule.id for finding in report.findings)
    assert max(told.values(), default=0) <= FINDINGS_CEILING
    assert all(told[rule_id] == FINDINGS_CEILING for rule_id in report.unlisted)
    for loader in LOADERS.values():
        for multifd, property_on in ((False, False), (True, False), (True, True)):
            question = {"multifd": multifd, "property_on": property_on}
            verdict = report.verdict(loader, **question)
            judged = report.judged_by(loader, **question)
            dumps([ReportedFinding.of(finding) for finding in judged])
            errors = [finding for finding in judged if finding.severity is Severity.ERROR]
            assert (verdict.decided_by is None) == (verdict.outcome is Outcome.LOADS)
            assert errors or verdict.outcome is Outcome.LOADS


def show(raw: bytes) -> None:
    """What the command prints of the file, in every form."""
    with NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        report = ask(file.name, Question("qemu-10.0", multifd=True, deep=True, destination=OTHER))
    dumps(report)
    held = io.StringIO()
    console = Console(file=held, markup=False, emoji=False, highlight=False, width=100)
    print_report(console, report)
    print_summary(console, report)
    text = held.getvalue() + "\n".join(annotations([report]))
    assert all(char == "\n" or char.isprintable() for char in text)
    junit([report], Severity.NOTE)
    json.dumps(sarif([report], all_rules(), "1"))


def look_at(raw: bytes) -> list[Report]:
    """Reports on a file, deep and not, for a VM that fits and one that does not, all checked."""
    begin = time.monotonic()
    show(raw)
    told = []
    try:
        inner, container = locate_stream(Source.from_buffer(raw))
        with Image(inner, container) as image:
            fitting = Receiver.of_image(image)
            for deep, vm in ((False, None), (True, fitting), (False, OTHER)):
                told.append(validate(image, vm, deep=deep))
                check(told[-1])
    except UnsupportedError:
        pass
    except FormatError as error:
        told = [unopened(error)]
        check(told[-1])
    assert time.monotonic() - begin < SECONDS
    return told


relaxed = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@relaxed
@given(broken_images())
def test_broken_image_gets_an_answer(broken: tuple[str, bytes]) -> None:
    assert look_at(broken[1])


@pytest.mark.slow
@relaxed
@given(mutated_images())
def test_mutated_image_gets_an_answer(raw: bytes) -> None:
    look_at(raw)


@pytest.mark.slow
@relaxed
@given(st.binary(max_size=300), st.sampled_from([b"", b"QEVM\0\0\0\3", b"LibvirtQemudSave"]))
def test_any_bytes_get_an_answer(raw: bytes, start: bytes) -> None:
    # There is none where it looks like something compressed that cannot be unpacked here.
    assert all(report.findings for report in look_at(start + raw))


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_broken_image_before_another_gets_an_answer(name: str) -> None:
    for other in ("escaping-block", "page-size-zero"):
        look_at(made(faults=[catalogue()[name]]) + made(faults=[catalogue()[other]]))


#: Few enough bytes to be held in memory.
_SMALL = 4 << 20

SMALL = [entry for entry in sample_entries() if entry["size"] < _SMALL]

LARGE = {entry["name"]: entry for entry in sample_entries() if entry["size"] >= _SMALL}

NAMES = st.sampled_from([entry["name"] for entry in SMALL])

#: Of the length of the file; most structures are near its ends.
PLACES = st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.floats(0.99, 1))


@pytest.fixture(scope="module")
def small(unpacked_dir: Path) -> dict[str, bytes]:
    return {entry["name"]: unpacked(entry, unpacked_dir).read_bytes() for entry in SMALL}


def unpacked(entry: dict[str, Any], folder: Path) -> Path:
    return unpack(SAMPLES / entry["file"], folder / f"sample-{entry['name']}")


@pytest.mark.slow
@settings(relaxed, max_examples=60)
@given(
    name=NAMES,
    splices=st.lists(
        st.tuples(PLACES, st.integers(0, 64), st.binary(max_size=64)), min_size=1, max_size=8
    ),
)
def test_sample_with_other_bytes_gets_an_answer(
    small: dict[str, bytes], name: str, splices: list[tuple[float, int, bytes]]
) -> None:
    raw = bytearray(small[name])
    for place, removed, added in splices:
        at = int(place * len(raw))
        raw[at : at + removed] = added
    look_at(bytes(raw))


@pytest.mark.slow
@settings(relaxed, max_examples=40)
@given(name=NAMES, other=NAMES, cut=PLACES, start=PLACES)
def test_halves_of_two_samples_get_an_answer(
    small: dict[str, bytes], name: str, other: str, cut: float, start: float
) -> None:
    first, second = small[name], small[other]
    look_at(first[: int(cut * len(first))] + second[int(start * len(second)) :])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.slow
@settings(relaxed, max_examples=80)
@given(
    name=st.sampled_from(sorted(LARGE)),
    number=st.integers(0, 1 << 16),
    changes=st.dictionaries(
        st.integers(0, 40), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, None]), min_size=1, max_size=4
    ),
)
def test_large_sample_with_damaged_headers_gets_an_answer(
    scratch: Path, name: str, number: int, changes: dict[int, int | None]
) -> None:
    """Bytes around a block's entry are set, or counted up, in a copy that has the holes."""
    entry = LARGE[name]
    path = unpacked(entry, scratch)
    told = f"@{entry['stream_offset']}" if entry["stream_offset"] and "libvirt" not in name else ""
    with Image.open(f"{path}{told}") as image:
        blocks = image.blocks
    at = blocks[number % len(blocks)].entry_offset
    with path.open("r+b") as file:
        kept = os.pread(file.fileno(), 64, at)
        try:
            for place, value in changes.items():
                new = (kept[place] + 1) % 256 if value is None else value
                os.pwrite(file.fileno(), bytes([new]), at + place)
            report = ask(f"{path}{told}", Question("qemu-10.0", multifd=True))
        finally:
            os.pwrite(file.fileno(), kept, at)
    assert not report.error
    assert report.verdict is not None
    # libvirt is asked too about what begins as its save.
    assert len(report.verdicts) in (4, 7)
