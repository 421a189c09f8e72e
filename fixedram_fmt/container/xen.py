"""What Xen saves of a domain (`xl save`, libvirt's libxl driver): QEMU's device state in it.

The domain's memory is in Xen's own records, and not read.  QEMU's part is what
xen-save-devices-state writes: a stream without RAM.  Upstream: Xen tools/xl/xl_saverestore.c,
docs/specs/libxl-migration-stream.pandoc; QEMU migration/savevm.c qemu_save_device_state().
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from fixedram_fmt.container.bare import stream_at
from fixedram_fmt.container.described import XenSummary
from fixedram_fmt.container.wrapper import Part, Place, Recognized
from fixedram_fmt.container.xenrecords import XenPart, xen_parts
from fixedram_fmt.errors import FixedRamError, FormatError, UnsupportedError
from fixedram_fmt.io.translated import Run, TranslatedSource
from fixedram_fmt.schema import xen
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from fixedram_fmt.container.wrapper import Wrapper
    from fixedram_fmt.io.unpacking import UnpackBudget

__all__ = ["XenSave", "xen_tiles"]

_RESTORED_BY = "`xl restore` restores it"
_NAME = re.compile(rb'"name"\s*:\s*"([^"\\]{1,255})"|<name>([^<]{1,255})</name>')
_LIBVIRT_VERSIONS = (1, 2)
_LOOK = 1 << 16


class _Head(NamedTuple):
    """What precedes the stream of libxl: `xl`, `libvirt` or `libxl`, and where that begins."""

    writer: str
    value: Any
    stream: int
    config: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class XenSave(Recognized):
    """A save, and the emulator's record in it; what Xen knows of the domain, where that is told.

    memory is how many bytes of the file are records of libxc.
    """

    writer: str
    name: str | None
    domain: xen.DomainHeader | None
    memory: int
    emulator: xen.EmulatorHeader

    kind: ClassVar[str] = "xen"
    holds_stream: ClassVar[bool] = True
    holds_more: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """By the magic of xl, of libvirt's libxl driver, or of libxl itself."""
        return head.startswith((xen.XL_MAGIC, xen.LIBVIRT_MAGIC, xen.LIBXL_MAGIC))

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Self:
        """Walk the records to the last that QEMU wrote; raises UnsupportedError for none."""
        del budget
        head = _head(place)
        domain, context, memory = None, None, 0
        for part in xen_parts(place.source, head.stream):
            memory += part.length if part.of_libxc else 0
            domain = part.value if part.name == "domain_header" else domain
            context = part if part.name == "EMULATOR_CONTEXT" else context
        if context is None:
            raise UnsupportedError(
                "this is a save of Xen without a state of QEMU in it", offset=head.stream,
                path="libxl", hint=f"{_RESTORED_BY}; its memory is in Xen's own format",
            )  # fmt: skip
        emulator, inner = _emulator(place, context)
        return cls(
            outer=place,
            inner=inner,
            byte_order=context.byte_order,
            writer=head.writer,
            name=_name(place, head),
            domain=domain,
            memory=memory,
            emulator=emulator,
        )

    def takes(self, inner: type[Wrapper], between: Sequence[Wrapper]) -> bool:
        """The stream alone."""
        return False

    @classmethod
    def tiles(cls, place: Place) -> Iterator[Part]:
        """Headers and records of Xen."""
        return xen_tiles(place)

    def describe(self) -> dict[str, Any]:
        """Who wrote it, the domain and the emulator."""
        domain = self.domain
        summary = XenSummary(
            writer=self.writer,
            byte_order=str(self.byte_order),
            name=self.name,
            domain_type=_named(xen.DomainType, domain.type) if domain else None,
            xen_version=f"{domain.xen_major}.{domain.xen_minor}" if domain else None,
            emulator=_named(xen.Emulator, self.emulator.emulator_id),
            memory_bytes=self.memory,
        )
        return {"xen": summary}


def xen_tiles(place: Place) -> Iterator[Part]:
    """Leaves that tile a save from place on, PAGE_DATA records in a row as one; then what is left.

    They end where the stream of libxl cannot be read on.
    """
    source, head = place.source, _head(place)
    if head.stream > place.offset:
        kind, fixed = f"{head.writer}_header", head.config or head.stream
        path = f"xen/{kind}"
        yield Part("container", path, place.offset, fixed - place.offset, head.value)
        if head.stream > fixed:
            yield Part("container", "xen/config", fixed, head.stream - fixed, note="the domain's")
    position, problem = head.stream, "after the stream"
    try:
        for part in _rows(xen_parts(source, head.stream)):
            yield part
            position = part.offset + part.length
    except FixedRamError as error:
        problem = error.message
    if position < source.size:
        yield Part("unparsed", "xen/rest", position, source.size - position, note=problem)


def _rows(parts: Iterator[XenPart]) -> Iterator[Part]:
    """Parts of libxl and libxc as leaves; records of one name in a row are one."""
    row: list[XenPart] = []
    records, number = 0, 0
    for part in parts:
        if row and (part.name != "PAGE_DATA" or not row[0].of_libxc or row[0].name != "PAGE_DATA"):
            yield _leaf(row[0], row[-1], records, number)
            number, row, records = number + 1, [], 0
        row = [row[0] if row else part, part]
        records += 1
    if row:
        yield _leaf(row[0], row[-1], records, number)


