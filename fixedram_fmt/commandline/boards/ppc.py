"""PowerPC: `pseries`, `powernv`, and the Macs.

Upstream: QEMU hw/ppc/spapr.c spapr_machine_init(), hw/ppc/spapr_caps.c, hw/ppc/spapr_vio.c
spapr_vio_get_dev_name(), hw/ppc/mac_newworld.c, target/ppc/machine.c vmstate_ppc_cpu.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.others import claim_board, keep_defaults
from fixedram_fmt.commandline.boards.parts import (
    bits_of_cpu,
    claim_names,
    give_cpus,
    give_memory,
    unknown_cpu,
)
from fixedram_fmt.commandline.boards.ppccpus import model_of, shared_by_others

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["mac", "powernv", "pseries"]

#: vmstate_ppc_cpu of 64 bits: an unused word, 32 gpr, 8 crf, nip, then spr.
_RAW_PVR = 8 + 32 * 8 + 8 * 4 + 8 + 287 * 8
#: Root buses: PCI alone, or AGP, PCI and an internal one.
_MAC_BUSES = ("pci.0", "pci.1", "pci.2")
#: SPAPR_PCI_BASE_BUID ends with the index of the bridge.
_INDEX = 0xFFFF
_PVR = 287  # SPR_PVR
_BY_PSERIES = (
    "cpu", "ics", "icp/server", "spapr", "spapr-xive", "spapr/htab", "spapr/rtc", "spapr_cpu",
    "spapr_iommu", "spapr_pci", "xive-source", "xive-tctx", "PCIBUS",
    "nvram@71000000/spapr_nvram",
)  # fmt: skip
_VIO = re.compile(r"(vty|l-lan|v-scsi)@([0-9a-f]{1,8})/spapr_[a-z]+")
_VIO_DRIVERS = {"vty": "spapr-vty", "l-lan": "spapr-vlan", "v-scsi": "spapr-vscsi"}
#: Values of a capability by its number, in spapr_caps.c capability_table.
_SWITCH = ("off", "on")
_WORKAROUND = ("broken", "workaround", "fixed")
_BRANCHES = ("broken", "workaround", "fixed-ibs", "fixed-ccd", "fixed-na")
_CAPS = {
    "htm": _SWITCH, "vsx": _SWITCH, "dfp": _SWITCH, "cfpc": _WORKAROUND, "sbbc": _WORKAROUND,
    "ibs": _BRANCHES, "nested-hv": _SWITCH, "large-decr": _SWITCH, "ccf-assist": _SWITCH,
    "fwnmi": _SWITCH, "rpt-invalidate": _SWITCH, "ail-mode-3": _SWITCH,
    "nested-papr": _SWITCH, "dawr1": _SWITCH,
}  # fmt: skip
_CAP = "spapr/cap/"
#: A capability whose value is a power of two.
_PAGE_SIZE = "hpt_maxpagesize"
#: Capabilities whose subsection has another name than their property.
_OTHER_NAMES = {"nested_kvm_hv": "nested-hv"}
#: CPU_POWERPC_LOGICAL_* as max-cpu-compat= calls them.
_COMPAT = {
    0x0F000003: "power7", 0x0F100003: "power7", 0x0F000004: "power8", 0x0F000005: "power9",
    0x0F000006: "power10", 0x0F000007: "power11",
}  # fmt: skip
#: Entries of the table of event queues for each vCPU: spapr_xive_cpu_to_endt_idx().
_QUEUES_PER_CPU = 8


def pseries(evidence: Evidence, draft: Draft) -> None:
    """-machine pseries: what was not given as it is by default, and devices of the virtual I/O."""
    draft.program = "qemu-system-ppc64"
    _cpu(evidence, draft)
    give_cpus(evidence, draft, _most_cpus(evidence))
    give_memory(evidence, draft, "ppc_spapr.ram")
    _interrupts(evidence, draft)
    _capabilities(evidence, draft)
    _compatible(evidence, draft)
    _host_bridges(evidence, draft)
    for name, instance in evidence.sections:
        match = _VIO.fullmatch(name)
        if match:
            chardev = draft.chardev() if match[1] == "vty" else None
            place = {"chardev": chardev, "reg": f"0x{match[2]}"}
            device_id = draft.new_id("vio")
            draft.device(_VIO_DRIVERS[match[1]], {"id": device_id, **place})
            draft.claim(name, instance)
            if match[1] == "v-scsi":
                draft.scsi_buses[name.partition("/")[0]] = f"{device_id}.0"
    claim_names(evidence, draft, _BY_PSERIES)


def _cpu(evidence: Evidence, draft: Draft) -> None:
    first = next(iter(evidence.instances("cpu")), 0)
    pvr = evidence.number("cpu", f"env.spr[{_PVR}]", first)
    if pvr is None and not evidence.described("cpu", first):
        pvr = _raw_pvr(evidence, first)
    model = model_of(pvr) if pvr is not None else None
    if pvr is None or model is None:
        unknown_cpu(draft, "the default")
        return
    draft.cpu = model
    if shared_by_others(pvr):
        draft.doubt(f"several models have the PVR {pvr:#010x}: -cpu {model} is one of them")


def _raw_pvr(evidence: Evidence, instance: int) -> int | None:
    """The PVR where it is in the state of a 64-bit vCPU that nothing describes."""
    body = evidence.body("cpu", _RAW_PVR + 8, instance)
    return int.from_bytes(body[_RAW_PVR:], "big") if len(body) == _RAW_PVR + 8 else None


def _most_cpus(evidence: Evidence) -> int | None:
    """maxcpus=: XIVE has so many event queues for each vCPU that there may be."""
    queues = evidence.get("spapr-xive", "endt")
    return len(queues) // _QUEUES_PER_CPU if isinstance(queues, list) else None


def _interrupts(evidence: Evidence, draft: Draft) -> None:
    xics, xive = evidence.has("ics"), evidence.has("spapr-xive")
    if xics or xive:
        draft.machine["ic-mode"] = "dual" if xics and xive else "xive" if xive else "xics"


def _capabilities(evidence: Evidence, draft: Draft) -> None:
    """Only those that are no default of machine and CPU are in the image: spapr_cap_##_needed()."""
    for part in sorted(evidence.subsections("spapr")):
        if not part.startswith(_CAP):
            continue
        name = part.removeprefix(_CAP)
        value = _value_of(evidence, part)
        known = _OTHER_NAMES.get(name, name.replace("_", "-"))
        words = _CAPS.get(known, ())
        if name == _PAGE_SIZE and value is not None and value < 64:
            draft.machine["cap-hpt-max-page-size"] = str(1 << value)
        elif value is not None and value < len(words):
            draft.machine[f"cap-{known}"] = words[value]
        else:
            draft.doubt(f"the value of {part[:60]!r} is none that is known here")


