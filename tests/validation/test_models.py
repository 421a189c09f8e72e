"""Verdicts of loader models and real QEMUs on both dialects, against the tables of FORMAT 8 and 9.

The tables below are written by hand from those two; nothing of the library went into them.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.timeline import FATAL, timeline
from fixedram_fmt.schema.ram import RamRecord, RamSaveFlag
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.validation import Report, validate
from fixedram_fmt.write.elements import Structure
from fixedram_fmt.write.faults import Fault, Outcome
from fixedram_fmt.write.faults.fault import Elements
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

#: libvirt asks about its own container; what it starts is one of these QEMUs.
JUDGES = [name for name, loader in LOADERS.items() if loader.libvirt is None]

LOADS, REFUSES, CRASHES = Outcome.LOADS, Outcome.REFUSES, Outcome.CRASHES
#: Cleanup can run before the channels have finished: what they had not yet read is missing.
NEVER_SYNCS = Outcome.WRONG_MEMORY

FLUSH_FREE = "no MULTIFD_FLUSH"
ONE_FLUSH = "one MULTIFD_FLUSH, before the last EOS"


class Writer(NamedTuple):
    """Who saved: the dialect, whether with multifd, and its multifd_flush_after_each_section."""

    dialect: str
    multifd: bool
    property_on: bool


#: FORMAT 8, rows "MULTIFD_FLUSH in the stream" and "the same with the property on".
WRITES = {
    # Column fixed-ram: "exactly one: before the last EOS"; with the property on "none at all".
    # The rows are about multifd; without it there is nobody to flush.
    Writer("fixed-ram-v4", multifd=False, property_on=False): FLUSH_FREE,
    Writer("fixed-ram-v4", multifd=False, property_on=True): FLUSH_FREE,
    Writer("fixed-ram-v4", multifd=True, property_on=False): ONE_FLUSH,
    Writer("fixed-ram-v4", multifd=True, property_on=True): FLUSH_FREE,
    # Columns mapped-ram (9.0 - 10.x, 11.0+): "never", twice.
    Writer("mapped-ram", multifd=False, property_on=False): FLUSH_FREE,
    Writer("mapped-ram", multifd=False, property_on=True): FLUSH_FREE,
    Writer("mapped-ram", multifd=True, property_on=False): FLUSH_FREE,
    Writer("mapped-ram", multifd=True, property_on=True): FLUSH_FREE,
}

#: FORMAT 9: what each receiver with channels makes of such a stream; its property off, then on.
WITH_CHANNELS = {
    # "at MULTIFD_FLUSH; EOS ignored"; property on: "never syncs".
    ("fixed-ram-v4", FLUSH_FREE): (NEVER_SYNCS, NEVER_SYNCS),
    ("fixed-ram-v4", ONE_FLUSH): (LOADS, LOADS),
    # "at every MULTIFD_FLUSH (and at EOS when the property is on)"; can sync again.
    ("reentrant", FLUSH_FREE): (NEVER_SYNCS, LOADS),
    ("reentrant", ONE_FLUSH): (LOADS, LOADS),
    # "at the end of every ram_load() (every section)", whatever stands in the stream.
    ("per-ram-load", FLUSH_FREE): (LOADS, LOADS),
    ("per-ram-load", ONE_FLUSH): (LOADS, LOADS),
}
REVIEWED = ("fixed-ram-v4", "reentrant", "per-ram-load")
#: FORMAT 9, row mapped-ram: "once, at the end of parsing the block list", the property "has no
#: effect"; FORMAT 8, row "capability name": the merged code knows `mapped-ram` alone, and refuses
#: an "unknown capability" (FORMAT 13).
MERGED = ("mapped-ram", "qemu-10.0", "qemu-11.1")


def expected(writer: Writer, loader: str, *, multifd: bool, property_on: bool) -> Outcome:
    if loader in MERGED:
        return LOADS if writer.dialect == "mapped-ram" else REFUSES
    if not multifd:
        return LOADS  # nobody to wait for
    return WITH_CHANNELS[loader, WRITES[writer]][property_on]


def report_of(writer: Writer) -> Report:
    raw = made(
        dialect=writer.dialect,
        multifd=writer.multifd,
        multifd_flush_after_each_section=writer.property_on,
        align=1 << 20,
        rounds=3,
    )
    return validate(image_of(raw))


@pytest.mark.parametrize("writer", WRITES, ids=str)
def test_image_has_the_flush_that_its_writer_sends(writer: Writer) -> None:
    raw = made(
        dialect=writer.dialect,
        multifd=writer.multifd,
        multifd_flush_after_each_section=writer.property_on,
    )
    with image_of(raw) as image:
        kinds = [record.kind for record in image.records() if "/ram/" in record.path]
    flushes = [number for number, kind in enumerate(kinds) if kind is Kind.MULTIFD_FLUSH]
    at_end = [len(kinds) - 2] if WRITES[writer] == ONE_FLUSH else []
    assert flushes == at_end
    assert kinds[-1] is Kind.EOS


@pytest.mark.parametrize("loader", JUDGES)
@pytest.mark.parametrize("writer", WRITES, ids=str)
def test_verdict_is_that_of_the_tables(writer: Writer, loader: str) -> None:
    report = report_of(writer)
    for multifd, property_on in product((False, True), repeat=2):
        verdict = report.verdict(LOADERS[loader], multifd=multifd, property_on=property_on)
        wanted = expected(writer, loader, multifd=multifd, property_on=property_on)
        assert verdict.outcome is wanted, (multifd, property_on)
        assert (verdict.loader, verdict.multifd) == (loader, multifd)
        if wanted is NEVER_SYNCS:
            assert "before the channels have finished" in verdict.message
            assert verdict.decided_by is not None
            assert verdict.decided_by.rule.id == "Y02"


def test_every_loader_is_in_a_table() -> None:
    assert {*REVIEWED, *MERGED} == set(JUDGES)
    assert {loader for loader, _ in WITH_CHANNELS} == set(REVIEWED)


@pytest.mark.parametrize("loader", JUDGES)
@pytest.mark.parametrize("writer", WRITES, ids=str)
def test_what_spoils_the_load_is_an_error_and_the_rest_is_quiet(
    writer: Writer, loader: str
) -> None:
    report = report_of(writer)
    for multifd, property_on in product((False, True), repeat=2):
        question = {"multifd": multifd, "property_on": property_on}
        errors = {
            finding.rule.id
            for finding in report.judged_by(LOADERS[loader], **question)
            if finding.severity == "error"
        }
        told = {finding.rule.id for finding in report.judged_by(LOADERS[loader], **question)}
        outcome = expected(writer, loader, **question)
        assert ("Y02" in errors) == (outcome is NEVER_SYNCS)
        assert errors - {"Y02"} == ({"G08"} if outcome is REFUSES else set())
        if writer.dialect == "mapped-ram" and outcome is LOADS:
            assert told == set(), "a sound image of a released QEMU is not worth a word"


# -- streams that no writer of the tables sends ---------------------------------------------------


def flushes_in(*kinds: Kind) -> Fault:
    """A MULTIFD_FLUSH before the first record of a section of each kind."""
    word = RamRecord(int(RamSaveFlag.MULTIFD_FLUSH))

    def change(items: Elements) -> None:
        for kind in kinds:
            items.insert(items.index(kind) + 1, Structure(Kind.MULTIFD_FLUSH, "test", word))

    return Fault("flushes", "", LOADS, LOADS, on_elements=change)


@pytest.mark.parametrize(
    ("dialect", "loader", "multifd", "property_on", "outcome"),
    [
        # FORMAT 9: "can sync twice - no: the channels quit at the first sync", so the second hangs.
        ("fixed-ram-v4", "fixed-ram-v4", True, False, CRASHES),
        ("fixed-ram-v4", "fixed-ram-v4", True, True, CRASHES),
        ("fixed-ram-v4", "fixed-ram-v4", False, False, LOADS),
        # "can sync twice - yes" and "must".
        ("fixed-ram-v4", "reentrant", True, False, LOADS),
        ("fixed-ram-v4", "reentrant", True, True, LOADS),
        ("fixed-ram-v4", "per-ram-load", True, False, LOADS),
        ("mapped-ram", "fixed-ram-v4", True, False, CRASHES),
        ("mapped-ram", "reentrant", True, False, LOADS),
        # "FLUSH is an invalid flag", with channels and without.
        ("mapped-ram", "mapped-ram", True, False, REFUSES),
        ("mapped-ram", "mapped-ram", False, False, REFUSES),
        ("mapped-ram", "qemu-10.0", False, False, REFUSES),
        ("mapped-ram", "qemu-11.1", True, True, REFUSES),
    ],
)
def test_second_flush_hangs_who_can_sync_once(
    dialect: str, loader: str, multifd: bool, property_on: bool, outcome: Outcome
) -> None:
    raw = made(dialect=dialect, faults=[flushes_in(Kind.SECTION_PART, Kind.SECTION_END)])
    verdict = validate(image_of(raw)).verdict(
        LOADERS[loader], multifd=multifd, property_on=property_on
    )
    assert verdict.outcome is outcome


@pytest.mark.parametrize("loader", REVIEWED)
@pytest.mark.parametrize("dialect", ["mapped-ram", "fixed-ram-v4"])
def test_nobody_needs_to_wait_for_channels_without_work(dialect: str, loader: str) -> None:
    blocks = [{"name": "pc.ram", "size": 8 * PAGE, "pattern": "zero"}]
    with image_of(made(dialect=dialect, blocks=blocks)) as image:
        report = validate(image)
        assert report.verdict(LOADERS[loader], multifd=True).outcome is LOADS
        assert not timeline(image, LOADERS[loader]).hazards


@pytest.mark.parametrize("loader", REVIEWED)
def test_one_early_flush_is_a_sync_too(loader: str) -> None:
    """All work is handed out in the first section (FORMAT 9): a flush in any later one will do."""
    raw = made(dialect="fixed-ram-v4", faults=[flushes_in(Kind.SECTION_PART)])
    report = validate(image_of(raw))
    assert report.verdict(LOADERS[loader], multifd=True).outcome is LOADS
    assert "Y04" in {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize("loader", JUDGES)
@pytest.mark.parametrize("flush", [False, True])
def test_ordinary_stream_loads_without_channels_only(loader: str, flush: bool) -> None:
    """FORMAT 8, last paragraph: FLUSH is at home in ordinary streams."""
    records = ram_word(0, RamSaveFlag.PAGE) + b"\6pc.ram" + b"x" * PAGE
    if flush:
        records += ram_word(0, RamSaveFlag.MULTIFD_FLUSH)
    report = validate(image_of(ordinary(records)))
    assert report.verdict(LOADERS[loader], multifd=False).outcome is LOADS
    assert report.verdict(LOADERS[loader], multifd=True).outcome is REFUSES


@pytest.mark.parametrize("property_on", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("loader", JUDGES)
@pytest.mark.parametrize("writer", WRITES, ids=str)
@pytest.mark.parametrize("faults", [(), (Kind.SECTION_PART, Kind.SECTION_END)], ids=["", "twice"])
def test_timeline_of_the_same_load_has_a_hazard_where_the_verdict_is_bad(
    faults: tuple[Kind, ...], writer: Writer, loader: str, property_on: bool
) -> None:
    """sync and validate come to it on different ways."""
    raw = made(
        dialect=writer.dialect,
        multifd=writer.multifd,
        multifd_flush_after_each_section=writer.property_on,
        faults=[flushes_in(*faults)],
    )
    model = LOADERS[loader]
    with image_of(raw) as image:
        verdict = validate(image).verdict(model, multifd=True, property_on=property_on)
        drawn = timeline(image, model, channels=2, property_on=property_on)
    fatal = {hazard.kind for hazard in drawn.hazards} & FATAL
    expected = {
        LOADS: set(),
        NEVER_SYNCS: {"cleanup-before-io"},
        CRASHES: {"second-sync-hangs"},
        REFUSES: {"flush-refused", "capability-refused"},
    }[Outcome(verdict.outcome)]
    assert fatal <= expected
    assert bool(fatal) == bool(expected)


def test_verdicts_lists_what_real_qemus_do_in_both_modes() -> None:
    report = report_of(Writer("mapped-ram", multifd=True, property_on=False))
    told = [(one.loader, one.multifd, one.outcome) for one in report.verdicts()]
    assert told == [
        ("qemu-10.0", False, LOADS), ("qemu-10.0", True, LOADS),
        ("qemu-11.1", False, LOADS), ("qemu-11.1", True, LOADS),
    ]  # fmt: skip
