"""Machines of x86: pc, q35, isapc, microvm; the machine type, its properties, its firmware.

What the board itself makes is claimed here, and what it lacks is switched off.  Upstream: QEMU
hw/i386/pc_piix.c pc_init1(), hw/i386/pc_q35.c pc_q35_init(), hw/i386/pc.c pc_basic_device_init(),
hw/i386/microvm.c; hw/isa/lpc_ich9.c, hw/acpi/piix4.c for the properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.commandline import x86cpus
from fixedram_fmt.commandline.draft import Placed, is_sayable
from fixedram_fmt.commandline.firmware import add_firmware
from fixedram_fmt.commandline.memory import add_memory
from fixedram_fmt.memory.devicefacts import Machine
from fixedram_fmt.memory.x86map import I440FX, ISAPC, MICROVM, Q35, cmos_lengths, x86_kind

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence
    from fixedram_fmt.memory.x86map import Kind

__all__ = ["contribute"]

_CMOS_UNIT = 1 << 16
#: Sections that any x86 machine may have of its own.
_ANY = (
    "acpi_build", "cpu", "apic", "i8254", "i8259", "ioapic", "kvm-tpr-opt", "mc146818rtc",
    "fw_cfg", "pcspk", "port92", "pckbd", "ps2kbd", "ps2mouse", "vmmouse", "dma", "hpet",
    "PCIHost", "PCIBUS", "i2c_bus", "acpi-ged", "apm", "kvmclock", "vmport", "smbus-eeprom",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Board:
    """An x86 machine for the command line: type where the stream has none, its bus, its parts.

    own are sections (`slot.function/vmsd`, or a name) that the board makes; switches are (property,
    section): without that section the property is off.
    """

    usual: str
    root: str | None
    own: tuple[str, ...]
    switches: tuple[tuple[str, str], ...]


_I8042, _PIT, _PIC = ("i8042", "pckbd"), ("pit", "i8254"), ("pic", "i8259")
_BOARDS = {
    I440FX.title: _Board(
        "pc",
        "pci.0",
        ("00.0/I440FX", "01.0/PIIX3", "01.1/ide", "01.3/piix4_pm", "fdc"),
        (("acpi", "01.3/piix4_pm"), ("hpet", "hpet"), _I8042, _PIT, _PIC),
    ),
    Q35.title: _Board(
        "q35",
        "pcie.0",
        ("00.0/mch", "1f.0/ICH9LPC", "1f.2/ich9_ahci", "1f.3/ich9_smb"),
        (
            ("acpi", "acpi_build"),
            ("hpet", "hpet"),
            ("sata", "1f.2/ich9_ahci"),
            ("smbus", "1f.3/ich9_smb"),
            _I8042,
            _PIT,
            _PIC,
        ),
    ),
    ISAPC.title: _Board("isapc", None, ("fdc",), (_I8042, _PIT, _PIC)),
    MICROVM.title: _Board("microvm", "pcie.0", ("00.0/gpex_root",), (_PIT, _PIC)),
}
_BUS = "0000:00:"
_REMOTE = "x-remote"
#: hw/i386/microvm.c VIRTIO_MMIO_BASE, and the bytes of one.
_MICROVM_MMIO = (0xFEB0_0000, 0x200)
_MICROVM_USB = "xhci-sysbus"
#: Controllers of the boards whose buses are called `ide.N`, by their section.
_IDE = {"01.1/ide": "piix3-ide", "1f.2/ich9_ahci": "ich9-ahci"}


def contribute(evidence: Evidence, draft: Draft) -> bool:
    """Program, machine, firmware, memory and CPUs, if the image is of an x86 machine."""
    facts = Machine(evidence.image)
    kind = x86_kind(facts)
    if evidence.machine == _REMOTE:
        # hw/remote/machine.c: a host bridge, and devices that other VMs use; no RAM, no CPU.
        draft.program, draft.machine_type = "qemu-system-x86_64", _REMOTE
        draft.claim_all((("PCIHost", 0), ("PCIBUS", 0)))
        _common(evidence, draft)
        return True
    if kind is None or (evidence.machine and not is_sayable(evidence.machine)):
        return False
    board = _BOARDS[kind.title]
    draft.program = f"qemu-system-{x86cpus.architecture(evidence)}"
    draft.machine_type = evidence.machine or board.usual
    draft.pci_root = board.root
    if not evidence.machine:
        draft.set_global("migration", "send-configuration", "off")
        draft.doubt(
            f"the machine type is not in the image: {board.usual} of the version that saved"
        )
    _parts(evidence, draft, board)
    if kind is MICROVM:
        _microvm(evidence, draft)
    else:
        _legacy(evidence, draft)
        _serial(evidence, draft)
        _smm(evidence, draft)
    _power(evidence, draft)
    add_firmware(evidence, draft, kind)
    _memory(evidence, draft, kind, facts.cmos)
    x86cpus.add_cpus(evidence, draft)
    _common(evidence, draft)
    return True


def _section(name: str) -> str:
    """The section of a part of the board: those with a place are on the first bus."""
    return f"{_BUS}{name}" if "/" in name else name


def _parts(evidence: Evidence, draft: Draft, board: _Board) -> None:
    for name in board.own:
        draft.claim(_section(name))
        if name in _IDE and evidence.has(_section(name)):
            draft.placed[f"{_BUS}{name.partition('/')[0]}"] = Placed(_IDE[name], "ide")
    for name in ("isa-ide", *_ANY):
        draft.claim_all((name, instance) for instance in evidence.instances(name))
    for name, section in board.switches:
        if evidence.lacks(_section(section)):
            draft.machine[name] = "off"


def _legacy(evidence: Evidence, draft: Draft) -> None:
    """vmport has no state but vmmouse's, which it brings."""
    if evidence.has("pckbd") and evidence.lacks("vmmouse"):
        draft.machine["vmport"] = "off"


