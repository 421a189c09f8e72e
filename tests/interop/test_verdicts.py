"""Verdicts against a real QEMU 10: a thousand mutants, each judged, each loaded in both modes.

What QEMU did to a mutant is compared with what the validator had said, and what it wrote with the
verdict's message.  `wrong-memory` is what the guest's memory says; a mutant whose bitmap or pages
were changed legitimately holds what the naive oracle reads from it.  Where that is right and the
verdict says otherwise, the guest is saved again: ROMs and devices have to be as they were, too.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from fixedram_fmt import Image, Source
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.validation import Receiver, Report, unopened, validate
from fixedram_fmt.validation.messages import said_in
from support.disagreements import DISAGREEMENTS, UNKNOWN_LINES
from support.memory import block_memory
from support.mutant import Mutant, synth, write
from support.mutant_families import families
from support.mutants import mutants
from support.two_blocks import BUSY, GUEST, MIB, Loaded, load

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.validation import Verdict

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

LEAST_MUTANTS = 800
#: Blocks whose memory RANGES show.
SHOWN = ("pc.ram", "mem1")
#: Memory of blocks, and bodies of devices with their instance, by name.
State = dict[str | tuple[str, int], bytes]
#: Shares of the loads that have to end as the verdict says: of all, and of those whose fault is not
#: in the state of a device.  Of the refused ones, how many say what the verdict says.
LEAST_OF_ALL, LEAST_OUTSIDE_DEVICES, LEAST_MESSAGES = 0.95, 0.99, 0.8


#: What comes of it depends on which of them is first.
TWO_THREADS = "two threads read the stream"


@dataclass(frozen=True)
class Bases:
    """The sound images' mutants, the memory they hold, and the VMs that are to receive them.

    whole is what such a VM holds beside its memory after it has loaded a base, by the base's name.
    """

    mutants: list[Mutant]
    memory: list[bytes]
    destinations: dict[str, Receiver]
    whole: dict[str, State]


@dataclass(frozen=True)
class Trial:
    """One load: what was said of it, and what came of it."""

    mutant: Mutant
    multifd: bool
    verdict: Verdict
    loaded: Loaded
    observed: Outcome

    @property
    def agrees(self) -> bool:
        """Whether QEMU did what the verdict says."""
        told = self.verdict.outcome
        race = self.multifd or self.verdict.message == TWO_THREADS
        if race and told is Outcome.CRASHES and self.observed is Outcome.REFUSES:
            return True  # so is the failure path of the channels
        return self.observed is told

    @property
    def same_words(self) -> bool:
        """Whether QEMU begins with the verdict's message."""
        message = self.verdict.message
        return bool(message) and "\n".join(self.loaded.lines).startswith(message)

    def __str__(self) -> str:
        rule = self.verdict.decided_by.rule.id if self.verdict.decided_by else "nothing"
        mode = "multifd" if self.multifd else "plain"
        line = self.loaded.lines[0] if self.loaded.lines else ""
        return (
            f"{self.mutant.name} ({mode}): said {self.verdict.outcome} ({rule},"
            f" {self.verdict.message!r}), QEMU {self.observed} ({line!r})"
        )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    made, real, busy = folder / "synth", folder / "real", folder / "busy"
    made.write_bytes(synth())
    memory = load(made, multifd=False, save_as=real).memory
    assert load(made, multifd=False, save_as=busy, guest=BUSY).memory == memory != []
    with Image.open(real) as image:
        whole = Receiver.of_image(image)
    with Image.open(busy) as image:
        with_devices = Receiver.of_image(image)
    with Image.open(made) as image:
        # The machine has ROMs that the synthetic image leaves alone.
        blocks = {block.name: block.used_length for block in image.blocks}
    destinations = {
        "real": whole,
        "busy": with_devices,
        "synth": msgspec.structs.replace(whole, blocks=blocks),
    }
    saved = real.read_bytes()
    chosen = [*mutants(saved), *families(saved, busy.read_bytes())]
    originals = {"synth": made, "real": real, "busy": busy}
    whole = {base: state_after(path, base, multifd=False) for base, path in originals.items()}
    return Bases(chosen, memory, destinations, whole)


def guest_of(base: str) -> tuple[str, ...]:
    return BUSY if base == "busy" else GUEST


def state_after(path: Path, base: str, *, multifd: bool) -> State:
    """What a VM that has loaded the image holds and does not show: it is saved again."""
    again = path.with_suffix(".again")
    again.unlink(missing_ok=True)
    load(path, multifd=multifd, guest=guest_of(base), save_as=again)
    with Image.open(again) as image:
        hidden = (block for block in image.blocks if block.name not in SHOWN)
        state: State = {block.name: block_memory(image, block) for block in hidden}
        for section in image.sections:
            if section.full and section.body_length is not None:
                body = image.source.read_exact(section.body_offset, section.body_length)
                state[section.name, section.instance_id] = body
    return state


