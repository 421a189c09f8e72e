"""The list of CPUs that can be plugged in, which is sent once a guest has asked for it.

Its length is not in the stream.  A receiver's own save from before its guest asked has no such
list, but tells how many CPUs there are, and the list is never shorter.

Upstream: hw/acpi/cpu.c vmstate_cpu_hotplug; hw/acpi/piix4.c vmstate_cpuhp_state, hw/acpi/ich9.c
vmstate_cpuhp_state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.receiver import wire
from fixedram_fmt.receiver.misfit import Kind, Misfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["list_misfits"]

_ENDING = "/cpuhp"


def list_misfits(device: DeviceState, own: Structure | None, cpus: int) -> Iterator[Misfit]:
    """A list shorter than the receiver's, which has so many CPUs, reads on into the footer."""
    if device.structure is None or own is None:
        return
    known = {one.path for one in wire.subsections(own)}
    for one in wire.subsections(device.structure):
        if not one.path.endswith(_ENDING) or one.path in known:
            continue
        length = _length(one.structure)
        if 0 < length < cpus:
            yield Misfit(
                Kind.FIELDS, device, device.size, f"{one.path}/devs",
                "field 'devs' has another length", f"{length} CPUs", f"{cpus} CPUs or more",
                "footer", item="devs",
            )  # fmt: skip


def _length(structure: Structure) -> int:
    """CPUs that are listed."""
    lists = (nested for nested in structure.nested if nested is not None)
    counts = (field.count for nested in lists for field in nested.fields if field.name == "devs")
    return next(counts, 0)
