"""Blocks of another length than the destination's: refused, resized or left, as QEMU does it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Receiver, load_receiver, validate
from support.block_lengths import CASES, LOADER, RECEIVER, TABLES, stream_of
from support.real_files import unpacked_case
from support.synthetic import image_of, made

QEMU = LOADERS["qemu-10.0"]
MIB = 1 << 20


@pytest.mark.parametrize("name", CASES)
def test_verdict_and_message_are_qemus(name: str) -> None:
    case = CASES[name]
    with image_of(stream_of(case)) as image:
        # Blocks that the stream leaves out are another matter (T05).
        there = {block.name for block in image.blocks}
        blocks = {name: length for name, length in RECEIVER.items() if name in there}
        report = validate(image, Receiver(blocks={**blocks}))
        verdict = report.verdict(QEMU, multifd=False)
        judged = report.judged_by(QEMU, multifd=False)
    assert verdict.outcome is (Outcome.REFUSES if case.message else Outcome.LOADS)
    assert verdict.message == case.message
    assert {one.rule.id for one in judged if one.rule.id[0] == "T"} <= {"T06", "T07"}
    if not case.message:
        assert not [one for one in judged if one.rule.id == "T07"]


def test_destination_may_say_what_its_blocks_can_grow_to() -> None:
    case = CASES["ordinary-tables-up-to-max"]
    for ceiling, outcome in ((2 << 20, Outcome.LOADS), ("1M", Outcome.REFUSES)):
        blocks = {"pc.ram": "16M", TABLES: "128K"}
        with image_of(stream_of(case)) as image:
            report = validate(image, Receiver(blocks=blocks, max_lengths={TABLES: ceiling}))
            assert report.verdict(QEMU, multifd=False).outcome is outcome


def test_image_tells_the_ceilings_of_the_blocks_that_qemu_builds(tmp_path: Path) -> None:
    with image_of(stream_of(CASES["mapped-tables-in-one-piece"])) as image:
        destination = Receiver.of_image(image)
    assert destination.max_lengths == {TABLES: 2 << 20}
    path = tmp_path / "vm.json"
    path.write_bytes(msgspec.json.encode(destination))
    assert load_receiver(path).block_ceilings == {"pc.ram": 16 << 20, TABLES: 2 << 20}
    assert Receiver(blocks={LOADER: 4096}).block_ceilings == {LOADER: 65536}


_PAIRS = (("m64", "m128"), ("rom512k", "rom256k"))


@pytest.mark.parametrize("pair", [*_PAIRS, *(pair[::-1] for pair in _PAIRS)], ids="-like-".join)
def test_real_streams_of_other_lengths_are_refused(
    pair: tuple[str, str], unpacked_dir: Path
) -> None:
    """../shared/cases: real QEMU 10.0 says `Size mismatch` of each."""
    image, other = (unpacked_case(f"stream-{name}.img", unpacked_dir) for name in pair)
    with Image.open(other) as good:
        destination = Receiver.of_image(good)
    with Image.open(image) as opened:
        report = validate(opened, destination)
        verdict = report.verdict(QEMU, multifd=False)
    assert verdict.outcome is Outcome.REFUSES
    name = "pc.ram" if "m64" in pair else "0000:00:03.0/virtio-net-pci.rom"
    assert verdict.message.startswith(f"Size mismatch: {name}: 0x")
    (finding,) = [one for one in report.findings if one.rule.id in ("T06", "T07")]
    words = ("romfile=", "romsize=") if "rom" in pair[0] else ("memory",)
    assert all(word in finding.fix for word in words)


#: Present pages of a block of 12 MiB, and what QEMU 10.0 says (plain) and does (multifd) where the
#: receiver's has 8 MiB: seen with two_blocks.GUEST.
_OUTSIDE = "page outside of ramblock mem1 range"
_PAST: list[tuple[range, str, Outcome]] = [
    (range(2047, 2049), "7ff000 Partial read of size 4096, expected 8192", Outcome.CRASHES),
    (range(1, 3000), "701000 Partial read of size 1044480, expected 1048576", Outcome.CRASHES),
    (range(1791, 2049), "7ff000 Partial read of size 4096, expected 8192", Outcome.CRASHES),
    (range(1792, 2050), _OUTSIDE, Outcome.REFUSES),
    (range(3072), _OUTSIDE, Outcome.REFUSES),
    (range(2049, 2050), _OUTSIDE, Outcome.REFUSES),
    (range(2047, 2048), "", Outcome.LOADS),
]


def _mem1_with(present: range) -> tuple[bytes, int]:
    """An image of 1 + 12 MiB with these pages of mem1, and its pages_offset."""
    blocks = [
        {"name": "pc.ram", "size": MIB, "density": 0},
        {"name": "mem1", "size": 12 * MIB, "pattern": "text", "density": 1},
    ]
    raw = bytearray(made(blocks=blocks))
    with image_of(bytes(raw)) as image:
        block = image.blocks[1]
        bitmap = sum(1 << page for page in present).to_bytes(3072 // 8, "little")
        raw[block.bitmap_offset : block.bitmap_offset + len(bitmap)] = bitmap
        return bytes(raw), block.pages_offset


@pytest.mark.parametrize(("present", "words", "multifd"), _PAST, ids=str)
def test_runs_past_a_blocks_end(present: range, words: str, multifd: Outcome) -> None:
    raw, pages_offset = _mem1_with(present)
    destination = Receiver(blocks={"pc.ram": MIB, "mem1": 8 * MIB})
    with image_of(raw) as image:
        report = validate(image, destination)
        plain = report.verdict(QEMU, multifd=False)
        for loader in (QEMU, LOADERS["qemu-11.1"]):
            assert report.verdict(loader, multifd=True).outcome is multifd
    assert plain.outcome is (Outcome.REFUSES if words else Outcome.LOADS)
    page, _, why = words.partition(" ")
    if why.startswith("Partial"):
        offset = pages_offset + int(page, 16)
        words = f"(mem1) failed to read page {page}from file offset {offset:x}: {why}"
    assert plain.message == words
