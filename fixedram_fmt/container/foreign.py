"""Files of other programs that hold a guest or its memory, by their first bytes: what reads them.

Sources: ELF gABI; makedumpfile IMPLEMENTATION (diskdump and flattened headers); volatility3's
vmware and lime layers; AVML's src/format; VirtualBox SSM.cpp; Microsoft's dump headers.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Foreign", "foreign_file"]

_ELF = b"\x7fELF"
_ELF_TYPE = slice(16, 18)
_ELF_BIG_ENDIAN = 2
_ET_CORE = 4


class Foreign(NamedTuple):
    """What a file is, and what reads it; in one that holds_bytes_of_others a search misleads."""

    what: str
    advice: str
    holds_bytes_of_others: bool = False


_CORE = Foreign(
    "an ELF core, as dump-guest-memory and `virsh dump --memory-only` write it",
    "crash, drgn, gdb and volatility3 read it",
)
_PROGRAM = Foreign("an ELF file that is no core: a program or a kernel", "give the save itself")
_KDUMP = Foreign(
    "a compressed kernel dump (kdump)", "crash and drgn read it, makedumpfile converts it"
)

#: By the first bytes; none is the beginning of another.
_MAGICS: dict[bytes, Foreign] = {
    b"KDUMP   ": _KDUMP,
    b"DISKDUMP": _KDUMP,
    b"makedumpfile\0": Foreign(
        "a flattened kernel dump (kdump)", "`makedumpfile -R OUT < FILE` makes one that crash reads"
    ),
    **dict.fromkeys(
        (bytes([number, 0xBE, 0xD2, 0xBE]) for number in range(0xD0, 0xD4)),
        Foreign(
            "a VMware suspended state or snapshot (vmss, vmsn)",
            "volatility3 reads it together with its vmem file",
        ),
    ),
    b"KDMV": Foreign("a VMware disk image (vmdk)", "qemu-img reads it", holds_bytes_of_others=True),
    b"EMiL": Foreign("memory in LiME's format", "volatility3 reads it"),
    b"AVML": Foreign("memory as AVML writes it", "`avml-convert` makes LiME of it"),
    b"PAGEDU64": Foreign("a Windows crash dump", "WinDbg and volatility3 read it"),
    b"PAGEDUMP": Foreign("a Windows crash dump", "WinDbg and volatility3 read it"),
    b"\x7fVirtualBox SavedState": Foreign(
        "a saved state of VirtualBox", "VirtualBox of the same version restores it"
    ),
}


def foreign_file(head: bytes) -> Foreign | None:
    """What a file is that begins with head (32 bytes are enough); None: nothing known here."""
    if head.startswith(_ELF):
        big = len(head) > 5 and head[5] == _ELF_BIG_ENDIAN
        kind = int.from_bytes(head[_ELF_TYPE], "big" if big else "little")
        return _CORE if kind == _ET_CORE else _PROGRAM
    return next((known for magic, known in _MAGICS.items() if head.startswith(magic)), None)
