"""Verdicts against a real QEMU 10: hundreds of mutants, each judged, each loaded in both modes.

What QEMU did to a mutant is compared with what the validator had said.  `wrong-memory` is what the
guest's memory says; a mutant whose bitmap or pages were changed legitimately holds what the naive
oracle reads from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from fixedram_fmt import Image, Source
from fixedram_fmt.container import locate_stream
from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validate import Destination, Report, unopened, validate
from memory import block_memory
from mutants import Mutant, mutants, synth, write
from two_blocks import MIB, load, outcome_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

SHARDS = 32
LEAST_MUTANTS = 400
_RECEIVER_HAS_IT = (
    "the block is a ROM whose bytes the receiver has already: QEMU leaves what is absent as it is"
)
#: Where the verdict is `wrong-memory`, and the guest's memory is right all the same.
LISTED = {
    "real/section[0]/ram/block[6]/header.page_size+1": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[6]/header.bitmap_offset-4096": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[4]/header.bitmap_offset=0": _RECEIVER_HAS_IT,
}


@dataclass(frozen=True)
class Bases:
    """The two sound images' mutants, the memory both hold, and the VM that is to receive them."""

    mutants: list[Mutant]
    memory: list[bytes]
    destinations: dict[str, Destination]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    made, real = folder / "synth", folder / "real"
    made.write_bytes(synth())
    status, memory = load(made, multifd=False, save_as=real)
    assert status == "completed"
    with Image.open(real) as image:
        whole = Destination.of_image(image)
    with Image.open(made) as image:
        # The machine has ROMs that the synthetic image leaves alone.
        blocks = {block.name: block.used_length for block in image.blocks}
    destinations = {"real": whole, "synth": msgspec.structs.replace(whole, blocks=blocks)}
    return Bases(mutants(real.read_bytes()), memory, destinations)


def judged(path: Path, destination: Destination) -> Report:
    source = Source.open(path)
    try:
        inner, container = locate_stream(source)
        return validate(Image(inner, container), destination)
    except FormatError as error:
        return unopened(error)


def held(path: Path) -> list[bytes]:
    """What the naive oracle reads, as far as the guest shows it."""
    with Image.open(path) as image:
        blocks = {block.name: block_memory(image, block) for block in image.blocks}
    return [blocks["pc.ram"][MIB:], blocks["mem1"]]


def disagreements(mutant: Mutant, bases: Bases, path: Path) -> list[str]:
    write(mutant, path)
    report = judged(path, bases.destinations[mutant.base])
    found = []
    meant = [bases.memory, held(path)] if mutant.changes_meaning else [bases.memory]
    for multifd in (False, True):
        verdict = report.verdict(LOADERS["qemu-10.0"], multifd=multifd)
        observed = outcome_of(*load(path, multifd=multifd), *meant)
        agreed = {verdict.outcome}
        if multifd and verdict.outcome is Outcome.CRASHES:
            agreed.add(Outcome.REFUSES)  # the failure path of the channels is a race
        if mutant.name in LISTED and verdict.outcome is Outcome.WRONG_MEMORY:
            agreed.add(Outcome.LOADS)
        if observed not in agreed:
            rule = verdict.decided_by.rule.id if verdict.decided_by else "nothing"
            found.append(
                f"{mutant.name}: told {verdict.outcome} ({rule}), QEMU {observed}"
                f" ({'multifd' if multifd else 'plain'})"
            )
    return found


@pytest.mark.parametrize("shard", range(SHARDS))
def test_qemu_does_what_the_verdict_says(shard: int, bases: Bases, tmp_path: Path) -> None:
    told_wrong = []
    for mutant in bases.mutants[shard::SHARDS]:
        path = tmp_path / "mutant"
        path.unlink(missing_ok=True)
        told_wrong += disagreements(mutant, bases, path)
    assert not told_wrong, "\n".join(told_wrong)


def test_there_are_enough_mutants(bases: Bases) -> None:
    names = {mutant.name for mutant in bases.mutants}
    assert len(names) == len(bases.mutants) >= LEAST_MUTANTS
    assert set(LISTED) <= names, "a listed mutant is gone"
    assert len(LISTED) * 50 < len(names), "the list of exceptions is for exceptions"
