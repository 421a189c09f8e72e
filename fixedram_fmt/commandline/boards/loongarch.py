"""LoongArch's `virt`.

Upstream: QEMU hw/loongarch/virt.c virt_init(), hw/intc/loongarch_extioi.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.parts import (
    claim_names,
    cpu_subsections,
    give_cpus,
    give_memory,
    unknown_cpu,
)

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["virt"]

_BY_VIRT = (
    "acpi-ged", "acpi_build", "cpu", "fw_cfg", "loongarch.extioi", "loongarch_extioi",
    "loongarch_extioi_common", "loongarch_ipi", "loongarch_pch_pic", "loongson_ipi",
    "loongson_ipi_common", "ls7a_rtc", "pflash_cfi01", "serial", "PCIHost", "PCIBUS",
    "0000:00:00.0/gpex_root",
)  # fmt: skip
_EXTIOI = ("loongarch.extioi", "loongarch_extioi")
_RAM = "loongarch.ram"


def virt(evidence: Evidence, draft: Draft) -> None:
    """-machine virt: what was not given as it is by default."""
    draft.program = "qemu-system-loongarch64"
    draft.pci_root = "pcie.0"
    parts = cpu_subsections(evidence)
    draft.cpu = "la132" if parts is not None and "lsx" not in parts else "la464"
    unknown_cpu(draft, draft.cpu)
    give_cpus(evidence, draft, _most_cpus(evidence))
    give_memory(evidence, draft, _RAM)
    if not evidence.has("acpi_build") and _RAM in evidence.blocks:
        draft.machine["acpi"] = "off"
    claim_names(evidence, draft, _BY_VIRT)


def _most_cpus(evidence: Evidence) -> int | None:
    """maxcpus=: the interrupt controller has a part for each vCPU that there may be."""
    for name in _EXTIOI:
        parts = evidence.get(name, "cpu")
        if parts is not None:
            return len(parts) if isinstance(parts, list) else 1
    return None
