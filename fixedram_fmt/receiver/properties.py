"""What on a VM's command line makes a difference inside a device: a table.

Names of properties are those of `qemu-system-ARCH -device NAME,help`; the differences were seen
between two VMs that differ in that property alone (tests/interop), or read in the device's source.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.receiver.misfit import Kind

if TYPE_CHECKING:
    from fixedram_fmt.receiver.misfit import Misfit

__all__ = ["advice"]


class _Entry(NamedTuple):
    vmsd: str
    kind: Kind
    #: What differs: a field, a register of the configuration space, a key of ours.
    item: str
    advice: str


_F, _C, _V, _S, _R = Kind.FIELDS, Kind.CONFIG, Kind.VALUE, Kind.STATE, Kind.REGISTER

#: The first that fits counts.
_TABLE = (
    # -- machines
    _Entry("piix4_pm", _F, "*acpi_index", "-global PIIX4_PM.x-not-migrate-acpi-index=on on the side"
           " that lacks it, or the same machine type (up to 6.2 it is left out)"),
    _Entry("piix4_pm", _F, "*", "the same -global PIIX4_PM.acpi-pci-hotplug-with-bridge-support="
           ", acpi-root-pci-hotplug= and x-not-migrate-acpi-index=, the same -m slots="),
    _Entry("ICH9LPC", _F, "*acpi_index", "-global ICH9-LPC.x-not-migrate-acpi-index"),
    _Entry("ICH9LPC", _F, "*", "the same -m slots= (memory hot-plug has a part for each slot),"
           " -smp maxcpus= and ICH9-LPC properties"),
    _Entry("acpi-ged", _F, "*", "the same -m slots= and -smp maxcpus="),
    _Entry("ICH9LPC", _S, "*tco*", "-global ICH9-LPC.enable_tco=on"),
    _Entry("cpu", _S, "cpu/wfxt-timer", "the same -cpu (of the timer of WFxT the receiver has"
           " none), and the version of QEMU that saved"),
    _Entry("hpet", _S, "timers", "the same -global hpet.timers="),
    _Entry("hpet", _F, "*", "the same -global hpet.timers="),
    _Entry("spapr-xive", _F, "*", "the same -smp maxcpus= and number of interrupts"),
    _Entry("spapr_irq_map", _F, "*", "the same -machine ic-mode="),
    _Entry("ics", _V, "nr_irqs", "the same machine type: it decides on the number of interrupts"),
    _Entry("spapr", _S, "cap-*", "-machine {item}= as the image has it, or the same -cpu"),
    _Entry("loongson_ipi", _F, "*", "the same -smp"),
    _Entry("loongarch_*", _F, "*", "the same -smp"),
    _Entry("riscv_*", _F, "*", "the same -smp and -machine aia="),
    _Entry("arm_gic*", _F, "*", "the same -smp and -machine gic-version="),
    _Entry("openpic", _V, "nb_cpus", "the same -smp"),
    _Entry("cpu", _R, "cpreg", "the same -cpu (pmu=, sve=, pauth= ... included), -smp and -machine"
           " virtualization=, secure=; between versions of QEMU an older machine type may not be"
           " enough: restore with the version that saved"),
    _Entry("cpu", _V, "cpreg_vmstate_array_len", "the same -cpu and -machine virtualization=,"
           " secure=: the image's CPU has more registers"),
    _Entry("cpu", _S, "cpu", "the same -cpu"),
    _Entry("fdc", _V, "num_floppies", "the same -device isa-fdc, as many drives"),
    # -- USB
    _Entry("uhci", _V, "num_ports_vmstate", "the same USB controller"),
    _Entry("xhci", _F, "ports", "the same p2= and p3= (ports of USB 2 and 3)"),
    _Entry("xhci", _F, "slots", "the same slots="),
    _Entry("xhci", _F, "intr", "the same intrs="),
    _Entry("xhci", _F, "*", "the same p2=, p3=, slots= and intrs="),
    _Entry("xhci", _S, "msix", "msix=on (or auto): without it QEMU dies when it loads the device"),
    _Entry("ohci*", _F, "*", "the same num-ports="),
    _Entry("usb-hub", _F, "*", "the same ports="),
    # -- sound
    _Entry("hda-audio", _S, "*", "the same codec: hda-duplex, hda-micro or hda-output"),
    # -- virtio
    _Entry("virtio-gpu", _S, "max_outputs", "the same max_outputs="),
    _Entry("virtio-console", _S, "ports", "the same -device virtserialport and virtconsole, with"
           " the same nr="),
    _Entry("virtio-mem*", _S, "*", "the same {item}= of the virtio-mem device"),
    _Entry("virtio-*", _C, "MSI-X: byte *", "the same vectors= ({count} in the image; num-queues=,"
           " num_queues=, mq= and queues of a device decide on it too, and so does -smp where they"
           " are automatic)"),
    _Entry("virtio-*", _C, "pointer to the capabilities", "the same vectors= (0 leaves MSI-X out)"
           " and disable-modern="),
    _Entry("virtio-*", _C, "device id", "the same disable-legacy= (a device that is modern alone"
           " has another id), and the same device"),
    _Entry("virtio-*", _C, "*BAR*", "the same disable-modern= and disable-legacy="),
    _Entry("virtio-*", _C, "vendor-specific*", "the same page-per-vq=, modern-pio-notify= and"
           " disable-modern="),
    _Entry("virtio-*", _C, "*", "the same disable-legacy=, disable-modern=, vectors= and ats="),
    # -- other PCI devices
    _Entry("e1000e", _S, "subsys*", "the same {item}="),
    _Entry("e1000", _C, "device id", "the same device: e1000, e1000-82544gc or e1000-82545em"),
    _Entry("vga", _C, "revision id", "the same mmio= and qemu-extended-regs="),
    _Entry("pcie-root-port", _V, "log_max", "the same aer_log_max="),
    _Entry("*root-port", _V, "log_max", "the same aer_log_max="),
    _Entry("*root-port", _C, "PCI Express*", "the same x-speed=, x-width=, hotplug=,"
           " power_controller_present=, slot= and chassis="),
    _Entry("*root-port", _C, "vendor-specific*", "the same bus-reserve=, io-reserve=, mem-reserve="
           " and pref64-reserve="),
    _Entry("*root-port", _C, "access control*", "the same disable-acs="),
    _Entry("pci_bridge", _C, "*", "the same chassis_nr=, msi= and shpc="),
    _Entry("*", _C, "express", "the same place: on a PCI Express root port a device has 4 KiB of"
           " configuration, on a conventional bus 256 bytes (x-disable-pcie=)"),
    _Entry("*", _C, "vendor id", "the same device"),
    _Entry("*", _C, "device id", "the same device"),
    _Entry("*", _C, "class", "the same device"),
    _Entry("*", _C, "header type", "the same multifunction="),
    _Entry("*", _C, "revision id", "the same device, and a machine type of the same version"),
    _Entry("*", _C, "pointer to the capabilities", "the same msi=, msix= and vectors= (use_msi,"
           " use_msix): they decide which capabilities there are"),
    _Entry("*", _C, "MSI*", "the same msi=, msix= and number of vectors"),
    _Entry("*", _C, "status*", "the same msi=, msix=: one side has no capabilities"),
    _Entry("*", _C, "*", "the same properties of the device"),
    _Entry("*", _F, "*", "the same device with the same properties, and the same machine type"),
    _Entry("*", _V, "*", "the same device with the same properties"),
)  # fmt: skip


def advice(misfit: Misfit) -> str:
    """What to change on the destination, as far as that is known."""
    for entry in _TABLE:
        fits = entry.kind is misfit.kind and fnmatchcase(misfit.vmsd, entry.vmsd)
        if fits and fnmatchcase(misfit.item, entry.item):
            count = int(misfit.holes.get("read", 0)) + 1
            words = entry.advice.format(item=misfit.item, count=count)
            return f"give the destination's {misfit.device.name[:80]} {words}"
    return "start the destination with the same device, with the same properties"
