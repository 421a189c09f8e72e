"""convert: records add up to the guest's memory, in bounded memory and time."""

from __future__ import annotations

import errno
import filecmp
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import (
    run_cli,
)
from fixedram_fmt import Image
from fixedram_fmt.conversion import STREAM, received
from fixedram_fmt.io.output import OutputError
from fixedram_fmt.stream.records import Kind
from support.conversions import (
    CONTINUE,
    MIB,
    PAGE_FLAG,
    ZERO,
    Guest,
    converted,
    devices,
    meaning,
    peak,
    whole_stream,
)
from support.memory import block_memory
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

if TYPE_CHECKING:
    from pathlib import Path


#: Peak memory beyond a bare interpreter with numpy.
CEILING = 150 * MIB


# -- records against a naive model -----------------------------------------------------------------

ACTS = st.tuples(
    st.sampled_from(["page", "page", "zero", "ones", "delta", "flush"]),
    st.integers(0, 1),
    st.integers(0, 39),
    st.one_of(st.just(1), st.integers(1, 30)),
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 1 << 30), st.lists(st.lists(ACTS, max_size=8), min_size=1, max_size=5))
def test_records_add_up_to_the_guests_memory(
    seed: int, rounds: list[list[tuple[str, int, int, int]]]
) -> None:
    guest = Guest(seed)
    parts = [b"".join(guest.records(*act) for act in acts) for acts in rounds]
    mapped = converted(whole_stream(parts))
    image = image_of(mapped)
    assert image.complete
    assert [block_memory(image, block) for block in image.blocks] == guest.memory
    assert len(devices(image)) == 2
    for block in image.blocks:
        region = image.source.read_exact(block.pages_offset, block.used_length)
        assert region == block_memory(image, block), "no old memory in pages that are zero now"
    again = image_of(converted(mapped, STREAM))
    assert [block_memory(again, block) for block in again.blocks] == guest.memory
    assert devices(again) == devices(image)
    assert image_of(converted(converted(mapped, STREAM))).source.size == len(mapped)


def test_presence_of_a_very_large_guest_is_kept_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(6)
    acts = [("page", 0, 1, 20), ("zero", 0, 5, 9), ("page", 1, 0, 3), ("zero", 1, 1, 1)]
    raw = whole_stream([b"".join(guest.records(*act) for act in acts)])
    expected = converted(raw)
    monkeypatch.setattr(received, "_IN_MEMORY", 0)
    monkeypatch.setattr(received, "_RESIDENT", 3)
    assert converted(raw) == expected
    assert block_memory(image_of(expected), image_of(expected).blocks[0]) == guest.memory[0]

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        converted(raw)


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 1024, 8192, 65536])
def test_page_sizes_of_all_targets(size: int) -> None:
    mapped = made(page_size=size, target_page_bits=True, align=65536, blocks=[
        {"name": "ram", "size": size * 300, "pattern": "random", "density": 0.4}])  # fmt: skip
    raw = converted(mapped, STREAM)
    image, again = image_of(raw), image_of(converted(raw))
    expected = meaning(image_of(mapped))
    assert meaning(image) == expected
    assert meaning(again) == expected
    assert expected["page size"] == size


def test_every_page_is_sent_once_and_absent_ones_as_zero() -> None:
    """A destination has blocks that are not zero before the load: firmware, tables."""
    image = image_of(converted(made(), STREAM))
    sent: dict[bytes, list[int]] = {}
    for record in image.records():
        if record.kind in (Kind.PAGE, Kind.ZERO):
            first = record.value.address // PAGE
            sent.setdefault(record.value.block, []).extend(range(first, first + record.value.pages))
    assert {name: sorted(pages) for name, pages in sent.items()} == {
        block.idstr: list(range(block.pages_total)) for block in image.blocks
    }


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 1023, 1025, 5000])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 0.97, 1.0])
def test_any_mix_of_present_and_absent_pages(count: int, density: float) -> None:
    mapped = made(align=MIB, blocks=[{"name": "ram", "size": count * PAGE, "pattern": "random",
                           "density": density}])  # fmt: skip
    raw = converted(mapped, STREAM)
    assert meaning(image_of(raw)) == meaning(image_of(mapped))
    assert converted(raw) == mapped


# -- size and speed --------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_guest(tmp_path: Path) -> None:
    mapped, raw, back = tmp_path / "mapped", tmp_path / "raw", tmp_path / "back"
    made_now = run_cli("synth", "-o", mapped, "--block", "pc.ram=200M:random",
                       "--block", "sparse=600M:text:0.001")  # fmt: skip
    assert made_now.code == 0
    assert peak("convert", mapped, "-o", raw, "--to", "stream") < CEILING
    assert peak("convert", raw, "-o", back) < CEILING
    assert filecmp.cmp(mapped, back, shallow=False)
    assert back.stat().st_blocks <= mapped.stat().st_blocks + 256


@pytest.mark.slow
def test_alternating_records_are_read_at_speed(tmp_path: Path) -> None:
    """60,000 runs of one page each; looked at one object a record they take many seconds."""
    page = b"\5" * PAGE
    count = 60_000
    records = b"".join(
        ram_word(number * PAGE, PAGE_FLAG if number & 1 else ZERO, *([CONTINUE] if number else []))
        + (b"" if number else b"\6pc.ram")
        + (page if number & 1 else b"\0")
        for number in range(count)
    )
    path = tmp_path / "stream"
    path.write_bytes(ordinary(records, length=count * PAGE))
    start = time.monotonic()
    assert run_cli("convert", path, "-o", tmp_path / "mapped").code == 0
    assert (
        run_cli("convert", tmp_path / "mapped", "-o", tmp_path / "raw", "--to", "stream").code == 0
    )
    assert time.monotonic() - start < 10
    assert filecmp.cmp(path, tmp_path / "raw", shallow=False)
    with Image.open(tmp_path / "mapped") as image:
        bitmap = image.bitmap(image.blocks[0])
        assert bitmap is not None
        assert bitmap.count() == count // 2
