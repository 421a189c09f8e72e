"""What stands before the sections: the file header and the configuration.

Upstream: QEMU migration/savevm.c qemu_savevm_state_header(), vmstate_configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.dialect import X_IGNORE_SHARED, Dialect, dialect_of
from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import Cursor, Kind, Record, Region
from fixedram_fmt.stream.successors import can_follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.schema.base import Schema
    from fixedram_fmt.stream.ramstate import RamState
    from fixedram_fmt.stream.vmdesc import VmDescription

__all__ = ["CAPABILITIES_CEILING", "StreamHeader"]

#: More capabilities than any QEMU has.
CAPABILITIES_CEILING = 1024

#: Bodies of the configuration's subsections whose length QEMU fixes.
_CONFIGURATION_BODIES: dict[bytes, tuple[Schema[Any], Kind]] = {
    b"configuration/target-page-bits": (stream.TARGET_PAGE_BITS, Kind.TARGET_PAGE_BITS),
    b"configuration/uuid": (stream.UUID, Kind.UUID),
}


class StreamHeader:
    """The facts of the header and the configuration, as far as records() has read them.

    find_vmdesc gives the description of the stream, wherever it lies: it tells how long a
    subsection is which nobody knows.
    """

    def __init__(
        self, cursor: Cursor, ram_state: RamState, find_vmdesc: Callable[[], VmDescription | None]
    ) -> None:
        self.cursor = cursor
        self.ram = ram_state
        self._find_vmdesc = find_vmdesc
        self.machine: bytes | None = None
        self.capabilities: list[bytes] = []
        self.uuid: bytes | None = None
        self.page_bits: int | None = None

    @property
    def dialect(self) -> Dialect | None:
        """Who wrote the stream, as far as its capabilities tell; None: no fixed layout."""
        return dialect_of(self.capabilities)

    def records(self) -> Iterator[Record[Any]]:
        """The records up to the first section; what they say of the RAM goes into its state."""
        yield self._file_header()
        if self.cursor.peek(1) == bytes([SectionType.CONFIGURATION]):
            yield from self._configuration()

    def _file_header(self) -> Record[stream.FileHeader]:
        header = self.cursor.take(stream.FILE_HEADER, Kind.FILE_HEADER, "header")
        magic, version = header.value.magic, header.value.version
        if magic != stream.QEMU_VM_FILE_MAGIC:
            raise FormatError(
                "this is no migration stream",
                code="magic",
                offset=header.offset,
                path="header.magic",
                expected=repr(stream.QEMU_VM_FILE_MAGIC),
                found=repr(magic),
            )
        if version != stream.QEMU_VM_FILE_VERSION:
            raise FormatError(
                "unknown version of the migration stream",
                code="version",
                offset=header.offset + len(magic),
                path="header.version",
                expected=str(stream.QEMU_VM_FILE_VERSION),
                found=str(version),
            )
        return header

    def _configuration(self) -> Iterator[Record[Any]]:
        name = self.cursor.take(stream.CONFIGURATION, Kind.CONFIGURATION, "configuration/machine")
        self.machine = name.value.name
        yield name
        number = 0
        while self.cursor.peek(1) == bytes([SectionType.SUBSECTION]):
            path = f"configuration/subsection[{number}]"
            header = self.cursor.take(stream.SUBSECTION, Kind.SUBSECTION, f"{path}/header")
            yield header
            yield from self._configuration_body(c_string(header.value.idstr), f"{path}/body")
            number += 1
        self.ram.mapped = self.dialect is not None
        self.ram.ignore_shared = X_IGNORE_SHARED in self.capabilities

    def _configuration_body(self, idstr: bytes, path: str) -> Iterator[Record[Any]]:
        if idstr == b"configuration/capabilities":
            yield from self._capabilities(path)
        elif idstr in _CONFIGURATION_BODIES:
            schema, kind = _CONFIGURATION_BODIES[idstr]
            record = self.cursor.take(schema, kind, path)
            yield record
            self._learn(record.value)
        else:
            length = self._unknown_length(idstr, path)
            yield self.cursor.skip(length, Kind.UNKNOWN, path, Region("unknown subsection"))

    def _learn(self, value: Any) -> None:
        if isinstance(value, stream.Uuid):
            self.uuid = value.uuid
        elif isinstance(value, stream.TargetPageBits):
            bits = self.page_bits = value.target_page_bits
            size = 1 << bits if bits < 64 else 0
            if ram.is_page_size(size):
                self.ram.target_page_size = size
            else:
                self.ram.note(
                    self.cursor.offset - 4, "configuration", f"target-page-bits is {bits}"
                )

    def _capabilities(self, path: str) -> Iterator[Record[Any]]:
        count = self.cursor.take(stream.CAPABILITIES, Kind.CAPABILITIES, f"{path}/count")
        yield count
        # Of several lists the last one counts, as QEMU reads them.
        self.capabilities = []
        for number in range(count.value.caps_count):
            if number >= CAPABILITIES_CEILING:
                raise FormatError(
                    "the list of capabilities does not end",
                    code="capabilities-endless",
                    offset=self.cursor.offset,
                    path=path,
                    expected=f"at most {CAPABILITIES_CEILING}",
                    found=str(count.value.caps_count),
                )
            name = self.cursor.take(stream.CAPABILITY, Kind.CAPABILITY, f"{path}/name[{number}]")
            self.capabilities.append(c_string(name.value.capability))
            yield name

    def _unknown_length(self, idstr: bytes, path: str) -> int:
        """Bytes of a subsection nobody knows: the description's word, or up to what can follow."""
        described = self._find_vmdesc()
        if described and text(idstr) in described.configuration:
            return described.configuration[text(idstr)]
        subsection = bytes([SectionType.SUBSECTION])
        for length in range(min(self.cursor.remaining, 4096)):
            ends = can_follow(self.cursor, length, ())
            if (ends and self.cursor.peek(1, length) != b"\0") or (
                self.cursor.peek(1, length) == subsection
                and self.cursor.peek(14, length + 2).startswith(b"configuration/")
            ):
                return length
        raise FormatError(
            "an unknown subsection whose end cannot be found",
            code="subsection",
            offset=self.cursor.offset,
            path=path,
            expected="a known subsection of the configuration",
            found=repr(text(idstr)),
        )
