"""Which board an image is of, and who derives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards import arm, loongarch, m68k, others, ppc, riscv, s390x
from fixedram_fmt.commandline.boards.parts import program_of
from fixedram_fmt.commandline.draft import is_sayable
from fixedram_fmt.memory.devicefacts import Machine
from fixedram_fmt.memory.machines import board_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["contribute"]

#: By the title of the board in the memory map.
_BY_TITLE: Mapping[str, Callable[[Evidence, Draft], None]] = {
    "arm virt": arm.virt,
    "sbsa-ref": arm.sbsa_ref,
    "riscv virt": riscv.virt,
    "loongarch virt": loongarch.virt,
    "m68k virt": m68k.virt,
    "s390-ccw-virtio": s390x.ccw,
    "pseries": ppc.pseries,
}
#: By the name of the machine, where nothing else has it.
_BY_NAME: Mapping[str, Callable[[Evidence, Draft], None]] = {
    "g3beige": ppc.mac,
    "mac99": ppc.mac,
    "powernv8": ppc.powernv,
    "powernv9": ppc.powernv,
    "powernv10": ppc.powernv,
    "q800": m68k.q800,
}
_X86 = frozenset({"x86_64", "i386"})


def contribute(evidence: Evidence, draft: Draft) -> bool:
    """Derive the machine of an image; False where it is a PC, or nothing is known of it."""
    if not is_sayable(evidence.machine):
        return False
    board = board_of(Machine(evidence.image))
    derive = _BY_TITLE.get(board.title) if board else None
    derive = derive or _BY_NAME.get(evidence.machine)
    if derive is None:
        program = program_of(evidence)
        if program is None or program in _X86:
            return False
        draft.program, derive = f"qemu-system-{program}", others.board
    draft.machine_type = evidence.machine
    derive(evidence, draft)
    return True