def _microvm(evidence: Evidence, draft: Draft) -> None:
    """Parts that microvm has or leaves out; its clock is told by the CMOS of its firmware alone."""
    if not evidence.sections:
        return
    switches = {"acpi": evidence.has("acpi-ged"), "pcie": evidence.has("0000:00:00.0/gpex_root")}
    draft.machine |= {name: "on" if there else "off" for name, there in switches.items()}
    if evidence.has("mc146818rtc"):
        draft.machine["rtc"] = "on"
    draft.machine["isa-serial"] = "on" if evidence.has("serial") else "off"
    if evidence.has("serial"):
        draft.others.append(("-serial", "null"))
        draft.claim("serial")
    if evidence.has(_MICROVM_USB):
        draft.machine["usb"] = "on"
        draft.claim(_MICROVM_USB)
    draft.mmio = _MICROVM_MMIO
    if len(evidence.instances("ioapic")) > 1:
        draft.machine["ioapic2"] = "on"


#: Power management, by the way to it: registers that switch its ports on, and its control register.
_POWER = (
    ("0000:00:01.3/piix4_pm", 0x80, 0x01, "ar.pm1.cnt.cnt"),
    ("0000:00:1f.0/ICH9LPC", 0x44, 0x80, "pm/acpi_regs.pm1.cnt.cnt"),
)
_SCI_EN = 1
#: Byte 3 of DEVACTB, which piix4_pm_reset() sets so that firmware leaves SMM alone.
_DEVACTB, _APMC_EN = 0x5B, 1 << 1


