"""Guests that run, restored into the same VM and into others: the verdict beside what QEMU does.

A driver has set up BARs, queues and interrupts, which a VM that has not run yet has not.  Neither
way is that a difference: a receiver is described by a save from before it ran, and by one of a
guest that runs in it, and both have to say what QEMU does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.validation import Receiver
from qemu_vm import require_qemu
from support.restores import Restore, judge, load, save
from support.running import guests, save_running

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import Guest

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

GUESTS = guests()
LEAST_MESSAGES = 0.95
#: Key of the saves of a VM that has not run.
STILL = "still"
#: (variant, state), and the file.
Saves = dict[tuple[str, str], "Path"]


@pytest.mark.parametrize("name", GUESTS)
def test_qemu_does_what_the_verdict_says(name: str, tmp_path: Path) -> None:
    guest = GUESTS[name]
    require_qemu(guest.arch)
    saves = saves_of(guest, tmp_path)
    tried = [one for pair in pairs_of(guest, saves) for one in both(guest, *pair, saves, tmp_path)]
    wrong = [str(one) for one in tried if not one.agrees]
    refused = [one for one in tried if one.refused]
    others = [str(one) for one in refused if not one.same_words]
    print(f"{len(tried)} verdicts, {len(refused)} refused, {len(others)} in other words", *others)
    assert not wrong, "\n".join(wrong)
    assert len(others) <= (1 - LEAST_MESSAGES) * len(refused), "\n".join(others)
    for one in tried:
        if own_vm(guest, one):
            assert one.loaded.status == "completed", str(one)


def saves_of(guest: Guest, folder: Path) -> Saves:
    """Every VM before it runs, and those that run."""

    def running(variant: str) -> Saves:
        path = folder / f"{variant}.{STILL}"
        save(guest.arch, (*guest.args(variant, folder), "-S"), path)
        saves = {STILL: path}
        if variant in guest.runs:
            saves |= save_running(guest, variant, folder)
        return {(variant, state): file for state, file in saves.items()}

    with ThreadPoolExecutor(2) as workers:
        return {
            key: path for one in workers.map(running, guest.variants) for key, path in one.items()
        }


def pairs_of(guest: Guest, saves: Saves) -> list[tuple[tuple[str, str], str]]:
    """Images and the VMs that receive them: what runs into any, and what is still into its own."""
    return [
        (image, variant)
        for image, variant in product(saves, guest.variants)
        if image[1] != STILL or image[0] == variant or "base" in (image[0], variant)
    ]


def both(
    guest: Guest, image: tuple[str, str], variant: str, saves: Saves, folder: Path
) -> list[Restore]:
    """One restore, and a verdict for each save that describes the receiver."""
    loaded = load(guest.arch, (*guest.args(variant, folder), "-S"), saves[image])
    tried = []
    for (owner, state), path in saves.items():
        # A device that was added is one that the VM has not when it starts.
        if owner == variant and state != "hot":
            with Image.open(path) as like:
                receiver = Receiver.of_image(like)
            verdict = judge(saves[image], receiver)
            tried.append(Restore(".".join(image), f"{owner}.{state}", verdict, loaded))
    return tried


def own_vm(guest: Guest, one: Restore) -> bool:
    """Whether the image was saved from a VM that was started as the receiver is."""
    variant, state = one.image.split(".")
    return one.receiver.split(".")[0] == (guest.added if state == "hot" else variant)
