"""The kernel's VMCOREINFO: found in guest memory, where Linux keeps it as an ELF note.

Upstream: Linux kernel/vmcore_info.c (vmcoreinfo_note, one page of its own); QEMU
hw/misc/vmcoreinfo.c, whose device tells where the guest has put it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema import elf
from fixedram_fmt.vmstate.overview.fact import fact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from fixedram_fmt.image import Image

__all__ = ["VmCoreInfo", "find_vmcoreinfo"]

_NAME = b"VMCOREINFO\0"
_HEADER = elf.NHDR["little"].size
_PAGE = 4096
_STEP = 1 << 20
_CEILING = 1 << 16
#: A number of 64 bits has no more of them.
_DIGITS = 24
#: What every kernel writes first.
_MARK = b"OSRELEASE="


@dataclass(frozen=True, slots=True)
class VmCoreInfo:
    """The lines of a kernel's VMCOREINFO, by what stands before the `=`; of a key the last counts.

    Upstream: Linux kernel/vmcore_info.c; include/linux/vmcore_info.h VMCOREINFO_SYMBOL() etc.
    """

    values: dict[str, str]

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Any text; what is no line of the kind is left out."""
        lines = text.decode("utf-8", "backslashreplace").split("\n")
        pairs = (line.partition("=") for line in lines if "=" in line)
        return cls({key.strip(): value.strip("\0 \r") for key, _, value in pairs})

    def text(self, key: str) -> str | None:
        """The value of a key, None where there is none or nothing in it."""
        return self.values.get(key) or None

    def hexadecimal(self, key: str) -> int | None:
        """A value that the kernel writes with %lx: KERNELOFFSET, SYMBOL(...)."""
        return self._number(key, 16)

    def symbol(self, name: str) -> int | None:
        """The virtual address of a symbol of the kernel."""
        return self._number(f"SYMBOL({name})", 16)

    def number(self, name: str) -> int | None:
        """NUMBER(name), which is decimal, or hexadecimal with 0x."""
        return self._number(f"NUMBER({name})", 0)

    def size(self, name: str) -> int | None:
        """SIZE(name), in bytes."""
        return self._number(f"SIZE({name})", 10)

    def offset(self, name: str) -> int | None:
        """OFFSET(structure.member), in bytes."""
        return self._number(f"OFFSET({name})", 10)

    def _number(self, key: str, base: int) -> int | None:
        value = self.values.get(key, "")
        if len(value) > _DIGITS:
            return None
        try:
            return int(value, base) % (1 << 64)
        except ValueError:
            return None


def find_vmcoreinfo(image: Image, order: str) -> bytes | None:
    """The text of VMCOREINFO; None if memory has none that can be read.

    All present memory is looked through, but only at the beginning of pages.
    """
    memory = image.physical_memory
    try:
        for address in _told(image), *_searched(image):
            if address is None:
                continue
            found = _text(memory.read(address, min(_CEILING, memory.size - address)), order)
            if found is not None:
                return found
    except FixedRamError:
        return None
    return None


def _told(image: Image) -> int | None:
    """The address that the guest has told QEMU (fw_cfg etc/vmcoreinfo)."""
    found = fact(image.state.device("vmcoreinfo"), "address", "vmcoreinfo.paddr")
    address = int(found.value) if found else 0
    return address if 0 < address < image.physical_memory.size else None


def _searched(image: Image) -> Iterator[int]:
    """Addresses of pages that begin with a note of that name."""
    import numpy as np

    memory, source = image.physical_memory, image.source
    mark = np.frombuffer(_NAME[:4], "<u4")[0]
    for run in memory.runs():
        # The kernel's note has a page of its own: nothing else is looked at.
        first = -run.address % _PAGE
        for start in range(first, run.length - _PAGE + 1, _STEP):
            length = min(_STEP, (run.length - start) // _PAGE * _PAGE)
            if run.file_offset is None:
                window = memory.read(run.address + start, length)
            else:
                window = source.read_exact(run.file_offset + start, length)
            words = np.frombuffer(window, "<u4")[_HEADER // 4 :: _PAGE // 4]
            for page in np.flatnonzero(words == mark):
                yield run.address + start + int(page) * _PAGE


def _text(raw: bytes, order: str) -> bytes | None:
    """What a note says, if it is one of the kernel's."""
    header, length = elf.NHDR[order].parse(raw)
    start = length + -(-len(_NAME) // 4) * 4
    text = raw[start : start + header.descsz]
    named = raw[length : length + len(_NAME)] == _NAME
    if not named or header.type or len(text) < header.descsz or _MARK not in text:
        return None
    return text
