"""Whose guest it is, for the head of an ELF file: e_machine and byte order.

Upstream: QEMU target/*/arch_dump.c cpu_get_dump_info().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.export.prstatus import architecture_of, byte_order_of
from fixedram_fmt.memory.devicefacts import Machine
from fixedram_fmt.memory.machines import board_of
from fixedram_fmt.memory.x86map import x86_kind

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["UNKNOWN", "target_of"]

UNKNOWN = "none"

#: By the first word of a board's title.
_BOARDS = {
    "arm": ("aarch64", "little"),
    "sbsa-ref": ("aarch64", "little"),
    "riscv": ("riscv", "little"),
    "sifive_u": ("riscv", "little"),
    "loongarch": ("loongarch", "little"),
    "m68k": ("m68k", "big"),
    "s390-ccw-virtio": ("s390x", "big"),
    "pseries": ("ppc64", "big"),
}


def target_of(image: Image, cpus: list[DeviceState]) -> tuple[str, str]:
    """Architecture and byte order, by the CPUs' state, else by the machine; UNKNOWN, little."""
    for cpu in cpus:
        found = architecture_of(cpu)
        if found is not None:
            return found, byte_order_of(cpu)
    machine = Machine(image)
    if x86_kind(machine):
        return "x86", "little"
    board = board_of(machine)
    if board is None:
        return UNKNOWN, "little"
    if board.title.startswith("arduino"):
        return "avr", "little"
    return _BOARDS.get(board.title.split()[0], (UNKNOWN, "little"))