def _leaf(first: XenPart, last: XenPart, records: int, number: int) -> Part:
    owner = "libxc" if first.of_libxc else "libxl"
    path = f"xen/{owner}/{first.name.lower()}[{number}]"
    length = last.offset + last.length - first.offset
    if records > 1:
        note = f"{records} records: memory of the domain in Xen's own format"
        return Part("container", path, first.offset, length, note=note)
    return Part("container", path, first.offset, length, first.value)


def _named(names: Any, number: int) -> str:
    try:
        return str(names(number).name.lower())
    except ValueError:
        return f"{number:#x}"


def _head(place: Place) -> _Head:
    source, offset = place.source, place.offset
    magic = source.read_upto(offset, len(xen.XL_MAGIC))
    if magic.startswith(xen.LIBXL_MAGIC):
        return _Head("libxl", None, offset)
    if magic.startswith(xen.LIBVIRT_MAGIC):
        return _libvirt_head(place)
    for schema in xen.XL_HEADER.values():
        header, length = schema.parse(
            source.read_upto(offset, schema.size), offset=offset, path="xen/xl_header"
        )
        if header.byteorder == xen.BYTE_ORDER_MARK:
            break
    else:
        raise FormatError(
            "the header of this save of Xen's xl has no byte order", code="xen",
            offset=offset + 32, path="xen/xl_header/byteorder",
            expected=f"{xen.BYTE_ORDER_MARK:#x} in either order", found=f"{header.byteorder:#x}",
            hint=_RESTORED_BY,
        )  # fmt: skip
    if not header.mandatory_flags & xen.MandatoryFlag.STREAM_V2:
        raise UnsupportedError(
            "this is a save of Xen before 4.6", offset=offset + 36,
            path="xen/xl_header/mandatory_flags",
            hint=f"{_RESTORED_BY}; Xen's convert-legacy-stream makes a newer stream of it",
        )  # fmt: skip
    config = offset + length
    return _Head("xl", header, _after(place, config, header.optional_data_len), config)


def _libvirt_head(place: Place) -> _Head:
    source, offset = place.source, place.offset
    for schema in xen.LIBVIRT_HEADER.values():
        header, length = schema.parse(
            source.read_upto(offset, schema.size), offset=offset, path="xen/libvirt_header"
        )
        if header.version in _LIBVIRT_VERSIONS:
            config = offset + length
            return _Head("libvirt", header, _after(place, config, header.xml_len), config)
    raise UnsupportedError(
        "this is a save of libvirt, but of none of its drivers for QEMU and Xen", offset=offset,
        path="xen/libvirt_header/version", expected="1 or 2", found=str(header.version),
    )  # fmt: skip


def _after(place: Place, config: int, length: int) -> int:
    """Where the stream begins: after length bytes of the domain's configuration."""
    if config + length > place.source.size:
        raise FormatError(
            "the configuration of a saved Xen domain reaches past the end of the file", code="xen",
            offset=config, path="xen/config", expected=f"at most {place.source.size - config}",
            found=str(length), hint=_RESTORED_BY,
        )  # fmt: skip
    return config + length


def _name(place: Place, head: _Head) -> str | None:
    """That of the domain: the first in its configuration."""
    if not head.config:
        return None
    length = min(head.stream - head.config, _LOOK)
    match = _NAME.search(place.source.read_upto(head.config, length))
    if match is None:
        return None
    return text(match[1]) if match[1] else html.unescape(text(match[2]))


def _emulator(place: Place, context: XenPart) -> tuple[xen.EmulatorHeader, Place]:
    """The header of an emulator's record, and QEMU's stream in it as a Source of its own."""
    source, stop = place.source, context.body + context.body_length
    schema = xen.EMULATOR_HEADER[context.byte_order]
    emulator, length = schema.parse(
        source.read_exact(context.body, min(schema.size, context.body_length)),
        offset=context.body, path="libxl/EMULATOR_CONTEXT",
    )  # fmt: skip
    start = context.body + length
    signature = source.read_upto(start, len(xen.DEVICE_MODEL_RECORD))
    if signature in xen.QEMU_RECORDS:
        start += len(signature)
        if signature != xen.QEMU_RECORDS[-1]:
            told = int.from_bytes(source.read_upto(start, 4), context.byte_order)  # type: ignore[arg-type]
            start += 4
            stop = min(stop, start + told)
    if start >= stop or not stream_at(Place(source, start)):
        raise UnsupportedError(
            "the state of the emulator in this save of Xen is no stream of QEMU", offset=start,
            path="libxl/EMULATOR_CONTEXT", hint=_RESTORED_BY,
            found=_named(xen.Emulator, emulator.emulator_id),
        )  # fmt: skip
    run = Run(0, stop - start, start)
    inner = TranslatedSource(source, [run], name=source.name, size=stop - start)
    return emulator, Place(inner, 0)
