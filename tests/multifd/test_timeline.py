"""Who syncs when: the tables of FORMAT 5 and 6, written down once more by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fixedram_fmt.build.faults import fault_named
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.timeline import Timeline, count_jobs, timeline
from fixedram_fmt.schema.ram import RamSaveFlag
from synthetic import PAGE, image_of, made, ordinary, ram_word

ROUNDS = 3
CALLS = 1 + ROUNDS + 1
V4, MAPPED = "fixed-ram-v4", "mapped-ram"


def image(dialect: str, **more: Any) -> Image:
    return image_of(made(dialect=dialect, rounds=ROUNDS, **more))


def told(line: Timeline) -> tuple[int, set[str]]:
    return line.syncs, {hazard.kind for hazard in line.hazards}


EARLY, LATER = "cleanup-before-io", "sync-depends-on-later-section"
REFUSED, FLUSH, HANGS = "capability-refused", "flush-refused", "second-sync-hangs"

# FORMAT 5: a v4 sender with multifd writes one FLUSH before the last EOS with its property off,
# none with it on; a mapped-ram sender never does.  FORMAT 6: when each model syncs.
# (dialect, sender's property) -> (loader, receiver's property) -> syncs, hazards
TABLE = {
    (V4, False): {
        ("fixed-ram-v4", False): (1, {LATER}),
        ("fixed-ram-v4", True): (1, {LATER}),
        ("per-ram-load", False): (CALLS, set()),
        ("per-ram-load", True): (CALLS, set()),
        ("reentrant", False): (1, {LATER}),
        ("reentrant", True): (CALLS + 1, set()),
        ("mapped-ram", False): (1, {REFUSED, FLUSH}),
        ("qemu-10.0", True): (1, {REFUSED, FLUSH}),
    },
    (V4, True): {
        ("fixed-ram-v4", False): (0, {EARLY}),
        ("fixed-ram-v4", True): (0, {EARLY}),
        ("per-ram-load", True): (CALLS, set()),
        ("reentrant", False): (0, {EARLY}),
        ("reentrant", True): (CALLS, set()),
        ("mapped-ram", True): (1, {REFUSED}),
    },
    (MAPPED, False): {
        ("mapped-ram", False): (1, set()),
        ("mapped-ram", True): (1, set()),
        ("qemu-10.0", False): (1, set()),
        ("qemu-11.1", True): (1, set()),
        ("fixed-ram-v4", False): (0, {EARLY}),
        ("reentrant", False): (0, {EARLY}),
        ("reentrant", True): (CALLS, set()),
        ("per-ram-load", False): (CALLS, set()),
    },
}
CASES = [
    (*writer, *reader, expected)
    for writer, readers in TABLE.items()
    for reader, expected in readers.items()
]


@pytest.mark.parametrize(("dialect", "sender", "loader", "receiver", "expected"), CASES)
def test_models_sync_where_the_tables_say(
    dialect: str, sender: bool, loader: str, receiver: bool, expected: tuple[int, set[str]]
) -> None:
    opened = image(dialect, multifd=True, multifd_flush_after_each_section=sender)
    line = timeline(opened, LOADERS[loader], property_on=receiver)
    assert told(line) == expected
    assert [call.section for call in line.calls] == [
        "start",
        "part[0]",
        "part[1]",
        "part[2]",
        "end",
    ]
    assert line.is_safe == (expected[1] <= {LATER})


def test_every_ram_record_is_an_event_and_a_mapped_ram_load_waits_once_for_all_jobs() -> None:
    line = timeline(image(MAPPED), LOADERS["mapped-ram"])
    assert [event.flag for event in line.events] == ["MEM_SIZE"] + ["EOS"] * CALLS
    first, *others = line.events
    assert (first.action, first.jobs, first.pending) == ("sync", line.jobs, line.jobs)
    assert all((event.action, event.pending) == ("none", 0) for event in others)


def test_second_flush_hangs_the_design_that_syncs_once_and_no_other() -> None:
    raw = made(dialect=V4, multifd=True, rounds=1, faults=[fault_named("flag-multifd-flush")])
    for loader, kind in (("fixed-ram-v4", HANGS), ("reentrant", None), ("per-ram-load", None)):
        line = timeline(image_of(raw), LOADERS[loader])
        assert (HANGS in told(line)[1]) == (kind == HANGS)
    hanging = list(timeline(image_of(raw), LOADERS["fixed-ram-v4"]).events)
    assert [event.reached for event in hanging if event.flag == "MULTIFD_FLUSH"] == [True, True]
    assert not hanging[-1].reached, "what lies behind the hang is listed, not reached"


def test_flush_in_mapped_ram_is_refused_where_it_stands() -> None:
    opened = image_of(made(faults=[fault_named("flag-multifd-flush")]))
    line = timeline(opened, LOADERS["qemu-10.0"])
    flush = next(event for event in line.events if event.flag == "MULTIFD_FLUSH")
    assert [(hazard.kind, hazard.offset) for hazard in line.hazards] == [(FLUSH, flush.offset)]


def test_image_that_stops_early_is_told() -> None:
    opened = image_of(made(faults=[fault_named("cut-before-eos")]))
    assert told(timeline(opened, LOADERS["mapped-ram"]))[1] == {"incomplete"}


@pytest.mark.parametrize("density", [0.1, 0.7, 1.0])
def test_jobs_are_counted_as_a_naive_loop_would_hand_them_out(density: float) -> None:
    blocks = [{"name": "pc.ram", "size": 1000 * PAGE, "density": density}]
    opened = image_of(made(blocks=blocks))
    (block,) = opened.blocks
    bitmap = opened.bitmap(block)
    assert bitmap is not None
    jobs = length = 0
    for page in range(block.pages_total):
        if page not in bitmap:
            length = 0
        else:
            jobs += length % 256 == 0
            length += 1
    assert count_jobs(opened, block) == jobs


def test_ordinary_stream_has_records_and_no_jobs() -> None:
    records = b"".join(
        ram_word(page * PAGE, RamSaveFlag.ZERO) + b"\x06pc.ram" + b"\0" for page in range(3)
    )
    line = timeline(image_of(ordinary(records)), LOADERS["mapped-ram"])
    flags = [event.flag for event in line.events]
    assert flags[0] == "MEM_SIZE"
    assert flags[-1] == "EOS"
    assert (line.jobs, line.syncs) == (0, 0)


def test_a_hundred_thousand_parts_are_no_matter() -> None:
    opened = image_of(made(rounds=100_000, blocks=[{"name": "pc.ram", "size": PAGE}]))
    start = time.perf_counter()
    line = timeline(opened, LOADERS["per-ram-load"])
    assert line.syncs == 100_002
    assert time.perf_counter() - start < 20
