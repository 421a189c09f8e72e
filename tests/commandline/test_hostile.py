"""Images that nobody saved: a command line or our error, soon, and no argument of theirs."""

from __future__ import annotations

import shlex
import time

import pytest

from fixedram_fmt import Image
from fixedram_fmt.commandline import command_line
from fixedram_fmt.errors import FixedRamError
from support.machines import OF_PC, machine, pci_body

pytestmark = [pytest.mark.slow, pytest.mark.untraced]
#: Seconds; machines of a CI are shared.
SECONDS = 20

NAMES = [
    "a,b=c", "\x1b[31m", "x\ny", "-incoming", "$(reboot)", "`x`", "\u202e", "\udcff".encode(
        "utf-8", "surrogateescape").decode("latin-1"), "a" * 255, "'", '"', " ", "%s", "id=x",
]  # fmt: skip


CARD, BRIDGE = pci_body(0x8086, 0x100E), pci_body(0x1B36, 1, header_type=1)
WAYS = [f"0000:00:{slot:02x}.{part}" for slot in range(32) for part in range(8)]
INNER = [f"{way}:{slot:02x}.0" for way in WAYS for slot in range(12)]
RING = b"\0\0\0\2" + b"\x86\x80\x0e\x10" + b"\x40" * 300

CROWDS: dict[str, tuple[str | tuple[str, bytes], ...]] = {
    "cards": tuple((f"{way}/e1000", CARD) for way in WAYS),
    "behind bridges": (
        *((f"{way}/pci_bridge", BRIDGE) for way in WAYS), *((f"{way}/e1000", CARD) for way in INNER)
    ),
    "nested": tuple((f"0000:00{':01.0' * depth}/pci_bridge", BRIDGE) for depth in range(1, 40)),
    "companions": tuple((f"{way}/uhci", pci_body(0x8086, 0x2934)) for way in WAYS),
    "usb": tuple(f"0000:00:02.0/{port}/usb-hub" for port in range(999)),
    "disks": tuple(f"0000:00:02.0/0:{number}:0/scsi-disk" for number in range(3000)),
    "vcpus": (*["cpu_common"] * 3000, *["apic"] * 3000),
    "parts": (*["serial"] * 2000, *["hda-audio"] * 2000, *["PCIHost"] * 2000),
    "capabilities in a ring": (("0000:00:02.0/e1000", RING),),
    "slashes": ("/".join("a" * 100), "/" * 200),
}  # fmt: skip


def assert_bounded(image: Image) -> None:
    start = time.monotonic()
    line = command_line(image)
    assert time.monotonic() - start < SECONDS
    assert len(line.argv) < 20_000
    assert len(line.uncertain) < 300
    assert shlex.split(str(line).replace("\\\n", ""))


@pytest.mark.parametrize("name", CROWDS)
def test_crowds_of_sections_are_derived_soon_and_not_without_end(name: str) -> None:
    assert_bounded(machine(*CROWDS[name]))


def test_crowds_of_blocks_are_derived_soon_and_not_without_end() -> None:
    assert_bounded(machine(blocks=[f"mem{number}" for number in range(2000)]))


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_file_becomes_an_argument(name: str) -> None:
    ways = (name, f"0000:00:02.0/{name}", f"{name}/1/usb-kbd", f"{name}/0:0:0/scsi-disk")
    image = machine(*(one for one in ways if len(one) < 256), blocks=["pc.ram", f"a/{name[:99]}"])
    argv = command_line(image, "x").argv
    # An image with a name that no QEMU gives may not be read to its end: parts are not told then.
    clean = command_line(machine(), "x").argv
    assert {*argv} - {*clean} <= {"pc-i440fx-10.0"}


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_has_a_good_id_or_none(name: str) -> None:
    line = command_line(machine(blocks=["pc.ram", name]), "x")
    for word in line.argv:
        assert word.isascii()
        assert word.isprintable()
    objects = [word for word in line.argv if word.startswith("memory-backend-ram")]
    assert all(name in one and "," not in name for one in objects)


def test_state_of_any_bytes_is_no_error() -> None:
    import random

    dice = random.Random(7)
    for _ in range(40):
        sections = [
            (one, dice.randbytes(dice.choice((4, 300, 5000))))
            for one in (*OF_PC, "0000:00:02.0/virtio-net", "0000:00:03.0/virtio-gpu", "serial")
        ]
        try:
            line = command_line(machine(*sections, usual=False))
        except FixedRamError:
            continue
        assert line.argv[0].startswith("qemu-system-")
