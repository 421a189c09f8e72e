"""A guest with two RAM blocks whose memory can be looked at, and what a real QEMU does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from qemu_vm import QemuError, QemuVM, require_qemu

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BLOCKS", "GUEST", "RANGES", "load", "outcome_of"]

MIB = 1 << 20
#: Two blocks: the machine's RAM below, a DIMM at 4 GiB.
BLOCKS = ("pc.ram=16M:counter:0.2", "mem1=8M:text:0.2")
GUEST = (
    "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "pc",
    "-m", "16M,slots=1,maxmem=64M", "-object", "memory-backend-ram,id=mem1,size=8M",
    "-device", "pc-dimm,id=dimm1,memdev=mem1", "-incoming", "defer",
)  # fmt: skip
#: Guest-physical ranges that show both blocks; QEMU's own tables lie below 1 MiB.
RANGES = ((MIB, 16 * MIB), (1 << 32, (1 << 32) + 8 * MIB))
#: A load that hangs counts as a crash: nobody gets a guest from it.
TIME_LIMIT = 20


def load(image: Path, *, multifd: bool, save_as: Path | None = None) -> tuple[str, list[bytes]]:
    """`completed`, `failed` or `crashed`, and the guest's memory after a load that completed.

    save_as: where to save the guest again then.
    """
    with QemuVM(require_qemu("x86_64"), timeout=TIME_LIMIT) as vm:
        vm.start(GUEST)
        vm.set_capabilities("mapped-ram", *(["multifd"] if multifd else []))
        try:
            status = vm.incoming_from_file(image)
        except (QemuError, TimeoutError):
            return "crashed", []
        if status != "completed":
            return status, []
        if save_as is not None:
            assert vm.migrate_to_file(save_as) == "completed"
        return status, [vm.pmemsave(start, stop) for start, stop in RANGES]


def outcome_of(status: str, memory: list[bytes], *meant: list[bytes]) -> Outcome:
    """What load() has seen, as a verdict; meant are the memories that would be right."""
    return {
        "failed": Outcome.REFUSES,
        "crashed": Outcome.CRASHES,
        "completed": Outcome.LOADS if memory in meant else Outcome.WRONG_MEMORY,
    }[status]
