"""Blocks of another length than the destination's: refused, resized or left, as QEMU does it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from block_lengths import CASES, LOADER, RECEIVER, TABLES, stream_of
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validate import Destination, load_destination, validate
from real_files import unpacked_case
from synthetic import image_of

QEMU = LOADERS["qemu-10.0"]


@pytest.mark.parametrize("name", CASES)
def test_verdict_and_message_are_qemus(name: str) -> None:
    case = CASES[name]
    with image_of(stream_of(case)) as image:
        # Blocks that the stream leaves out are another matter (T05).
        there = {block.name for block in image.blocks}
        blocks = {name: length for name, length in RECEIVER.items() if name in there}
        report = validate(image, Destination(blocks={**blocks}))
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
            report = validate(image, Destination(blocks=blocks, max_lengths={TABLES: ceiling}))
            assert report.verdict(QEMU, multifd=False).outcome is outcome


def test_image_tells_the_ceilings_of_the_blocks_that_qemu_builds(tmp_path: Path) -> None:
    with image_of(stream_of(CASES["mapped-tables-in-one-piece"])) as image:
        destination = Destination.of_image(image)
    assert destination.max_lengths == {TABLES: 2 << 20}
    path = tmp_path / "vm.json"
    path.write_bytes(msgspec.json.encode(destination.as_dict()))
    assert load_destination(path).block_ceilings == {"pc.ram": 16 << 20, TABLES: 2 << 20}
    assert Destination(blocks={LOADER: 4096}).block_ceilings == {LOADER: 65536}


_PAIRS = (("m64", "m128"), ("rom512k", "rom256k"))


@pytest.mark.parametrize("pair", [*_PAIRS, *(pair[::-1] for pair in _PAIRS)], ids="-like-".join)
def test_real_streams_of_other_lengths_are_refused(
    pair: tuple[str, str], unpacked_dir: Path
) -> None:
    """../shared/cases: real QEMU 10.0 says `Size mismatch` of each."""
    image, other = (unpacked_case(f"stream-{name}.img", unpacked_dir) for name in pair)
    with Image.open(other) as good:
        destination = Destination.of_image(good)
    with Image.open(image) as opened:
        report = validate(opened, destination)
        verdict = report.verdict(QEMU, multifd=False)
    assert verdict.outcome is Outcome.REFUSES
    name = "pc.ram" if "m64" in pair else "0000:00:03.0/virtio-net-pci.rom"
    assert verdict.message.startswith(f"Size mismatch: {name}: 0x")
    (finding,) = [one for one in report.findings if one.rule.id in ("T06", "T07")]
    words = ("romfile=", "romsize=") if "rom" in pair[0] else ("memory",)
    assert all(word in finding.fix for word in words)