def _value_of(evidence: Evidence, part: str) -> int | None:
    """The one number of a capability's subsection, whose name has the capability's number."""
    fields = evidence.get("spapr", part)
    values = [*fields.values()] if isinstance(fields, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], int) else None


def _compatible(evidence: Evidence, draft: Draft) -> None:
    """max-cpu-compat=, where the firmware has not yet chosen with the guest (CAS)."""
    first = next(iter(evidence.instances("cpu")), 0)
    pvr = evidence.number("cpu", "cpu/compat/compat_pvr", first)
    name = _COMPAT.get(pvr or 0)
    if name is None:
        return
    draft.machine["max-cpu-compat"] = name
    draft.doubt(
        f"the CPU is in the mode of {name}: that the guest may have no more"
        f" (max-cpu-compat={name}) is a guess"
    )


def _host_bridges(evidence: Evidence, draft: Draft) -> None:
    """PCI host bridges beside the first, by the index that their BUID ends with."""
    for instance in evidence.instances("spapr_pci"):
        unit = evidence.number("spapr_pci", "buid", instance) or 0
        index = unit & _INDEX
        draft.pci_buses[f"pci@{unit:x}"] = f"pci.{index}"
        if index:
            draft.device("spapr-pci-host-bridge", {"index": index, "id": f"pci.{index}"})


def powernv(evidence: Evidence, draft: Draft) -> None:
    """-machine powernv*, which has all parts by itself."""
    draft.program = "qemu-system-ppc64"
    give_cpus(evidence, draft)
    give_memory(evidence, draft, "pnv.ram")
    keep_defaults(evidence, draft)
    claim_board(evidence, draft)


def mac(evidence: Evidence, draft: Draft) -> None:
    """-machine g3beige and mac99."""
    bits = bits_of_cpu(evidence, "env.nip")
    draft.program = "qemu-system-ppc64" if bits == 64 else "qemu-system-ppc"
    is_old = evidence.machine == "g3beige"
    draft.pci_buses.update({one: one for one in _MAC_BUSES})
    _cpu(evidence, draft)
    give_cpus(evidence, draft)
    give_memory(evidence, draft, "ppc_heathrow.ram" if is_old else "ppc_core99.ram")
    if evidence.has("pmu") and not is_old:
        draft.machine["via"] = "pmu-adb" if evidence.has("adb_bus") else "pmu"
    claim_board(evidence, draft)
    draft.claim_all(one for one in evidence.sections if "/macio-" in one[0])