def _smm(evidence: Evidence, draft: Draft) -> None:
    """Without SMM ACPI is on from the start; with it firmware, or a guest, switches it on.

    So it tells something only before firmware has set the ports up: acpi_pm1_cnt_init().
    """
    for section, register, on, control in _POWER:
        function = evidence.functions.get(section.partition("/")[0])
        if function is None or f"{function.way}/{function.vmsd}" != section:
            continue
        is_set_up = function.word(register, 1) & on
        enabled = (evidence.number(section, control) or 0) & _SCI_EN
        given_up = function.vmsd == "piix4_pm" and function.word(_DEVACTB, 1) & _APMC_EN
        if not is_set_up and (enabled or given_up):
            draft.machine["smm"] = "off"


#: Bits by which the bridge says that there are ports at 0x3f8 and 0x2f8: register, and both bits.
#: hw/acpi/piix4.c piix4_pm_machine_ready(), hw/isa/lpc_ich9.c ich9_lpc_machine_ready().
_SERIAL = (
    ("0000:00:01.3", "piix4_pm", 0x67, (0x08, 0x90)),
    ("0000:00:1f.0", "ICH9LPC", 0x82, (1, 2)),
)


def _serial(evidence: Evidence, draft: Draft) -> None:
    """Serial ports where the bridge says that not the first ones are there."""
    for way, vmsd, register, bits in _SERIAL:
        function = evidence.functions.get(way)
        if function is None or function.vmsd != vmsd:
            continue
        value = function.word(register, 1)
        there = [index for index, bit in enumerate(bits) if value & bit == bit]
        indexes = [*there, 2, 3]
        for instance in evidence.instances("serial")[: len(indexes)]:
            draft.device("isa-serial", {"chardev": draft.chardev(), "index": indexes.pop(0)})
            draft.claim("serial", instance)


def _power(evidence: Evidence, draft: Draft) -> None:
    """Properties of the devices of power management, which add or leave out state."""
    piix4, lpc = "0000:00:01.3/piix4_pm", "0000:00:1f.0/ICH9LPC"
    if evidence.described(piix4):
        bridges = evidence.number(piix4, "acpi_pci_hotplug.hotplug_select") is not None
        if not bridges:
            draft.set_global("PIIX4_PM", "acpi-pci-hotplug-with-bridge-support", "off")
        elif evidence.number(piix4, "acpi_pci_hotplug.acpi_index") is None:
            draft.set_global("PIIX4_PM", "x-not-migrate-acpi-index", "on")
    if evidence.described(lpc):
        found = evidence.subsections(lpc)
        if not any(name.endswith("/pcihp") for name in found):
            draft.set_global("ICH9-LPC", "acpi-pci-hotplug-with-bridge-support", "off")
        if not any(name.endswith("/tco") for name in found):
            draft.set_global("ICH9-LPC", "enable_tco", "off")
    timers = evidence.number("hpet", "num_timers_save")
    if timers is not None and timers != _HPET_TIMERS and 3 <= timers <= 32:
        draft.set_global("hpet", "timers", timers)


#: HPET_MIN_TIMERS, the default.
_HPET_TIMERS = 3


def _memory(evidence: Evidence, draft: Draft, kind: Kind, cmos: bytes | None) -> None:
    told = cmos_lengths(cmos) if cmos else None
    fits = (sum(told), _CMOS_UNIT) if told else ()
    roles = add_memory(evidence, draft, fits=fits, taken=evidence.device_backends)
    if told is None or kind in (MICROVM, ISAPC):
        return
    below, above = told
    if above and below != kind.below(roles.length) and below + above == roles.length:
        draft.machine["max-ram-below-4g"] = f"{below}B"


def _common(evidence: Evidence, draft: Draft) -> None:
    """What is no part of a device: the UUID, and whether the image describes itself."""
    image = evidence.image
    if evidence.has("kvmclock"):
        draft.others.append(("-accel", "kvm"))
    if image.uuid is not None:
        draft.others.append(("-uuid", image.uuid))
    if evidence.has("iommu-intel"):
        draft.machine["kernel-irqchip"] = "split"
    if image.vmdesc is None and image.complete:
        draft.machine["suppress-vmdesc"] = "on"
