"""A guest as an ELF core: registers in notes, physical memory in segments.

Segments have p_vaddr = p_paddr: gdb reads memory by the first, and there is no other address that
would be right for all of a guest.  Absent pages are holes inside p_filesz, since not every reader
fills up what is missing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.export.architecture import target_of
from fixedram_fmt.export.artifact import Artifact, Part, Span
from fixedram_fmt.export.flat import inside, map_stop, ranges_of
from fixedram_fmt.export.prstatus import byte_order_of, prstatus
from fixedram_fmt.export.qemunote import qemu_note
from fixedram_fmt.guest.vmcoreinfo import find_vmcoreinfo
from fixedram_fmt.schema import elf

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["elf_core"]

_ALIGN = 4096
#: p_align of memory: zero, as in QEMU's own cores. crash takes a core whose segments are aligned
#: for a netdump, whose notes mean something else, and dies (crash, netdump.c, is_netdump()).
_ANY = 0
_FLAGS_RWX = 7
#: More segments have no place in e_phnum; maps have some dozen ranges.
_SEGMENTS_CEILING = 0xFFFE
#: More vCPUs than any machine of QEMU's has.
_CPUS_CEILING = 4096


def elf_core(image: Image, start: int = 0, stop: int | None = None) -> Artifact:
    """An ELF64 core of guest-physical memory [start, stop), with every vCPU's registers.

    Raises FormatError where no block's guest-physical address is known.
    """
    start, stop = inside(start, stop, map_stop(image), "physical memory")
    cpus = [device for device in image.state.devices if device.name == "cpu"]
    architecture, order = target_of(image, cpus)
    ranges = list(ranges_of(image, start, stop))[:_SEGMENTS_CEILING]
    notes = _notes(image, cpus, order)
    at = elf.EHDR[order].size
    notes_at = at + (1 + len(ranges)) * elf.PHDR[order].size
    headers = [elf.Phdr(elf.PT_NOTE, 0, notes_at, 0, 0, len(notes), len(notes), 4)]
    place = notes_at + len(notes)
    parts = []
    for low, high in ranges:
        place = -(-place // _ALIGN) * _ALIGN
        length = high - low
        headers.append(elf.Phdr(elf.PT_LOAD, _FLAGS_RWX, place, low, low, length, length, _ANY))
        parts.append(Part(place, Span(image.physical_memory, low, high)))
        place += length
    head = _ehdr(architecture, order, len(headers))
    table = b"".join(elf.PHDR[order].build(header) for header in headers)
    return Artifact(image.source, [Part(0, head + table + notes), *parts], place)


def _ehdr(architecture: str, order: str, segments: int) -> bytes:
    data = elf.ELFDATA2LSB if order == "little" else elf.ELFDATA2MSB
    ident = b"\x7fELF" + bytes([elf.ELFCLASS64, data, elf.EV_CURRENT]) + bytes(9)
    schema = elf.EHDR[order]
    return schema.build(
        elf.Ehdr(
            ident,
            elf.ET_CORE,
            elf.EM[architecture],
            elf.EV_CURRENT,
            0,
            schema.size,
            0,
            0,
            schema.size,
            elf.PHDR[order].size,
            segments,
            0,
            0,
            0,
        )
    )


def _notes(image: Image, cpus: list[DeviceState], order: str) -> bytes:
    """NT_PRSTATUS of each vCPU that has registers; QEMU's notes and VMCOREINFO for a Linux guest.

    Without VMCOREINFO there are none of QEMU's: drgn refuses a core that has only those.
    """
    notes = own = b""
    for number, cpu in enumerate(cpus[:_CPUS_CEILING]):
        try:
            registers, state = prstatus(cpu, number), qemu_note(cpu)
        except FixedRamError:
            continue
        if registers is not None and byte_order_of(cpu) == order:
            notes += _note(b"CORE\0", elf.NT_PRSTATUS, registers, order)
        if state is not None:
            own += _note(b"QEMU\0", 0, state, order)
    info = find_vmcoreinfo(image, order)
    if info is None:
        return notes
    return notes + own + _note(b"VMCOREINFO\0", 0, info, order)


def _note(name: bytes, kind: int, content: bytes, order: str) -> bytes:
    header = elf.NHDR[order].build(elf.Nhdr(len(name), len(content), kind))
    return header + _padded(name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
