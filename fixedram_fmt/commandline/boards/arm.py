"""Arm's `virt` and `sbsa-ref`: GIC, IOMMU, levels of exceptions, and the CPU by its registers.

Upstream: QEMU hw/arm/virt.c machvirt_init(), hw/arm/sbsa-ref.c, target/arm/cpu64.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.armcpus import ArmCpu, cpu_of
from fixedram_fmt.commandline.boards.parts import (
    claim_names,
    give_cpus,
    give_firmware,
    give_memory,
    unknown_cpu,
)
from fixedram_fmt.commandline.cards import NETWORK
from fixedram_fmt.commandline.memory import size_text
from fixedram_fmt.commandline.pcimodels import model_of

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["sbsa_ref", "virt"]

_BY_VIRT = (
    "acpi-ged", "arm_gic", "arm_gicv2m", "arm_gicv3", "arm_gicv3_its", "cpu", "fw_cfg", "gpio-key",
    "pflash_cfi01", "pl011", "pl031", "pl061", "smmuv3", "virt_acpi_build", "PCIHost", "PCIBUS",
    "0000:00:00.0/gpex_root",
)  # fmt: skip
_BY_SBSA = (
    *_BY_VIRT, "ich9_ahci", "sbsa-gwdt", "sbsa_ec", "sysbus-ahci",
    "xhci-sysbus",
)  # fmt: skip
#: base_memmap[VIRT_MMIO], and the step of create_virtio_devices().
_MMIO = (0x0A00_0000, 0x200)
_TAG = "mach-virt.tag"
_DISPLAY = "bochs-display"


def virt(evidence: Evidence, draft: Draft) -> None:
    """-machine virt: what was not given as it is by default."""
    cpu = cpu_of(evidence)
    draft.program = f"qemu-system-{'aarch64' if cpu is None or cpu.is_64bit else 'arm'}"
    draft.pci_root = "pcie.0"
    _cpu(draft, cpu, "cortex-a57")
    give_cpus(evidence, draft)
    give_memory(evidence, draft, "mach-virt.ram")
    _properties(evidence, draft, cpu)
    _uarts(evidence, draft)
    draft.mmio = _MMIO
    claim_names(evidence, draft, _BY_VIRT)


def _cpu(draft: Draft, cpu: ArmCpu | None, otherwise: str) -> None:
    draft.cpu = cpu.argument(draft.machine_type) if cpu else otherwise
    if cpu is None:
        unknown_cpu(draft, otherwise)
    elif not cpu.certain:
        draft.doubt(
            f"-cpu {cpu.model} is the nearest by the identification registers, which are not all"
            " those of a model that is known here"
        )


def _properties(evidence: Evidence, draft: Draft, cpu: ArmCpu | None) -> None:
    machine = draft.machine
    if evidence.has("arm_gicv3"):
        machine["gic-version"] = "3"
        if not evidence.has("arm_gicv3_its"):
            machine["its"] = "off"
    elif evidence.has("arm_gic"):
        machine["gic-version"] = "2"
    else:
        draft.doubt("the image has no interrupt controller: gic-version= is not known")
    if "virt.secure-ram" in evidence.blocks:
        machine["secure"] = "on"
    if cpu is not None and cpu.has_hypervisor:
        machine["virtualization"] = "on"
    if _TAG in evidence.blocks:
        machine["mte"] = "on"
    if evidence.has("smmuv3"):
        machine["iommu"] = "smmuv3"
    acpi = evidence.has("virt_acpi_build")
    if not acpi and "mach-virt.ram" in evidence.blocks:
        machine["acpi"] = "off"
    # virt_init(): with ACPI and firmware a GED stands in the place of the GPIO's power button.
    if evidence.has("acpi-ged"):
        give_firmware(evidence, draft, "pflash0", "virt.flash0")


def _uarts(evidence: Evidence, draft: Draft) -> None:
    """The second UART: it is there without being asked for where secure= is on."""
    count = len(evidence.instances("pl011"))
    if count > 1 and draft.machine.get("secure") != "on":
        draft.others += [("-serial", "null")] * min(count, 2)


def sbsa_ref(evidence: Evidence, draft: Draft) -> None:
    """-machine sbsa-ref, which has no properties that matter here."""
    draft.program = "qemu-system-aarch64"
    draft.pci_root = "pcie.0"
    _cpu(draft, cpu_of(evidence), "neoverse-n2")
    give_cpus(evidence, draft)
    length = evidence.length("sbsa-ref.ram")
    draft.memory = size_text(length) if length else None
    _sbsa_cards(evidence, draft)
    claim_names(evidence, draft, _BY_SBSA)


def _sbsa_cards(evidence: Evidence, draft: Draft) -> None:
    """The display, and the network cards of -nic, to which create_pcie() gives the slots before it.

    A -device is plugged in later: where the board puts the display, there is no room for one.
    """
    display = next((one for one in evidence.functions.values() if one.vmsd == _DISPLAY), None)
    if display is None:
        return
    draft.claim(f"{display.way}/{_DISPLAY}")
    for function in sorted(evidence.functions.values(), key=lambda one: one.way):
        model = model_of(evidence, function)
        if function.way >= display.way or model is None or model.driver not in NETWORK:
            continue
        draft.claim(f"{function.way}/{function.vmsd}")
        draft.board_nic(model.driver, evidence.instances("slirp"))
