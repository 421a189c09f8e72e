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

__all__ = ["board", "claim_board", "keep_defaults"]

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
#: The state of a -netdev user, which QEMU adds where neither a network nor -nodefaults is given.
_BACKEND = "slirp"
#: How many of them are looked at; and cards that boards make for a -nic only.
_NICS_CEILING = 8
_ON_BOARD = ("lan9118", "smc91c111")
_CARDS = frozenset({"e1000", "sungem", "virtio-net"})
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
    keep_defaults(evidence, draft)
    claim_board(evidence, draft)


def claim_board(evidence: Evidence, draft: Draft) -> None:
    """Claim what is on no bus: the board itself brings it, but for a backend of a network card."""
    on_board = (one for one in evidence.sections if "/" not in one[0] and one[0] != _BACKEND)
    draft.claim_all(on_board)
    draft.claim_all((name, 0) for name in _ON_BUSES.get(evidence.machine, ()))


def keep_defaults(evidence: Evidence, draft: Draft) -> None:
    """Leave -nodefaults out where the image has the backend of the network that it switches off.

    A card without that state is made for the -nic that it had.
    What boards make of default devices only (serial ports, an SD card, flash, a SCSI controller) is
    as manifold as boards are.
    """
    backends = evidence.instances(_BACKEND)
    if not backends:
        if any(evidence.has(name) for name in _ON_BOARD):
            draft.board_nic(None, ())
        return
    draft.has_defaults = True
    for _ in backends[:_NICS_CEILING]:
        draft.board_nic(None, backends)
    cards = [one for one in evidence.sections if one[0].rpartition("/")[2] in _CARDS]
    draft.claim_all(cards[: len(backends)])
    draft.doubt("it is taken for a VM with QEMU's default devices: there is no -nodefaults")
