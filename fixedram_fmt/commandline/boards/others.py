"""Boards that have all parts by themselves: the type of the machine is nearly all there is to give.

Upstream: MachineClass.default_ram_id of QEMU 10.0, as query-machines tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.boards.parts import give_cpus
from fixedram_fmt.commandline.memory import size_text

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["board", "claim_board"]

#: Blocks whose length is that of -m.
_MAIN = frozenset({
    "DDR", "an5206.ram", "bpim2u.ram", "cubieboard.ram", "ddr", "ddr-ram", "highbank.dram",
    "imx25.ram", "imx8mp-evk.ram", "integrator.ram", "kzm.ram", "mcf5208.ram",
    "mcimx6ul-evk.ram", "mcimx7d-sabre.ram", "microchip.icicle.kit.ram", "mpc8544ds.ram",
    "mps.ram", "musicpal.ram", "next.ram", "omap1.dram", "openrisc.ram", "orangepi.ram",
    "pegasos2.ram", "pnv.ram", "ppc4xx.sdram", "ram", "riscv.shakti.c.ram",
    "riscv.sifive.e.ram", "riscv.sifive.u.ram", "riscv.spike.ram", "sabrelite.ram",
    "strongarm.sdram", "versatile.ram", "vexpress.highmem", "zynq.ext_ram",
})  # fmt: skip
#: Machines with sound, which start without default devices only where its backend is named.
_WITH_SOUND = frozenset({
    "integratorcp", "musicpal", "pegasos2", "realview-eb", "realview-eb-mpcore",
    "realview-pb-a8", "realview-pbx-a9", "versatileab", "versatilepb", "vexpress-a15",
    "vexpress-a9", "xlnx-zcu102",
})  # fmt: skip
#: The same, without a property of the machine.
_AMIGA = "amigaone"
#: What a board has by itself on a bus of PCI or USB.
_ON_BUSES = {"sam460ex": ("1/usb-kbd", "2/usb-ptr", "pci.0:06.0/sm501")}


def board(evidence: Evidence, draft: Draft) -> None:
    """A machine of which nothing but its type, memory and number of CPUs is given."""
    main = next((name for name in evidence.blocks if name in _MAIN), None)
    if main is not None:
        draft.memory = size_text(evidence.length(main) or 0)
    give_cpus(evidence, draft)
    if evidence.machine in _WITH_SOUND:
        draft.machine["audiodev"] = draft.audiodev()
    if evidence.machine == _AMIGA:
        draft.set_global("via-ac97", "audiodev", draft.audiodev())
    claim_board(evidence, draft)


def claim_board(evidence: Evidence, draft: Draft) -> None:
    """Claim what is on no bus: the board itself brings it."""
    draft.claim_all(section for section in evidence.sections if "/" not in section[0])
    draft.claim_all((name, 0) for name in _ON_BUSES.get(evidence.machine, ()))
