"""A spec made into elements: the stream a QEMU would write, with memory that is made up.

Upstream for the order of things: QEMU migration/savevm.c qemu_savevm_state_setup(), _iterate(),
_complete_precopy(), and migration/ram.c ram_save_setup(), ram_save_complete().
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.container.domain import main_memory
from fixedram_fmt.dialect import DIALECTS, X_IGNORE_SHARED, Dialect
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.multifd.saver import WrittenBitmap
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.libvirt import SaveFormat
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.devicesections import Devices, footer, name_bytes
from fixedram_fmt.write.elements import Element, FixedBlock, Hole, Structure
from fixedram_fmt.write.live import LiveBitmap, LiveMemory, LivePages, SavedBlock
from fixedram_fmt.write.patterns import FileMemory, FilePages, MadeBitmap, MadePages, Memory
from fixedram_fmt.write.placing import keeps_pages_aligned, lay_out, write_pieces
from fixedram_fmt.write.spec import BlockSpec, ImageSpec, SpecError, size_of
from fixedram_fmt.write.wrapping import libvirt_head, stub_domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.multifd.saver import GuestBlock
    from fixedram_fmt.write.faults import Fault
    from fixedram_fmt.write.piece import Piece

__all__ = ["Plan", "elements", "synthesize", "write_image"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Pieces in the order of the file; size cuts it short, where a fault asks for that."""

    pieces: list[Piece]
    size: int | None = None


def synthesize(
    spec: ImageSpec,
    donor: Image | None = None,
    faults: Sequence[Fault] = (),
    guest: Mapping[str, GuestBlock] | None = None,
) -> Plan:
    """The plan of the image that spec describes; donor gives the device sections, if any.

    guest has the memory of blocks that go on changing while they are saved.  Faults break it, one
    after the other.  SpecError and FaultError say what cannot be.
    """
    head = _container(spec)
    start = size_of(spec.offset, "offset")
    if head and start:
        raise SpecError(
            "a libvirt save image has no offset of its own", path="offset", found=str(start)
        )
    align = size_of(spec.align, "align")
    page_size = _page_size(spec)
    if not keeps_pages_aligned(align, page_size):
        raise SpecError(
            "pages must stay aligned to their size",
            path="align",
            expected=f"a multiple of {page_size}",
            found=str(align),
        )
    start = head[-1].stop if head else start
    items = list(elements(spec, donor, guest))
    for fault in faults:
        if len(spec.blocks) < fault.blocks:
            raise SpecError(f"fault {fault.name} needs {fault.blocks} blocks", path="blocks")
        items = fault.break_elements(items, page_size)
    pieces = [*head, *lay_out(items, start=start, align=align)]
    size = None
    for fault in faults:
        pieces, cut = fault.break_pieces(pieces, page_size)
        size = cut if size is None else size
    return Plan(pieces, size)


def write_image(
    spec: ImageSpec,
    output: Output,
    faults: Sequence[Fault] = (),
    guest: Mapping[str, GuestBlock] | None = None,
) -> int:
    """Make the image that spec describes in output; its size in bytes.

    guest has, by name, the memory of blocks that go on changing: they are saved in the spec's
    rounds by its channels, as a live migration does it.  Others are made by their patterns.
    """
    if spec.devices_from is None:
        plan = synthesize(spec, None, faults, guest)
        return write_pieces(plan.pieces, output, plan.size)
    with Image.open(spec.devices_from) as donor:
        plan = synthesize(spec, donor, faults, guest)
        return write_pieces(plan.pieces, output, plan.size)


def elements(
    spec: ImageSpec,
    donor: Image | None = None,
    guest: Mapping[str, GuestBlock] | None = None,
) -> Iterator[Element]:
    """The elements of the stream, in order."""
    dialect = _dialect(spec)
    devices = Devices(spec, donor)
    yield Structure(Kind.FILE_HEADER, "header", _FILE_HEADER)
    yield from _configuration(spec, dialect)
    yield from devices.before
    yield from _section_start(spec, devices.ram_id, guest or {})
    yield from devices.starts
    for part in range(spec.rounds):
        yield from _part(f"section[part{part}]", SectionType.SECTION_PART, devices.ram_id)
        if part == 0:
            yield from devices.parts
    if dialect.switchover_start:
        command = stream.Command(SectionType.COMMAND, MigCmd.SWITCHOVER_START, b"")
        yield Structure(Kind.COMMAND, "command[0]/header", command)
    flush = dialect.flush_at_end and spec.multifd and not spec.multifd_flush_after_each_section
    yield from _part("section[end]", SectionType.SECTION_END, devices.ram_id, flush=flush)
    yield from devices.ends
    yield from devices.full
    yield Structure(Kind.EOF, "eof", stream.Eof(SectionType.EOF))
    if spec.vmdesc:
        yield from devices.vmdesc


