"""A guest with two RAM blocks whose memory can be looked at, and what a real QEMU does to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from qemu_vm import QemuError, QemuVM, require_qemu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BLOCKS", "BUSY", "GUEST", "RANGES", "Loaded", "load", "outcome_of"]

MIB = 1 << 20
#: Two blocks: the machine's RAM below, a DIMM at 4 GiB.
BLOCKS = ("pc.ram=16M:counter:0.2", "mem1=8M:text:0.2")
GUEST = (
    "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "pc",
    "-m", "16M,slots=1,maxmem=64M", "-object", "memory-backend-ram,id=mem1,size=8M",
    "-device", "pc-dimm,id=dimm1,memdev=mem1", "-incoming", "defer",
    "-rtc", "base=2020-01-01T00:00:00,clock=vm",
)  # fmt: skip
#: The same guest with more devices.
BUSY = (
    *GUEST, "-device", "e1000,romfile=", "-device", "virtio-net-pci,romfile=",
    "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci", "-device", "virtio-serial-pci",
    "-device", "ahci", "-device", "piix3-usb-uhci,id=uhci", "-device", "qemu-xhci,id=xhci",
    "-device", "usb-tablet,bus=uhci.0", "-device", "usb-kbd,bus=xhci.0",
)  # fmt: skip
#: Guest-physical ranges that show both blocks; QEMU's own tables lie below 1 MiB.
RANGES = ((MIB, 16 * MIB), (1 << 32, (1 << 32) + 8 * MIB))
#: A load that hangs counts as a crash.
TIME_LIMIT = 20


#: What stands before each line, and lines that come with every load of BUSY or are no refusal.
_PREFIX = "qemu-system-x86_64: "
_NO_REFUSAL = ("warning: ",)


@dataclass(frozen=True)
class Loaded:
    """How a load ended: `completed`, `failed` or `crashed`.

    memory is the guest's after a load that completed; lines are what QEMU wrote, without its name.
    """

    status: str
    memory: list[bytes] = field(default_factory=list)
    lines: tuple[str, ...] = ()

    def outcome(self, *meant: list[bytes]) -> Outcome:
        """As a verdict; meant are the memories that would be right."""
        return outcome_of(self.status, self.memory, *meant)


def outcome_of(status: str, memory: list[bytes], *meant: list[bytes]) -> Outcome:
    """A status and the memory after it as a verdict; meant are the memories that would be right."""
    return {
        "failed": Outcome.REFUSES,
        "crashed": Outcome.CRASHES,
        "completed": Outcome.LOADS if memory in meant else Outcome.WRONG_MEMORY,
    }[status]


def load(
    image: Path, *, multifd: bool, save_as: Path | None = None, guest: Sequence[str] = GUEST
) -> Loaded:
    """What a real QEMU does with image; save_as: where to save the guest again then."""
    with QemuVM(require_qemu("x86_64"), timeout=TIME_LIMIT) as vm:
        vm.start(guest)
        vm.set_capabilities("mapped-ram", *(["multifd"] if multifd else []))
        try:
            status = vm.incoming_from_file(image)
            memory = (
                [vm.pmemsave(start, stop) for start, stop in RANGES]
                if status == "completed"
                else []
            )
            last = str(vm.query_migrate().get("error-desc", ""))
        except (QemuError, TimeoutError):
            return Loaded("crashed", lines=_lines(vm.stderr))
        if status == "completed" and save_as is not None:
            assert vm.migrate_to_file(save_as) == "completed"
        return Loaded(status, memory, _lines(vm.stderr, last))


def _lines(stderr: str, last: str = "") -> tuple[str, ...]:
    """QEMU keeps its last line to itself where it is not to exit on an error."""
    lines = [line.removeprefix(_PREFIX) for line in stderr.split("\n")]
    return tuple(line for line in (*lines, last) if line and not line.startswith(_NO_REFUSAL))
