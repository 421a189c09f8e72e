"""Small files that go with images: specs, destinations, baselines, libvirt's XML.

They are no less hostile than an image.  A list of empty lists takes thirty times its length in
memory, a TOML key of twenty thousand parts takes seconds: documents that claim more than any of
ours has are refused before they are parsed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["DOCUMENT_CEILING", "json_document", "read_document", "toml_document", "xml_document"]

#: Bytes.  -dump-vmstate has 2 MiB, a baseline of thirty thousand findings some 10 MiB.
DOCUMENT_CEILING = 16 << 20
#: Objects and arrays, and what parts values, in JSON; elements in XML.
_CONTAINERS_CEILING = 200_000
_SEPARATORS_CEILING = 1_000_000
#: Python's TOML parser takes 0.7 s and 100 MiB for the worst of that length.
_TOML_CEILING = 1 << 20
_KEY_PARTS = 8
_DEPTH = 64

_KEY = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
#: A key of more than _KEY_PARTS parts; it can start only where a part does.
_LONG_KEY = re.compile(
    rf"""(?<![\w\-."']){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{_KEY_PARTS}}}""", re.ASCII
)


def read_document(path: str | Path) -> bytes:
    """The whole of a file, from a pipe as well.

    Raises ValueError with the reason alone when it cannot be read, or is longer than
    DOCUMENT_CEILING: a device or an image was given by mistake.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(DOCUMENT_CEILING + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > DOCUMENT_CEILING:
        raise ValueError(f"it is longer than {DOCUMENT_CEILING >> 20} MiB")
    return data


def json_document(data: bytes, kind: Any = Any) -> Any:
    """The value of a JSON document, of that type; ValueError for what is none of it."""
    _ceiling(data.count(b"{") + data.count(b"["), _CONTAINERS_CEILING, "objects and arrays")
    _ceiling(data.count(b",") + data.count(b":"), _SEPARATORS_CEILING, "values")
    try:
        # Python's own says in which line something is wrong.
        return json.loads(data) if kind is Any else msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise ValueError(f"its values are nested too deeply ({error})") from error


def toml_document(data: bytes) -> dict[str, Any]:
    """The table of a TOML document; ValueError for what is none."""
    import tomllib

    _ceiling(len(data), _TOML_CEILING, "bytes of TOML (give it as JSON)")
    text = data.decode()
    if long := _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {_KEY_PARTS} parts: {long[0][:40]!r}...")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error


def xml_document(data: bytes) -> Element:
    """The root of an XML document without a DTD; ValueError for what is none."""
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers import expat

    _ceiling(data.count(b"<"), 2 * _CONTAINERS_CEILING, "tags")
    _ceiling(data.count(b"="), _CONTAINERS_CEILING, "attributes")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        _ceiling(depth, _DEPTH, "levels of elements")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def declared(*_: object) -> None:
        raise ValueError("it has a DTD, which libvirt's XML has not")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no XML: {error}") from error
    return builder.close()


def _ceiling(number: int, ceiling: int, what: str) -> None:
    if number > ceiling:
        raise ValueError(f"it has more than {ceiling:,} {what}")
