"""Restores that failed in the world (../shared/cases): image, receiver, what each QEMU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Receiver, validate
from support.real_files import unpacked_case

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.validation import Verdict

REFUSES, CRASHES = Outcome.REFUSES, Outcome.CRASHES
BOTH = ("qemu-10.0", "qemu-11.1")
#: Pairs that are refused both ways, and what QEMU says.
PAIRS = {
    ("piix4-no-acpi-index", "pc-plain"): "Missing section footer for 0000:00:01.3/piix4_pm",
    ("net-vectors-4", "net-vectors-0"): "get_pci_config_device: Bad config data: i=0x34 read: ",
    ("stream-m64", "stream-m128"): "Size mismatch: pc.ram: 0x",
    ("stream-rom512k", "stream-rom256k"): "Size mismatch: 0000:00:03.0/virtio-net-pci.rom: 0x",
}
WAYS = {**PAIRS, **{pair[::-1]: words for pair, words in PAIRS.items()}}


def verdict_on(image: str, like: str, loader: str, folder: Path) -> Verdict:
    with Image.open(unpacked_case(f"{like}.img", folder)) as other:
        receiver = Receiver.of_image(other)
    with Image.open(unpacked_case(f"{image}.img", folder)) as opened:
        return validate(opened, receiver).verdict(LOADERS[loader], multifd=False)


@pytest.mark.slow
@pytest.mark.parametrize("loader", BOTH)
@pytest.mark.parametrize("pair", WAYS, ids="-into-".join)
def test_another_configuration_is_refused(
    pair: tuple[str, str], loader: str, unpacked_dir: Path
) -> None:
    verdict = verdict_on(*pair, loader, unpacked_dir)
    assert verdict.outcome is REFUSES
    assert verdict.message.startswith(WAYS[pair])


@pytest.mark.slow
@pytest.mark.parametrize("loader", BOTH)
@pytest.mark.parametrize("name", sorted({name for pair in PAIRS for name in pair}))
def test_its_own_vm_takes_each_of_them(name: str, loader: str, unpacked_dir: Path) -> None:
    assert verdict_on(name, name, loader, unpacked_dir).outcome is Outcome.LOADS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "other", "outcome"), [("10.0", "11.1", REFUSES), ("11.1", "10.0", CRASHES)]
)
def test_a_cpu_of_another_qemu(
    version: str, other: str, outcome: Outcome, unpacked_dir: Path
) -> None:
    """Machine virt-9.0 with a cortex-a72: they have not the same system registers."""
    image, like = (f"aarch64-virt-9.0-by-{one}" for one in (version, other))
    verdict = verdict_on(image, like, f"qemu-{other}", unpacked_dir)
    assert verdict.outcome is outcome
    # Each QEMU takes its own.
    own = verdict_on(image, image, f"qemu-{version}", unpacked_dir)
    assert own.outcome is Outcome.LOADS
