"""A worked example: a small sound image byte by byte, with its fields; what is long is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.image import Image
from fixedram_fmt.tiling import fields, layout, leaves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixedram_fmt.stream.records import Record

__all__ = ["annotated", "example"]

_BYTES_SHOWN = 32
_ROW = 16


def example(path: Path) -> str:
    """The image at path as a fenced listing."""
    with Image.open(path) as image:
        return "```text\n" + "".join(annotated(image)).lstrip("\n") + "```\n"


def annotated(image: Image) -> Iterator[str]:
    """Lines: a comment for each leaf, then its bytes, split where its fields are."""
    for record in leaves(image):
        yield f"\n# {record.path} ({record.length} bytes)\n"
        spans = layout(image, record)
        if spans:
            for span in spans:
                data = image.source.read_exact(record.offset + span.offset, span.length)
                yield from _rows(record.offset + span.offset, data, f"{span.name} = {_value(span)}")
        else:
            shown = image.source.read_exact(record.offset, min(record.length, _BYTES_SHOWN))
            yield from _rows(record.offset, shown, _note(record))
            if record.length > _BYTES_SHOWN:
                yield f"          ... {record.length - _BYTES_SHOWN} more bytes\n"


def _value(span: Any) -> str:
    if isinstance(span.value, bytes):
        return repr(span.value.decode("ascii", "backslashreplace"))
    return str(span.value) if span.value < 10 else f"{span.value:#x}"


def _note(record: Record[Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in fields(record).items())


def _rows(offset: int, data: bytes, note: str) -> Iterator[str]:
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        line = f"{offset + start:08x}  {row.hex(' '):<{_ROW * 3 - 1}}  {'' if start else note}"
        yield line.rstrip() + "\n"
