"""s390x: `s390-ccw-virtio`, and what is on its channel subsystem.

Upstream: QEMU hw/s390x/s390-virtio-ccw.c ccw_init(), hw/s390x/ccw-device.c.
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
from fixedram_fmt.commandline.boards.virtioccw import give_ccw

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["ccw"]

_BY_CCW = (
    "cpu", "ipl", "qemu-s390-flic", "s390-skeys", "s390-storage_attributes", "s390_css",
    "sclpcpuhotplug", "sclpquiesce", "todclock", "vmstate-event-facility", "PCIHost", "PCIBUS",
)  # fmt: skip
#: Consoles of the service element, by their sections.
_CONSOLES = ("sclpconsole", "sclplmconsole")
_WATCHDOG = "vmstate_diag288"


def ccw(evidence: Evidence, draft: Draft) -> None:
    """-machine s390-ccw-virtio, consoles and channel devices."""
    draft.program = "qemu-system-s390x"
    draft.pci_root = "pci.0"
    parts = cpu_subsections(evidence)
    if parts is not None and "vregs" not in parts:
        draft.cpu = "qemu,vx=off"
    unknown_cpu(draft, draft.cpu or "the default")
    give_cpus(evidence, draft)
    give_memory(evidence, draft, "s390.ram")
    for name in _CONSOLES:
        for instance in evidence.instances(name):
            draft.device(name, {"chardev": draft.chardev()})
            draft.claim(name, instance)
    if evidence.has(_WATCHDOG):
        draft.device("diag288", {})
        draft.claim(_WATCHDOG)
    give_ccw(evidence, draft)
    claim_names(evidence, draft, _BY_CCW)
