"""Notes of ELF cores, read in the plainest way."""

from __future__ import annotations

import struct

_NT_PRSTATUS = 1


def prstatuses(core: bytes) -> list[bytes]:
    """The descriptors of all NT_PRSTATUS notes of an ELF64 core."""
    order = "<" if core[5] == 1 else ">"
    phoff = struct.unpack_from(f"{order}Q", core, 32)[0]
    phnum = struct.unpack_from(f"{order}H", core, 56)[0]
    found = []
    for number in range(phnum):
        at = phoff + 56 * number
        kind, _, offset, _, _, size = struct.unpack_from(f"{order}IIQQQQ", core, at)
        stop = offset + size
        while kind == 4 and offset < stop:
            namesz, descsz, type_ = struct.unpack_from(f"{order}III", core, offset)
            start = offset + 12 + -(-namesz // 4) * 4
            if type_ == _NT_PRSTATUS:
                found.append(core[start : start + descsz])
            offset = start + -(-descsz // 4) * 4
    return found
