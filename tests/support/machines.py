"""Images of x86 machines, made in memory: blocks, and sections with the start of their bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.builders import Block, StreamBuilder, open_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt import Image

__all__ = ["OF_PC", "machine", "pci_body", "values_of"]

#: Sections by which a pc has all that it has as a rule.
OF_PC = (
    "0000:00:00.0/I440FX", "0000:00:01.0/PIIX3", "0000:00:01.3/piix4_pm", "hpet", "i8254", "i8259",
    "pckbd", "vmmouse", "apic", "cpu", "cpu_common", "fdc",
)  # fmt: skip
_CONFIG, _PINS, _PAGE = 256, 16, 4096


def machine(
    *devices: str | tuple[str, bytes],
    blocks: Sequence[str | tuple[str, int]] = ("pc.ram",),
    name: bytes = b"pc-i440fx-10.0",
    usual: bool = True,
) -> Image:
    """A machine with sections (and the usual ones before them), each a name or a name and a body.

    Blocks are of one page where no pages are given.
    """
    sized = [(one, 1) if isinstance(one, str) else one for one in blocks]
    memory = [Block(block.encode(), bytes(pages * _PAGE)) for block, pages in sized]
    builder = StreamBuilder(page_size=_PAGE, align=_PAGE).header().configuration(name)
    builder.mapped_ram(*memory)
    seen: dict[str, int] = {}
    for number, one in enumerate((*(OF_PC if usual else ()), *devices)):
        section, body = (one, b"") if isinstance(one, str) else one
        instance = seen[section] = seen.get(section, -1) + 1
        builder.full(number + 3, section.encode(), body or bytes(4), instance_id=instance)
    return open_bytes(builder.eof().file())


def pci_body(
    vendor: int,
    device: int,
    *capabilities: bytes,
    class_code: int = 0,
    revision: int = 0,
    header_type: int = 0,
    more: bytes = b"",
) -> bytes:
    """What the body of a PCI device's section begins with; capabilities without their two bytes.

    The first byte of each is its number; the next one's place is put after it.
    """
    space = bytearray(_CONFIG)
    space[0:4] = vendor.to_bytes(2, "little") + device.to_bytes(2, "little")
    space[8], space[0x0E] = revision, header_type
    space[0x0A:0x0C] = class_code.to_bytes(2, "little")
    at, link = 0x40, 0x34
    for capability in capabilities:
        space[link], link = at, at + 1
        space[at], space[at + 2 : at + 1 + len(capability)] = capability[0], capability[1:]
        at += -(-(len(capability) + 1) // 4) * 4
    return b"\0\0\0\2" + bytes(space) + bytes(_PINS) + more


def values_of(argv: Sequence[str], option: str) -> list[str]:
    """The values of an option on a command line."""
    return [value for word, value in zip(argv, argv[1:], strict=False) if word == option]