def judged(path: Path, destination: Receiver) -> Report:
    source = Source.open(path)
    try:
        inner, container = locate_stream(source)
        return validate(Image(inner, container), destination)
    except FormatError as error:
        return unopened(error)


def held(path: Path) -> list[bytes]:
    """What the naive oracle reads, as far as the guest shows it."""
    try:
        with Image.open(path) as image:
            blocks = {c_string(block.idstr): block_memory(image, block) for block in image.blocks}
    except FixedRamError:
        return []  # pages that lie nowhere: no guest's memory is equal to that
    # A block that is not sent stays as the receiver made it.
    ram, more = (blocks.get(name, b"").ljust(16 * MIB, b"\0") for name in (b"pc.ram", b"mem1"))
    return [ram[MIB : 16 * MIB], more[: 8 * MIB]]


def trials_of(mutant: Mutant, bases: Bases, path: Path) -> list[Trial]:
    """Both loads of a mutant."""
    meant = [bases.memory]
    if mutant.changes_meaning:
        write(mutant, path, meant=True)
        meant.append(held(path))
    write(mutant, path)
    report = judged(path, bases.destinations[mutant.base])
    found = []
    for multifd in (False, True):
        verdict = report.verdict(LOADERS["qemu-10.0"], multifd=multifd)
        loaded = load(path, multifd=multifd, guest=guest_of(mutant.base))
        if loaded.status == "crashed" and verdict.outcome is not Outcome.CRASHES:
            # On a busy machine a load may outlast its time; a crash is one that comes again.
            loaded = load(path, multifd=multifd, guest=guest_of(mutant.base))
        observed = loaded.outcome(*meant)
        if verdict.outcome is Outcome.WRONG_MEMORY and observed is Outcome.LOADS:
            state = state_after(path, mutant.base, multifd=multifd)
            observed = observed if state == bases.whole[mutant.base] else verdict.outcome
        # Two thousand guests are more than there is memory for.
        found.append(Trial(mutant, multifd, verdict, replace(loaded, memory=[]), observed))
    return found


@pytest.fixture(scope="module")
def trials(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """All of them; QEMUs run in processes of their own, so threads are enough to wait for them."""
    folder = tmp_path_factory.mktemp("mutants")

    def both(mutant: Mutant) -> list[Trial]:
        return trials_of(mutant, bases, folder / str(threading.get_ident()))

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return [trial for pair in workers.map(both, bases.mutants) for trial in pair]


def share(trials: list[Trial]) -> float:
    return sum(trial.agrees for trial in trials) / len(trials)


def test_there_are_enough_mutants(bases: Bases) -> None:
    names = {mutant.name for mutant in bases.mutants}
    assert len(names) == len(bases.mutants) >= LEAST_MUTANTS
    assert set(DISAGREEMENTS) <= names, "a listed mutant is gone"


def test_qemu_does_what_the_verdict_says(trials: list[Trial]) -> None:
    outside = [trial for trial in trials if not trial.mutant.in_device]
    wrong = [trial for trial in trials if not trial.agrees]
    print(
        f"{len(trials)} loads of {len(trials) // 2} mutants: {share(trials):.2%} of all agree,"
        f" {share(outside):.2%} of {len(outside)} that are not in the state of a device"
    )
    print(*wrong, sep="\n")
    assert share(trials) >= LEAST_OF_ALL
    assert share(outside) >= LEAST_OUTSIDE_DEVICES
    unlisted = [
        str(trial)
        for trial in wrong
        if not trial.mutant.in_device and trial.mutant.name not in DISAGREEMENTS
    ]
    assert not unlisted, "\n".join(unlisted)


def test_qemu_says_what_the_verdict_says(trials: list[Trial]) -> None:
    refused = [
        trial for trial in trials if trial.agrees and trial.observed is Outcome.REFUSES
        and not trial.multifd
    ]  # fmt: skip
    others = [trial for trial in refused if not trial.same_words]
    rate = 1 - len(others) / len(refused)
    print(f"{len(refused)} refused loads: {rate:.2%} in the verdict's words")
    print(*others, sep="\n")
    assert rate >= LEAST_MESSAGES


def test_what_qemu_says_is_in_the_table(trials: list[Trial]) -> None:
    """Also where the verdict is another: a log can be searched for it."""
    unknown = {
        trial.loaded.lines[0]
        for trial in trials
        if trial.observed is Outcome.REFUSES
        and not any(any(said_in(line)) for line in trial.loaded.lines[:-1])
        and len(trial.loaded.lines) > 1
        and not any(known in trial.loaded.lines[0] for known in UNKNOWN_LINES)
    }
    assert not unknown, "\n".join(sorted(unknown))
