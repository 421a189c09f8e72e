"""m68k's `virt` and `q800`.

Upstream: QEMU hw/m68k/virt.c virt_init(), hw/m68k/q800.c, target/m68k/cpu.c vmstate_m68k_cpu.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.others import claim_board
from fixedram_fmt.commandline.boards.parts import (
    claim_names,
    cpu_subsections,
    give_memory,
    unknown_cpu,
)

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["q800", "virt"]

_BY_VIRT = (
    "cpu", "goldfish_pic", "goldfish_rtc", "goldfish_tty", "m68k-irqc", "virt-ctrl",
)  # fmt: skip
#: VIRT_VIRTIO_MMIO_BASE, and the step of virt_init().
_MMIO = (0xFF01_0000, 0x200)
#: The first whose subsections are all there, and whether others have the same.
_CPUS = (
    ({"68040_mmu"}, "m68040", True),
    ({"cf_spregs", "fpu"}, "cfv4e", True),
    ({"cf_spregs"}, "m5208", False),
    ({"fpu"}, "m68030", False),
    (set[str](), "m68000", False),
)


def virt(evidence: Evidence, draft: Draft) -> None:
    """-machine virt: what was not given as it is by default."""
    draft.program = "qemu-system-m68k"
    _cpu(evidence, draft)
    give_memory(evidence, draft, "m68k_virt.ram")
    draft.mmio = _MMIO
    claim_names(evidence, draft, _BY_VIRT)


def q800(evidence: Evidence, draft: Draft) -> None:
    """-machine q800, whose sound asks for a backend."""
    draft.program = "qemu-system-m68k"
    draft.machine["audiodev"] = draft.audiodev()
    give_memory(evidence, draft, "m68k_mac.ram")
    claim_board(evidence, draft)


def _cpu(evidence: Evidence, draft: Draft) -> None:
    parts = cpu_subsections(evidence)
    if parts is None:
        draft.cpu = "m68040"
        unknown_cpu(draft, draft.cpu)
        return
    needed, model, is_certain = next(one for one in _CPUS if one[0] <= parts)
    draft.cpu = model
    if not is_certain:
        told = f"has {', '.join(sorted(needed))}" if needed else "has no part of a later one"
        draft.doubt(f"the CPU's state {told}, as several models: -cpu {model} is a guess")
