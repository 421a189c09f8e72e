"""Firmware of x86 machines: pc.bios or flash chips, whose blocks have to be as long.

Upstream: QEMU hw/i386/x86-common.c x86_bios_rom_init(), hw/i386/pc_sysfw.c pc_system_flash_map().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import option
from fixedram_fmt.memory.ranges import KIB
from fixedram_fmt.memory.x86map import I440FX, Q35

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence
    from fixedram_fmt.memory.x86map import Kind

__all__ = ["add_firmware"]

_BIOS = "pc.bios"
#: Firmware that comes with QEMU by length; what a machine takes without -bios is not named.
_FILES = {128 * KIB: "bios.bin", 256 * KIB: "bios-256k.bin"}
_USUAL, _USUAL_SMALL = 256 * KIB, 128 * KIB
_CHIPS = (("system.flash0", "pflash0"), ("system.flash1", "pflash1"))


def add_firmware(evidence: Evidence, draft: Draft, kind: Kind) -> None:
    """-bios where it is another than the machine's own, or the chips, whose content the image has.

    The flash chips' sections are claimed.
    """
    chips = [(name, chip) for name, chip in _CHIPS if evidence.length(name)]
    for number, (name, chip) in enumerate(chips):
        node: dict[str, str | int] = {"driver": "null-co", "node-name": chip}
        node |= {"size": evidence.length(name) or 0, "read-zeroes": "on"}
        draft.others.append(("-blockdev", option("", node)))
        draft.machine[chip] = chip
        draft.claim("pflash_cfi01", number)
        draft.doubt(f"{chip} is empty until the image is loaded: put the firmware's file there")
    length = evidence.length(_BIOS)
    usual = _USUAL if kind in (I440FX, Q35) else _USUAL_SMALL
    if chips or length is None or length == usual:
        return
    if length in _FILES:
        draft.others.append(("-bios", _FILES[length]))
    else:
        draft.firmware = length