_FILE_HEADER = stream.FileHeader(stream.QEMU_VM_FILE_MAGIC, stream.QEMU_VM_FILE_VERSION)


def _dialect(spec: ImageSpec) -> Dialect:
    for dialect in DIALECTS:
        if dialect.name == spec.dialect:
            return dialect
    raise SpecError(
        "unknown dialect",
        path="dialect",
        expected=", ".join(dialect.name for dialect in DIALECTS),
        found=spec.dialect,
    )


def _page_size(spec: ImageSpec) -> int:
    size = size_of(spec.page_size, "page_size")
    low, high = ram.TARGET_PAGE_SIZE_MIN, ram.TARGET_PAGE_SIZE_MAX
    if not ram.is_page_size(size):
        raise SpecError(
            "no target has such pages",
            path="page_size",
            expected=f"a power of two from {low} to {high}",
            found=str(size),
        )
    return size


# -- configuration and container ------------------------------------------------------------------


def _configuration(spec: ImageSpec, dialect: Dialect) -> Iterator[Element]:
    machine = stream.Configuration(
        SectionType.CONFIGURATION, name_bytes(spec.machine, "machine", 4096)
    )
    yield Structure(Kind.CONFIGURATION, "configuration/machine", machine)
    bodies: list[tuple[bytes, list[tuple[Kind, Any]]]] = []
    if spec.target_page_bits:
        bits = stream.TargetPageBits(_page_size(spec).bit_length() - 1)
        bodies.append((b"configuration/target-page-bits", [(Kind.TARGET_PAGE_BITS, bits)]))
    names = _capabilities(spec, dialect)
    listed = [(Kind.CAPABILITY, stream.Capability(name)) for name in names]
    bodies.append(
        (
            b"configuration/capabilities",
            [(Kind.CAPABILITIES, stream.Capabilities(len(names))), *listed],
        )
    )
    if spec.uuid is not None:
        try:
            raw = uuid.UUID(spec.uuid).bytes
        except ValueError as error:
            raise SpecError("no UUID", path="uuid", found=repr(spec.uuid)) from error
        bodies.append((b"configuration/uuid", [(Kind.UUID, stream.Uuid(raw))]))
    for number, (idstr, values) in enumerate(bodies):
        path = f"configuration/subsection[{number}]"
        header = stream.Subsection(SectionType.SUBSECTION, idstr, 1)
        yield Structure(Kind.SUBSECTION, f"{path}/header", header)
        for index, (kind, value) in enumerate(values):
            yield Structure(kind, f"{path}/body[{index}]", value)


def _capabilities(spec: ImageSpec, dialect: Dialect) -> list[bytes]:
    """The capabilities the stream names, x-ignore-shared first as QEMU's enum has them."""
    names = [name_bytes(name, "capabilities") for name in spec.capabilities]
    if any(block.ignored for block in spec.blocks) and X_IGNORE_SHARED not in names:
        names.insert(0, X_IGNORE_SHARED)
    if dialect.capability not in names:
        names.append(dialect.capability)
    return names


def _domain(spec: ImageSpec) -> bytes:
    page_size = _page_size(spec)
    lengths = {
        block.name: _block_size(block, page_size, index) for index, block in enumerate(spec.blocks)
    }
    return stub_domain(spec.machine, main_memory(lengths))


def _container(spec: ImageSpec) -> list[Piece]:
    kinds = ("none", "libvirt")
    if spec.container.kind not in kinds:
        raise SpecError(
            "unknown container",
            path="container.kind",
            expected=" or ".join(kinds),
            found=spec.container.kind,
        )
    if spec.container.kind == "none":
        return []
    return libvirt_head(
        spec.container.xml.encode() if spec.container.xml else _domain(spec),
        SaveFormat.SPARSE,
        byte_order="big" if _host_long(spec).big_endian else "little",
        was_running=spec.container.was_running,
        partial=spec.container.partial,
    )


# -- the ram section ------------------------------------------------------------------------------


