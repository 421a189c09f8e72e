"""Walks a migration stream from its first byte and yields every record with its offset.

Upstream: QEMU migration/savevm.c qemu_loadvm_state(), qemu_loadvm_state_main().  The walk stops
only where it cannot go on; whoever consumes it catches FormatError and keeps what came before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.blocks import Section
from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.devicebodies import DeviceBodies
from fixedram_fmt.stream.ending import check_end
from fixedram_fmt.stream.handlers import Handler, Handlers
from fixedram_fmt.stream.header import StreamHeader
from fixedram_fmt.stream.pagerecords import PageReader
from fixedram_fmt.stream.ramstate import RamState
from fixedram_fmt.stream.ramstream import walk_ram
from fixedram_fmt.stream.records import Cursor, Kind, Record, Region
from fixedram_fmt.stream.vmdesc import VMDESC_CEILING, VmDescription, find_vmdesc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fixedram_fmt.io.source import Source

__all__ = ["PARTS_CEILING", "StreamWalker"]

#: More sections and parts in all than a save of a day has, at 10 parts a second.
PARTS_CEILING = 1 << 20


class StreamWalker:
    """One walk over the stream that starts at offset start of source.

    batched: page records of an ordinary stream come a window's at a time (SentPages), which is much
    faster than a record for each run of them.

    records() does the walk; the attributes hold what has been learnt so far, so they are complete
    once it is exhausted, and as far as the stream went when it raised.
    """

    def __init__(self, source: Source, start: int = 0, *, batched: bool = False) -> None:
        self.source = source
        self.start = start
        self.cursor = Cursor(source, start)
        self.ram = RamState(batched=batched)
        self._pages = PageReader(self.cursor, self.ram)
        self.header = StreamHeader(self.cursor, self.ram, lambda: self._find_vmdesc(start))
        self.sections: dict[int, Section] = {}
        self.order: list[int] = []
        #: The section that the walk is in, and the last one that it has left.
        self.current: Section | None = None
        self.last: Section | None = None
        self._handlers = Handlers()
        self._started: dict[Handler, Section] = {}
        self.eof_offset: int | None = None
        self.vmdesc: VmDescription | None = None
        self._vmdesc_searched_from: int | None = None
        self._bodies = DeviceBodies(self.ram.note)
        self._elements = 0
        self._commands = 0
        self._footers = False

    def records(self) -> Iterator[Record[Any]]:
        """Every record of the stream in its order, then VMDESCRIPTION and trailing bytes."""
        try:
            yield from self._records()
        finally:
            # Nothing is delimited any more: what was learnt about footers may go.
            self._bodies = DeviceBodies(self.ram.note)

    def _records(self) -> Iterator[Record[Any]]:
        yield from self.header.records()
        yield from self.elements()
        if self._footers:
            check_end(self.cursor, self.sections.values(), f"section[{self._elements}]")
        eof = self.cursor.take(stream.EOF, Kind.EOF, "eof")
        self.eof_offset = eof.offset
        yield eof
        yield from self._after_eof()

    def elements(self) -> Iterator[Record[Any]]:
        """Sections and commands up to EOF; also those of a stream that a command wraps."""
        while True:
            head = self.cursor.peek(1)
            if not head:
                raise TruncatedError(
                    "the stream ends before its EOF byte",
                    code="no-eof",
                    offset=self.cursor.offset,
                    path=f"section[{self._elements}]",
                    expected="a section, a command or EOF",
                    found="the end of the file",
                )
            if head[0] == SectionType.EOF:
                return
            yield from self._element(head[0])

    def _element(self, kind: int) -> Iterator[Record[Any]]:
        """What a type byte other than EOF introduces."""
        if kind in (SectionType.SECTION_START, SectionType.SECTION_FULL):
            yield from self._section(f"section[{self._elements}]", kind)
            self._elements += 1
        elif kind in (SectionType.SECTION_PART, SectionType.SECTION_END):
            yield from self._section_part(f"section[{self._elements}]", kind)
            self._elements += 1
        elif kind == SectionType.COMMAND:
            yield from self._command(f"command[{self._commands}]")
            self._commands += 1
        else:
            raise FormatError(
                "unknown section type",
                code="section-type",
                offset=self.cursor.offset,
                path=f"section[{self._elements}]",
                expected="one of " + ", ".join(f"{known:#04x}" for known in SectionType),
                found=f"{kind:#04x}",
            )

    # -- sections -----------------------------------------------------------------------------

    def _section(self, path: str, kind: int) -> Iterator[Record[Any]]:
        full = kind == SectionType.SECTION_FULL
        header = self.cursor.take(
            stream.SECTION, Kind.SECTION_FULL if full else Kind.SECTION_START, f"{path}/header"
        )
        value = header.value
        self.cursor.section = c_string(value.idstr)
        yield replace(header, section=self.cursor.section)
        section = Section(
            section_id=value.section_id,
            idstr=self.cursor.section,
            instance_id=value.instance_id,
            version_id=value.version_id,
            full=full,
            offset=header.offset,
            body_offset=header.stop,
            ended=full,
        )
        if section.section_id in self.sections:
            self.ram.note(header.offset, path, f"section id {section.section_id} is used again")
        else:
            self._bounded(len(self.order), stream.SECTIONS_CEILING, header)
            self.order.append(section.section_id)
        handler = self._handlers.start(value)
        self._started[handler] = self.sections[section.section_id] = self.current = section
        how = yield from self._body(section, path)
        length = self.cursor.offset - section.body_offset
        section = replace(section, body_length=length, delimited_by=how)
        self._started[handler] = self.sections[section.section_id] = section
        yield from self._footer(section.section_id, path)

    def _section_part(self, path: str, kind: int) -> Iterator[Record[Any]]:
        end = kind == SectionType.SECTION_END
        header = self.cursor.take(
            stream.SECTION_PART, Kind.SECTION_END if end else Kind.SECTION_PART, f"{path}/header"
        )
        handler = self._handlers.handler(header.value.section_id)
        self.cursor.section = handler[0] if handler else b""
        yield replace(header, section=self.cursor.section)
        self._bounded(self._elements, PARTS_CEILING, header)
        if handler is None:
            raise FormatError(
                "a part of a section that never started",
                code="part-without-start",
                offset=header.offset,
                path=path,
                expected="the id of a SECTION_START",
                found=str(header.value.section_id),
            )
        section = self.current = self._started[handler]
        yield from self._body(section, path)
        gone_on = replace(section, parts=section.parts + 1, ended=section.ended or end)
        if self.sections[section.section_id] is section:
            self.sections[section.section_id] = gone_on
        self._started[handler] = gone_on
        yield from self._footer(section.section_id, path)

    @staticmethod
    def _bounded(number: int, ceiling: int, header: Record[Any]) -> None:
        if number >= ceiling:
            raise FormatError(
                "the sections do not end",
                code="sections-endless",
                offset=header.offset,
                path=header.path,
                expected=f"at most {ceiling} of them",
            )

    def _body(self, section: Section, path: str) -> Generator[Record[Any], None, str]:
        """The records of a body; returns how its end was found."""
        if section.is_ram:
            if self.ram.target_page_size is None and not self.ram.mapped:
                described = self._find_vmdesc(self.start)
                if described and ram.is_page_size(described.page_size or 0):
                    self.ram.target_page_size = described.page_size
            yield from walk_ram(self.cursor, self.ram, self._pages, f"{path}/ram")
            return "records"
        self._find_vmdesc(self.cursor.offset)
        body = self._bodies.body(
            self.cursor, section, self.sections, f"{path}/body", footers=self._footers
        )
        yield body
        return body.value.delimited_by

    def _footer(self, section_id: int, path: str) -> Iterator[Record[Any]]:
        """The footer, if there is one: machines may be told not to send it."""
        self.last, self.current = self.current, None
        if self.cursor.peek(1) != bytes([SectionType.SECTION_FOOTER]):
            self.cursor.section = b""
            self.ram.note(self.cursor.offset, path, "no footer after this section")
            return
        self._footers = True
        footer = self.cursor.take(stream.SECTION_FOOTER, Kind.SECTION_FOOTER, f"{path}/footer")
        if footer.value.section_id != section_id:
            self.ram.note(
                footer.offset,
                f"{path}/footer",
                f"the footer is that of section {footer.value.section_id}, expected {section_id}",
            )
        self.cursor.section = b""
        yield footer

    def _command(self, path: str) -> Iterator[Record[Any]]:
        command = self.cursor.take(stream.COMMAND, Kind.COMMAND, f"{path}/header")
        yield command
        length = command.value.packaged_length
        if length is not None:
            yield self.cursor.skip(
                length, Kind.PACKAGED, f"{path}/packaged", Region("a stream inside the stream")
            )

    # -- after EOF ---------------------------------------------------------------------------

    def _after_eof(self) -> Iterator[Record[Any]]:
        if self.cursor.peek(1) == bytes([SectionType.VMDESCRIPTION]):
            header = self.cursor.look(
                stream.VMDESCRIPTION, Kind.VMDESCRIPTION, "vmdescription/header"
            )
            yield self.cursor.take(stream.VMDESCRIPTION, Kind.VMDESCRIPTION, header.path)
            yield self.cursor.skip(
                header.value.length, Kind.VMDESCRIPTION_JSON, "vmdescription/json", Region()
            )
            self._accept_vmdesc(header)
        if self.cursor.remaining:
            yield self.cursor.skip(
                self.cursor.remaining, Kind.TRAILING, "trailing", Region("after the stream")
            )

    def _accept_vmdesc(self, header: Record[stream.Vmdescription]) -> None:
        """The description the stream leads to counts, wherever another one was found."""
        if self.vmdesc is not None and self.vmdesc.offset == header.offset:
            return
        self.vmdesc = None
        length = header.value.length
        if length > VMDESC_CEILING:
            self.ram.note(
                header.offset, header.path, f"a description of {length} bytes is not read"
            )
            return
        try:
            self.vmdesc = VmDescription.parse(
                self.source.read_exact(header.stop, length, header.path), header.offset
            )
        except FormatError as error:
            self.ram.note(header.offset, header.path, str(error), "vmdesc")

    def _find_vmdesc(self, start: int) -> VmDescription | None:
        """Search for the description once; again only where an earlier search could not look."""
        if self.vmdesc is None and self._vmdesc_searched_from is None:
            self._vmdesc_searched_from = start
            self.vmdesc = find_vmdesc(self.source, start)
            if self.vmdesc is not None:
                self._bodies.described = self.vmdesc.by_section()
        return self.vmdesc
