"""Restores that failed in the world (../shared/cases), rehearsed: what QEMU says is what we said.

The receiver is the VM that is derived from the other image of a pair; that image is what `validate
--like` is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.commandline import command_line
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.rehearsal import Options, Rehearsal, rehearse
from fixedram_fmt.validation import Receiver, validate
from qemu_vm import require_qemu
from support.real_files import unpacked_case

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.validation import Verdict

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_PAIRS = (
    ("piix4-no-acpi-index", "pc-plain"),
    ("net-vectors-4", "net-vectors-0"),
    ("stream-m64", "stream-m128"),
    ("stream-rom512k", "stream-rom256k"),
)
#: By what field within a device; verdicts leave these lines out.
_FIELD = ("Failed to load ",)
WAYS = [*_PAIRS, *(pair[::-1] for pair in _PAIRS)]
NAMES = sorted({name for pair in _PAIRS for name in pair})


def rehearsed(name: str, receiver: str, folder: Path) -> tuple[Rehearsal, Verdict]:
    """What QEMU 10.0 did with an image in the VM of another, and what was said of that before."""
    require_qemu("x86_64")
    with Image.open(unpacked_case(f"{receiver}.img", folder)) as other:
        words, like = command_line(other).vm, Receiver.of_image(other)
    with Image.open(unpacked_case(f"{name}.img", folder)) as image:
        done = rehearse(image, Options(arguments=words))
        said = validate(image, like).verdict(LOADERS["qemu-10.0"], multifd=False)
    return done, said


@pytest.mark.parametrize("pair", WAYS, ids="-into-".join)
def test_qemu_refuses_with_the_messages_of_the_verdict(
    pair: tuple[str, str], unpacked_dir: Path
) -> None:
    done, said = rehearsed(*pair, unpacked_dir)
    assert (done.status, said.outcome) == ("failed", Outcome.REFUSES), done.messages
    told = [line for line in done.messages if not line.startswith(("warning: ", *_FIELD))]
    assert said.messages
    assert told == list(said.messages)
    # The cause that is told first is the message that decides the verdict.
    assert done.causes[0].message in said.message
    assert done.causes[0].rule is not None
    assert said.decided_by is not None
    assert said.decided_by.rule.id in done.causes[0].rules


@pytest.mark.parametrize("name", NAMES)
def test_the_vm_that_is_derived_of_an_image_takes_it(name: str, unpacked_dir: Path) -> None:
    done, said = rehearsed(name, name, unpacked_dir)
    assert (done.status, done.memory_equal) == ("completed", True), done.messages
    assert said.outcome is Outcome.LOADS
