"""Binds a construct layout to the frozen dataclass that carries its values.

construct is interpreted, never compiled: `.compile()` drops the length checks.  A layout whose
fields all have a fixed size is also read through a `struct.Struct` that is *derived* from it,
because headers of RAM records are met by the hundred thousand; a test holds the two equal.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import construct as cs

from fixedram_fmt.errors import FormatError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import DataclassInstance, ReadableBuffer

__all__ = ["FieldSpan", "Schema", "c_string", "counted_string", "is_printable", "text"]

_VISIBLE = bytes(range(0x20, 0x7F))

T = TypeVar("T", bound="DataclassInstance")


def counted_string(count: str, name: str, width: Any = cs.Int8ub) -> list[Any]:
    """Two fields: a count of bytes and a string of that many; qemu_put_counted_string()."""
    return [
        count / cs.Rebuild(width, cs.len_(cs.this[name])),
        name / cs.Bytes(cs.this[count]),
    ]


def c_string(raw: bytes) -> bytes:
    """A name as QEMU compares it: strcmp() and strncmp() end at the first NUL.

    Upstream: qemu_get_counted_string() and its like read up to 255 bytes into char[256].
    """
    return raw.partition(b"\0")[0]


def text(raw: bytes) -> str:
    """A name of the file as text; bytes that are no UTF-8 stay visible as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")


def is_printable(name: bytes) -> bool:
    """Whether a name is nothing but visible ASCII, as every name QEMU makes is."""
    return not name.translate(None, _VISIBLE)


class FieldSpan(NamedTuple):
    """One field inside a structure: offset relative to its start and length, in bytes."""

    name: str
    offset: int
    length: int
    value: int | bytes


class Schema(Generic[T]):
    """One structure of the format: its layout, its values' class and where upstream defines it.

    record's fields carry the names of the layout's; fields of the layout that record lacks are
    derived ones (counts).  upstream cites file and symbol of the implementation that rules.
    """

    def __init__(self, layout: cs.Struct, record: type[T], upstream: str) -> None:
        self.layout = layout
        self.record = record
        self.upstream = upstream
        self.names = tuple(field.name for field in dataclasses.fields(record))
        self._fixed = _fixed_form(layout)

    @property
    def size(self) -> int:
        """Bytes of a structure of fixed size; construct.SizeofError for the others."""
        return self._fixed.size if self._fixed else self.layout.sizeof()

    @property
    def is_fixed(self) -> bool:
        """Whether every value of this structure takes the same number of bytes."""
        return self._fixed is not None

    def parse(self, data: ReadableBuffer, *, offset: int = 0, path: str = "") -> tuple[T, int]:
        """The structure at the start of data, and how many bytes it takes.

        offset and path are where data lies, for errors only.  Raises TruncatedError when data is
        too short and FormatError when it cannot be this structure.
        """
        if self._fixed is not None:
            view = memoryview(data)
            if view.nbytes < self._fixed.size:
                raise TruncatedError(
                    "the data ends inside a structure",
                    offset=offset,
                    path=path,
                    expected=f"{self._fixed.size} bytes",
                    found=str(view.nbytes),
                )
            return self.record(*self._fixed.unpack_from(view)), self._fixed.size
        return self._parse_interpreted(data, offset, path)

    def _parse_interpreted(self, data: ReadableBuffer, offset: int, path: str) -> tuple[T, int]:
        stream = io.BytesIO(data)
        try:
            values = self.layout.parse_stream(stream)
        except cs.StreamError as error:
            raise TruncatedError(
                "the data ends inside a structure",
                offset=offset,
                path=_field_path(path, error),
                expected="more bytes",
                found=f"{memoryview(data).nbytes} in all",
            ) from error
        except cs.ConstructError as error:
            raise FormatError(
                str(error).splitlines()[-1], offset=offset, path=_field_path(path, error)
            ) from error
        return self.record(*(values[name] for name in self.names)), stream.tell()

    def build(self, record: T) -> bytes:
        """The bytes of record; derived fields (counts) are worked out here.

        Raises FormatError when a value does not fit its field.
        """
        values = {name: getattr(record, name) for name in self.names}
        try:
            return bytes(self.layout.build(values))
        except cs.ConstructError as error:
            raise FormatError(
                "a value does not fit its field",
                path=_field_path(self.record.__name__, error),
                found=str(error).splitlines()[-1],
            ) from error

    def spans(self, data: bytes) -> Iterator[FieldSpan]:
        """Every field of the structure at the start of data, with where it lies in it.

        Raises FormatError when data is no whole structure.
        """
        try:
            values = self.layout.parse(data)
        except cs.ConstructError as error:
            raise FormatError("this is no whole structure") from error
        offset = 0
        for field in self.layout.subcons:
            name = str(field.name)
            length = len(
                field.build(values[name], **{k: v for k, v in values.items() if k != "_io"})
            )
            yield FieldSpan(name, offset, length, values[name])
            offset += length


def _fixed_form(layout: cs.Struct) -> struct.Struct | None:
    """The struct.Struct that reads what layout reads, None when a field's size varies."""
    order, codes = "", ""
    for field in layout.subcons:
        inner = getattr(field, "subcon", field)
        if isinstance(inner, cs.FormatField):
            if order not in ("", inner.fmtstr[0]):
                return None
            order = inner.fmtstr[0]
            codes += inner.fmtstr[1:]
        elif isinstance(inner, cs.Bytes) and isinstance(inner.length, int):
            codes += f"{inner.length}s"
        else:
            return None
    return struct.Struct((order or ">") + codes)


def _field_path(path: str, error: cs.ConstructError) -> str:
    """path with the field that construct names appended: `(parsing) -> idstr` says idstr."""
    steps = [step.strip() for step in (error.path or "").split("->")][1:]
    return ".".join([path, *steps]) if path else ".".join(steps)
