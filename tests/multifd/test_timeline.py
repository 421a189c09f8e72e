"""Who syncs when: the tables of FORMAT 5 and 6, written down once more by hand."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from conftest import run_cli
from fixedram_cli.render.sequence import print_chart, print_comparison
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.loader import LoadError, load
from fixedram_fmt.multifd.timeline import FATAL, Timeline, count_jobs, timeline, timelines
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults import fault_named
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

ROUNDS = 3
CALLS = 1 + ROUNDS + 1
V4, MAPPED = "fixed-ram-v4", "mapped-ram"
EARLY, LATER = "cleanup-before-io", "sync-depends-on-later-section"
REFUSED, FLUSH, HANGS = "capability-refused", "flush-refused", "second-sync-hangs"

# FORMAT 5: what a writer leaves in the stream, by dialect, multifd and its property.
WRITERS = {
    (V4, True, False): "v4 with a FLUSH before the last EOS",
    (V4, True, True): "v4 without FLUSH",
    (V4, False, False): "v4 without FLUSH",
    (V4, False, True): "v4 without FLUSH",
    (MAPPED, True, False): "mapped-ram",
    (MAPPED, True, True): "mapped-ram",
    (MAPPED, False, False): "mapped-ram",
    (MAPPED, False, True): "mapped-ram",
}
# FORMAT 6: syncs and hazards of each loader, with the receiver's property off and on.
NEVER = (0, {EARLY})
ONCE_LATE = (1, {LATER})
EACH = (CALLS, set[str]())
TABLE: dict[str, dict[str, tuple[tuple[int, set[str]], tuple[int, set[str]]]]] = {
    "v4 with a FLUSH before the last EOS": {
        "fixed-ram-v4": (ONCE_LATE, ONCE_LATE),
        "per-ram-load": (EACH, EACH),
        "reentrant": (ONCE_LATE, (CALLS + 1, set())),
        "mapped-ram": ((1, {REFUSED, FLUSH}), (1, {REFUSED, FLUSH})),
    },
    "v4 without FLUSH": {
        "fixed-ram-v4": (NEVER, NEVER),
        "per-ram-load": (EACH, EACH),
        "reentrant": (NEVER, EACH),
        "mapped-ram": ((1, {REFUSED}), (1, {REFUSED})),
    },
    "mapped-ram": {
        "fixed-ram-v4": (NEVER, NEVER),
        "per-ram-load": (EACH, EACH),
        "reentrant": (NEVER, EACH),
        "mapped-ram": ((1, set()), (1, set())),
    },
}
RELEASED = ("qemu-10.0", "qemu-11.1")
CASES = [
    pytest.param(writer, loader, bool(on), expected[on], id=f"{writer}-{loader}-{bool(on)}")
    for writer, stream in WRITERS.items()
    for model, expected in TABLE[stream].items()
    for loader in (model, *(RELEASED if model == "mapped-ram" else ()))
    for on in (0, 1)
]


def written(dialect: str, multifd: bool = True, sender: bool = False, **more: Any) -> bytes:
    return made(
        dialect=dialect,
        multifd=multifd,
        multifd_flush_after_each_section=sender,
        rounds=ROUNDS,
        **more,
    )


def told(line: Timeline) -> tuple[int, set[str]]:
    return len(line.syncs), {hazard.kind for hazard in line.hazards}


@pytest.mark.parametrize(("writer", "loader", "receiver", "expected"), CASES)
def test_models_sync_where_the_tables_say(
    writer: tuple[str, bool, bool], loader: str, receiver: bool, expected: tuple[int, set[str]]
) -> None:
    line = timeline(image_of(written(*writer)), LOADERS[loader], channels=3, property_on=receiver)
    assert told(line) == expected
    assert [call.section for call in line.calls] == [
        "start",
        *(f"part[{number}]" for number in range(ROUNDS)),
        "end",
    ]
    assert line.is_safe == expected[1].isdisjoint(FATAL)
    assert [sync.event for sync in line.syncs] == [
        event for event in line.events if event.action == "sync"
    ]
    assert {sync.waits for sync in line.syncs} <= {3}


@pytest.mark.parametrize("receiver", [False, True])
@pytest.mark.parametrize("model", ["fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram"])
@pytest.mark.parametrize("writer", WRITERS)
def test_load_does_what_the_timeline_says(
    writer: tuple[str, bool, bool], model: str, receiver: bool
) -> None:
    class Nowhere:
        def fill(self, *job: Any) -> None:
            pass

    opened = image_of(written(*writer))
    line = timeline(opened, LOADERS[model], property_on=receiver)
    if FLUSH in told(line)[1]:
        with pytest.raises(LoadError) as raised:
            load(opened, Nowhere(), loader=LOADERS[model], property_on=receiver)
        assert [raised.value.offset] == [event.offset for event in line.events if event.refused]
        return
    loaded = load(opened, Nowhere(), loader=LOADERS[model], property_on=receiver)
    assert loaded.jobs == line.jobs > 0
    assert loaded.syncs == len(line.syncs)
    assert (loaded.unsynced > 0) == (EARLY in told(line)[1])


def test_every_ram_record_is_an_event_and_a_mapped_ram_load_waits_once_for_all_jobs() -> None:
    line = timeline(image_of(written(MAPPED)), LOADERS["mapped-ram"])
    assert [event.flag for event in line.events] == ["MEM_SIZE"] + ["EOS"] * CALLS
    first, *others = line.events
    assert (first.action, first.jobs, first.pending) == ("sync", line.jobs, line.jobs)
    assert all((event.action, event.pending) == ("none", 0) for event in others)
    assert first.path == f"{line.calls[0].path}/ram/record[0]"


def test_jobs_stay_pending_until_the_record_that_syncs() -> None:
    line = timeline(image_of(written(V4)), LOADERS["fixed-ram-v4"])
    *before, flush, last = line.events
    assert {event.pending for event in before} == {line.jobs}
    assert (flush.flag, flush.action, flush.pending) == ("MULTIFD_FLUSH", "sync", line.jobs)
    assert last.pending == 0
    (hazard,) = line.hazards
    assert hazard.offset == flush.offset
    assert "the jobs of START are only waited for in END" in hazard.message


def test_second_flush_hangs_the_design_that_syncs_once_and_no_other() -> None:
    raw = made(dialect=V4, multifd=True, rounds=1, faults=[fault_named("flag-multifd-flush")])
    for loader, kind in (("fixed-ram-v4", HANGS), ("reentrant", None), ("per-ram-load", None)):
        line = timeline(image_of(raw), LOADERS[loader])
        assert (HANGS in told(line)[1]) == (kind == HANGS)
    hanging = list(timeline(image_of(raw), LOADERS["fixed-ram-v4"]).events)
    assert [event.reached for event in hanging if event.flag == "MULTIFD_FLUSH"] == [True, True]
    assert not hanging[-1].reached, "what lies after the hang is listed, not reached"


def test_flush_in_mapped_ram_is_refused_where_it_stands() -> None:
    opened = image_of(made(faults=[fault_named("flag-multifd-flush")]))
    line = timeline(opened, LOADERS["qemu-10.0"])
    flush = next(event for event in line.events if event.flag == "MULTIFD_FLUSH")
    assert [(hazard.kind, hazard.offset) for hazard in line.hazards] == [(FLUSH, flush.offset)]
    assert [event for event in line.events if event.refused] == [flush]
    events = list(line.events)
    assert not any(event.reached for event in events[events.index(flush) + 1 :])


def test_refused_capability_is_told_with_its_place() -> None:
    raw = written(V4)
    (hazard,) = timeline(image_of(written(V4, sender=True)), LOADERS["qemu-11.1"]).hazards
    assert hazard.offset is not None
    assert raw[hazard.offset :].startswith(b"\x09fixed-ram")


def test_image_that_stops_early_is_told() -> None:
    opened = image_of(made(faults=[fault_named("cut-before-eos")]))
    assert told(timeline(opened, LOADERS["mapped-ram"]))[1] == {"incomplete"}


def test_list_of_blocks_that_breaks_off_is_never_synced_behind() -> None:
    raw = written(MAPPED)
    first, second = image_of(raw).blocks
    cut = image_of(raw[: second.entry_offset + 3])
    line = timeline(cut, LOADERS["mapped-ram"])
    assert told(line) == (0, {"incomplete"})
    (event,) = line.events
    assert event.jobs == event.pending == count_jobs(cut, first) > 0
    # Cut right after the list, main has synced before it misses the next record.
    assert told(timeline(image_of(raw[: second.pages_stop]), LOADERS["mapped-ram"])) == (
        1,
        {"incomplete"},
    )


def test_list_of_blocks_that_goes_in_circles_is_never_synced_behind() -> None:
    raw = bytearray(written(MAPPED))
    second = image_of(bytes(raw)).blocks[1]
    assert second.header_offset is not None
    raw[second.header_offset + 20 : second.header_offset + 28] = (
        second.entry_offset - second.used_length
    ).to_bytes(8, "big")
    mem_size = next(
        record for record in image_of(bytes(raw)).records() if record.kind == "mem_size"
    )
    raw[mem_size.offset + 4] ^= 0x40  # a sum that the entries do not reach
    line = timeline(image_of(bytes(raw)), LOADERS["mapped-ram"])
    assert told(line) == (0, {"incomplete"})
    assert "does not end" in line.hazards[0].message


def test_bitmap_that_cannot_be_read_is_no_safe_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "bitmap", lambda *_: None)
    line = timeline(image_of(written(MAPPED)), LOADERS["mapped-ram"])
    assert told(line) == (0, {"incomplete"})


@pytest.mark.parametrize("density", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("page_size", [1024, PAGE, 8192])
def test_jobs_are_counted_as_a_naive_loop_would_hand_them_out(
    density: float, page_size: int
) -> None:
    blocks = [{"name": "pc.ram", "size": 2000 * page_size, "density": density}]
    opened = image_of(made(blocks=blocks, page_size=page_size, align=8192))
    (block,) = opened.blocks
    bitmap = opened.bitmap(block)
    assert bitmap is not None
    assert block.page_size == page_size
    jobs = length = 0
    for page in range(block.pages_total):
        if page not in bitmap:
            length = 0
        else:
            jobs += length % ((1 << 20) // page_size) == 0
            length += 1
    assert count_jobs(opened, block) == jobs


# FORMAT 5, last sentence: FLUSH means sync, and with the property on every EOS does as well.
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("receiver", "syncs"), [(False, 2), (True, 3)])
def test_ordinary_stream_has_no_jobs_and_syncs_alike_in_every_model(
    loader: str, receiver: bool, syncs: int
) -> None:
    flush = ram_word(0, RamSaveFlag.MULTIFD_FLUSH)
    pages = b"".join(
        ram_word(page * PAGE, RamSaveFlag.ZERO) + b"\x06pc.ram" + b"\0" for page in range(3)
    )
    opened = image_of(ordinary(flush + pages + flush))
    line = timeline(opened, LOADERS[loader], property_on=receiver)
    flags = [event.flag for event in line.events]
    assert (flags[0], flags[-1]) == ("MEM_SIZE", "EOS")
    assert told(line) == (syncs, set())
    assert line.jobs == 0
    assert not line.fixed


def test_many_models_read_the_image_once_and_tell_what_each_tells_alone() -> None:
    opened = image_of(written(V4))
    alone = [timeline(opened, loader, property_on=True) for loader in LOADERS.values()]
    reads: list[int] = []
    records = opened.records
    opened.records = lambda: reads.append(1) or records()  # type: ignore[method-assign,func-returns-value]
    assert timelines(opened, list(LOADERS.values()), property_on=True) == alone
    assert reads == [1]


def with_parts(count: int, dialect: str) -> bytes:
    """An image with that many PARTs, one copied after itself: offsets before them stay right."""
    raw = made(rounds=1, dialect=dialect, blocks=[{"name": "pc.ram", "size": PAGE}])
    records = list(image_of(raw).records())
    start = next(record.offset for record in records if record.kind is Kind.SECTION_PART)
    footers = [record for record in records if record.kind is Kind.SECTION_FOOTER]
    stop = next(footer.stop for footer in footers if footer.offset > start)
    return raw[:start] + raw[start:stop] * count + raw[stop:]


@pytest.mark.slow
@pytest.mark.untraced
def test_tens_of_thousands_of_parts_are_no_matter() -> None:
    loaders = [loader for loader in LOADERS.values() if loader.libvirt is None]
    opened = image_of(with_parts(20_000, V4))
    start = time.perf_counter()
    lines = timelines(opened, loaders)
    out = io.StringIO()
    for line in lines:
        print_chart(Console(file=out), line, "image")
    print_comparison(Console(file=out), lines, "image")
    assert time.perf_counter() - start < 20
    assert [len(line.calls) for line in lines] == [20_002] * len(loaders)
    assert out.getvalue().count("20,000 parts") == len(loaders) + 1
    assert len(out.getvalue().splitlines()) < 120


@pytest.mark.untraced
def test_a_tebibyte_costs_what_its_runs_cost(tmp_path: Any) -> None:
    path = tmp_path / "large"
    words = ("--block", "pc.ram=1T:counter:0.0000001", "--dialect", V4, "--multifd")
    assert run_cli("synth", "-o", path, *words).code == 0
    with Image.open(path) as opened:
        start = time.perf_counter()
        (line,) = timelines(opened, [LOADERS["reentrant"]])
        assert time.perf_counter() - start < 10
        (block,) = opened.blocks
        assert block.used_length == 1 << 40
        bitmap = opened.bitmap(block)
        assert bitmap is not None
        assert 0 < line.jobs <= bitmap.count()


def draw_all(raw: bytes) -> None:
    """Everything `sync` does with an image; nothing but the library's own error may come out."""
    try:
        opened = image_of(raw)
    except FixedRamError:
        return
    lines = timelines(opened, list(LOADERS.values()), property_on=True)
    out = Console(file=io.StringIO(), width=80)
    print_chart(out, lines[0], "image")
    print_comparison(out, lines, "image")


#: Bytes whose change changes no record of the stream.
CONTENT = (Kind.BITMAP, Kind.PAGES, Kind.PADDING, Kind.DEVICE, Kind.VMDESCRIPTION_JSON)


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [V4, MAPPED])
def test_no_damage_makes_it_anything_but_a_timeline(dialect: str) -> None:
    raw = written(dialect)
    places = [
        place
        for record in image_of(raw).records()
        if record.kind not in CONTENT
        for place in range(record.offset, min(record.stop, record.offset + 80))
    ]
    assert len(places) > 200
    for place in places:
        draw_all(raw[:place])
        for value in (0, 0xFF, raw[place] ^ 1, raw[place] ^ 0x80):
            draw_all(raw[:place] + bytes([value]) + raw[place + 1 :])