def _section_start(
    spec: ImageSpec, section_id: int, guest: Mapping[str, GuestBlock]
) -> Iterator[Element]:
    path = "section[ram]"
    header = stream.SectionHeader(
        SectionType.SECTION_START, section_id, ram.RAM_IDSTR, 0, ram.RAM_VERSION
    )
    yield Structure(Kind.SECTION_START, f"{path}/header", header)
    page_size = _page_size(spec)
    sizes = [_block_size(block, page_size, index) for index, block in enumerate(spec.blocks)]
    word = ram.RamRecord(sum(sizes) | RamSaveFlag.MEM_SIZE)
    yield Structure(Kind.MEM_SIZE, f"{path}/ram/record[0]", word)
    addressed = X_IGNORE_SHARED in _capabilities(spec, _dialect(spec))
    for index, (block, size) in enumerate(zip(spec.blocks, sizes, strict=True)):
        block_path = f"{path}/ram/block[{index}]"
        entry = ram.BlockEntry(name_bytes(block.name, f"blocks[{index}].name"), size)
        yield Structure(Kind.BLOCK, f"{block_path}/entry", entry)
        if addressed:
            address = size_of(block.region_address, f"blocks[{index}].region_address")
            yield Structure(
                Kind.REGION_ADDRESS, f"{block_path}/region_address", ram.RegionAddress(address)
            )
        if block.name in guest and not block.ignored:
            pages = size // page_size
            yield _live_block(spec, guest[block.name], pages, _new_header(spec), block_path)
        else:
            yield _fixed_block(spec, block, index, size, block_path)
    yield Structure(Kind.EOS, f"{path}/ram/eos", _EOS)
    yield footer(path, section_id)


_EOS = ram.RamRecord(int(RamSaveFlag.EOS))


def _block_size(block: BlockSpec, page_size: int, index: int) -> int:
    path = f"blocks[{index}]"
    held = 0
    if block.file is not None:
        with Source.open(block.file) as source:
            held = -(-source.size // page_size) * page_size
    if block.size is None and not held:
        raise SpecError("a block needs a size", path=f"{path}.size")
    size = held if block.size is None else size_of(block.size, f"{path}.size")
    if held > size:
        raise SpecError(
            "the file is longer than the block",
            path=f"{path}.file",
            expected=f"at most {size} bytes",
            found=str(held),
        )
    if size % page_size or not size:
        raise SpecError(
            "a block is whole pages",
            path=f"{path}.size",
            expected=f"a multiple of {page_size}",
            found=str(size),
        )
    if not 0 <= block.density <= 1:
        raise SpecError(
            "out of range", path=f"{path}.density", expected="0 to 1", found=str(block.density)
        )
    return size


def _fixed_block(spec: ImageSpec, block: BlockSpec, index: int, size: int, path: str) -> FixedBlock:
    page_size = _page_size(spec)
    header = _new_header(spec)
    if block.ignored:
        return FixedBlock(path, header, Hole(0), Hole(0), ignored=True)
    if block.file is not None:
        held = FileMemory(block.file, size // page_size, page_size)
        return FixedBlock(path, header, MadeBitmap(held, _host_long(spec)), FilePages(held))
    memory = Memory(
        size // page_size, page_size, block.pattern, block.density, spec.seed, index, block.name
    )
    if spec.rounds > 1:
        return _live_block(spec, LiveMemory(memory), memory.pages, header, path)
    return FixedBlock(path, header, MadeBitmap(memory, _host_long(spec)), MadePages(memory))


def _new_header(spec: ImageSpec) -> ram.MappedRamHeader:
    """A header whose offsets the layout fills in."""
    return ram.MappedRamHeader(ram.MAPPED_RAM_HDR_VERSION, _page_size(spec), 0, 0)


def _live_block(
    spec: ImageSpec, block: GuestBlock, pages: int, header: ram.MappedRamHeader, path: str
) -> FixedBlock:
    """A block that changes while it is saved, in the spec's rounds and by its channels."""
    saved = SavedBlock(block, pages, header.page_size, WrittenBitmap(pages))
    channels = max(1, spec.channels) if spec.multifd else 1
    return FixedBlock(
        path, header, LiveBitmap(saved, _host_long(spec)), LivePages(saved, spec.rounds, channels)
    )


def _host_long(spec: ImageSpec) -> HostLong:
    try:
        return HostLong.from_label(spec.byte_order)
    except KeyError as error:
        raise SpecError(
            "unknown byte order",
            path="byte_order",
            expected=", ".join(order.label for order in HostLong),
            found=spec.byte_order,
        ) from error


def _part(
    path: str, kind: SectionType, section_id: int, *, flush: bool = False
) -> Iterator[Element]:
    leaf = Kind.SECTION_END if kind is SectionType.SECTION_END else Kind.SECTION_PART
    yield Structure(leaf, f"{path}/header", stream.SectionPart(kind, section_id))
    if flush:
        word = ram.RamRecord(int(RamSaveFlag.MULTIFD_FLUSH))
        yield Structure(Kind.MULTIFD_FLUSH, f"{path}/ram/flush", word)
    yield Structure(Kind.EOS, f"{path}/ram/eos", _EOS)
    yield footer(path, section_id)
