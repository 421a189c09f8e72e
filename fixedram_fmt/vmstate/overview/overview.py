"""Everything of the overview in one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.results import Result
from fixedram_fmt.vmstate.overview.clock import clocks, run_state
from fixedram_fmt.vmstate.overview.cpus import Cpu, cpus
from fixedram_fmt.vmstate.overview.fact import Fact
from fixedram_fmt.vmstate.overview.pci import PciDevice, pci_devices
from fixedram_fmt.vmstate.overview.virtio import VirtioDevice, virtio_devices

if TYPE_CHECKING:
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.vmstate.state import MachineState

__all__ = ["Overview", "overview"]


class Overview(Result, frozen=True):
    """What a machine was doing when it was saved, as far as its state says."""

    machine: str | None
    run_state: tuple[Fact, ...]
    clocks: tuple[Fact, ...]
    cpus: tuple[Cpu, ...]
    pci: tuple[PciDevice, ...]
    virtio: tuple[VirtioDevice, ...]


def overview(image: ImageFacts, state: MachineState) -> Overview:
    """Put together what state says; parts that it lacks are empty."""
    return Overview(
        machine=image.machine,
        run_state=tuple(run_state(state)),
        clocks=tuple(clocks(state)),
        cpus=tuple(cpus(state)),
        pci=tuple(pci_devices(state)),
        virtio=tuple(virtio_devices(state)),
    )
