"""Whether a real QEMU, started by the command line derived from an image, receives that image.

The configurations are those of restores.toml; nothing but the image is given to what derives.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.commandline import command_line
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.receiver import Receiver
from qemu_vm import require_qemu
from support.restores import groups, load, save

if TYPE_CHECKING:
    from pathlib import Path

    from support.restores import Group, Loaded

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

#: Programs whose machines are derived.
ARCHITECTURES = ("x86_64",)
GROUPS = {name: group for name, group in groups().items() if group.arch in ARCHITECTURES}
#: (group, configuration): why it is not received.  One that is has to go from here.
KNOWN = {
    ("usb", "nec-without-msix"): "QEMU 10.0 dies of it in a VM of the same arguments, too",
}  # fmt: skip
#: Of each group every second configuration, which takes a minute; those above always.
CHOSEN = {
    name: [
        one for number, one in enumerate(group.variants) if number % 2 == 0 or (name, one) in KNOWN
    ]
    for name, group in GROUPS.items()
}
LEAST_CONFIGURATIONS = 120


def test_there_are_enough_configurations() -> None:
    assert sum(map(len, CHOSEN.values())) >= LEAST_CONFIGURATIONS
    names = {(name, one) for name, variants in CHOSEN.items() for one in variants}
    assert {*KNOWN} <= names, "a listed configuration is gone"


@pytest.mark.parametrize("name", GROUPS)
def test_qemu_receives_an_image_by_the_command_derived_of_it(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    require_qemu(group.arch)
    with ThreadPoolExecutor(2) as workers:
        ended = dict(workers.map(lambda one: (one, received(group, one, tmp_path)), CHOSEN[name]))
    failed = {(name, one): said for one, said in ended.items() if said != "completed"}
    assert {*failed} == {pair for pair in KNOWN if pair[0] == name}, failed


def received(group: Group, variant: str, folder: Path) -> str:
    """How the load of a configuration's save ended, or what was missing before it."""
    image = folder / variant
    save(group.arch, group.variants[variant], image)
    try:
        with Image.open(image) as opened:
            derived = command_line(opened)
    except FixedRamError as error:
        return str(error)
    assert derived.argv[0] == f"qemu-system-{group.arch}"
    assert derived.argv[-2:] == ("-incoming", f"file:{image}")
    unclaimed = [one for one in derived.uncertain if one.startswith("no argument here brings")]
    arguments = ("-accel", "tcg", "-S", *derived.vm)
    loaded: Loaded = load(group.arch, arguments, image)
    image.unlink()
    if loaded.status == "completed" and not unclaimed:
        return "completed"
    return f"{loaded.status} {loaded.lines[:2]} {unclaimed} {derived}"


@pytest.mark.parametrize("name", ["memory", "usb-devices"])
def test_the_derived_vm_saves_what_the_image_tells_of_a_receiver(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    require_qemu(group.arch)
    unlike = {}
    for variant, arguments in group.variants.items():
        image, again = tmp_path / variant, tmp_path / f"{variant}-again"
        save(group.arch, arguments, image)
        with Image.open(image) as opened:
            derived, first = command_line(opened), Receiver.of_image(opened)
        save(group.arch, ("-accel", "tcg", "-S", *derived.vm), again)
        with Image.open(again) as opened:
            second = Receiver.of_image(opened)
        fields = ("machine", "blocks", "sections", "instances", "contents")
        differ = [one for one in fields if getattr(first, one) != getattr(second, one)]
        if differ:
            unlike[variant] = differ
        image.unlink()
        again.unlink()
    assert unlike == {}
