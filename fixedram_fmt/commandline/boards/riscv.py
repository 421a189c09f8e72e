"""RISC-V's `virt`: interrupt controllers, and what the CPU has.

Upstream: QEMU hw/riscv/virt.c virt_machine_init(), target/riscv/machine.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.parts import (
    bits_of_cpu,
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
    "cpu", "fw_cfg", "goldfish_rtc", "pflash_cfi01", "riscv_aplic", "riscv_imsic", "riscv_mtimer",
    "riscv_sifive_plic", "serial", "virt_acpi_build", "PCIHost", "PCIBUS",
    "0000:00:00.0/gpex_root",
)  # fmt: skip
#: virt_memmap[VIRT_VIRTIO]: base and size.
_MMIO = (0x1000_1000, 0x1000)
#: Extensions of rv32 and rv64, and those that are off by default, by their letters in misa.
_DEFAULT_LETTERS, _MORE_LETTERS = "acdfhmsu", "v"
_NEEDED = "a"
#: Subsections of a CPU with a feature that is there by default.
_DEFAULT_PARTS = {"pmp": "pmp", "debug": "debug"}
#: Only -cpu max has these.
_OF_MAX = frozenset({"ctr", "elp", "ssp"})


def virt(evidence: Evidence, draft: Draft) -> None:
    """-machine virt: what was not given as it is by default."""
    bits = bits_of_cpu(evidence, "env.pc") or 64
    draft.program = f"qemu-system-riscv{bits}"
    draft.pci_root = "pcie.0"
    _cpu(evidence, draft, bits)
    give_cpus(evidence, draft)
    give_memory(evidence, draft, "riscv_virt_board.ram")
    if evidence.has("riscv_imsic"):
        draft.machine["aia"] = "aplic-imsic"
        if guests := _guests(evidence):
            draft.machine["aia-guests"] = str(guests)
    elif evidence.has("riscv_aplic"):
        draft.machine["aia"] = "aplic"
    if not evidence.has("virt_acpi_build") and "riscv_virt_board.ram" in evidence.blocks:
        draft.machine["acpi"] = "off"
    draft.mmio = _MMIO
    claim_names(evidence, draft, _BY_VIRT)


def _guests(evidence: Evidence) -> int:
    """aia-guests=: an IMSIC of the supervisor's level has a page for itself and one a guest."""
    pages = 1
    for instance in evidence.instances("riscv_imsic"):
        found = evidence.get("riscv_imsic", "eidelivery", instance)
        pages = max(pages, len(found) if isinstance(found, list) else 1)
    return pages - 1


def _cpu(evidence: Evidence, draft: Draft, bits: int) -> None:
    """The default model with features as they are; or the one that has them all."""
    parts = cpu_subsections(evidence)
    if parts is None:
        draft.cpu = f"rv{bits}"
        unknown_cpu(draft, draft.cpu)
        return
    if parts & _OF_MAX:
        draft.cpu = "max"
        return
    first = next(iter(evidence.instances("cpu")), 0)
    misa = evidence.number("cpu", "env.misa_ext", first)
    words = [f"rv{bits}"]
    words += [f"{name}=off" for part, name in _DEFAULT_PARTS.items() if part not in parts]
    if misa is not None and not _has(misa, _NEEDED):
        # Other extensions of the default model ask for this one: begin with the bare one.
        words = [f"rv{bits}{'e' if _has(misa, 'e') else 'i'}"]
        words += [f"{one}=on" for one in (*_DEFAULT_LETTERS, *_MORE_LETTERS) if _has(misa, one)]
    elif misa is not None:
        words += [f"{one}=off" for one in _DEFAULT_LETTERS if not _has(misa, one)]
        words += [f"{one}=on" for one in _MORE_LETTERS if _has(misa, one)]
    draft.cpu = ",".join(words)
    draft.doubt(
        f"the state does not tell the model of the CPU: {draft.cpu} has the extensions that the"
        " state tells of"
    )


def _has(misa: int, letter: str) -> bool:
    return bool(misa >> (ord(letter) - ord("a")) & 1)
