"""The configuration of a converted stream, and what the description says of it.

Upstream: QEMU migration/savevm.c vmstate_configuration (the order of its subsections),
configuration_pre_save() and should_validate_capability() (which capabilities are sent), and
migration/vmstate.c vmsd_desc_field_start() for the description's form.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fixedram_fmt.dialect import LAYOUTS
from fixedram_fmt.io.documents import json_document
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind, Record
from fixedram_fmt.stream.vmdesc import VMDESC_CEILING
from fixedram_fmt.write.elements import Copied, Literal, Raw, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.io.source import Source
    from fixedram_fmt.write.elements import Element

__all__ = ["adapted", "with_layout"]

_CAPABILITIES = b"configuration/capabilities"
_PAGE_BITS = b"configuration/target-page-bits"
#: Where the description of the configuration begins: QEMU writes it first.
_DESCRIBED = re.compile(rb'\s*\{\s*"configuration"\s*:\s*(?=\{)')


def with_layout(capabilities: Sequence[bytes], layout: bytes | None) -> list[bytes]:
    """capabilities as QEMU sends them with the fixed layout of that name, or (None) without any.

    mapped-ram is the last in QEMU's enum of those that are sent.
    """
    kept = [name for name in capabilities if name not in LAYOUTS]
    return [*kept, layout] if layout else kept


def adapted(
    records: Iterator[Record[Any]], source: Source, layout: bytes | None
) -> Iterator[Record[Any] | Element]:
    """records with the capability layout (None: no fixed layout) in configuration and description.

    Of both only the list of capabilities is made anew; everything else, and all other records,
    come as they are.
    """
    configuration: list[Record[Any]] | None = []
    names: list[bytes] = []
    for record in records:
        if configuration is not None:
            if record.kind is Kind.FILE_HEADER or record.path.startswith("configuration/"):
                configuration.append(record)
                continue
            listed = [item.value for item in configuration if item.kind is Kind.CAPABILITY]
            sent = [c_string(value.capability) for value in listed]
            names = with_layout(sent, layout)
            yield from _configuration(configuration, names)
            configuration = None
        if record.kind is Kind.VMDESCRIPTION and record.value.length <= VMDESC_CEILING:
            yield from _description(source, record, names)
        elif record.kind is not Kind.VMDESCRIPTION_JSON:
            yield record
        elif record.length > VMDESC_CEILING:
            yield Raw(record.kind, record.path, Copied(source, record.offset, record.length))


def _configuration(
    records: list[Record[Any]], names: Sequence[bytes]
) -> Iterator[Record[Any] | Element]:
    """records with the subsection of capabilities in its place: after target-page-bits."""
    kept = [record for record in records if not _lists_capabilities(record)]
    headers = [n for n, record in enumerate(kept) if record.kind is Kind.SUBSECTION]
    after_bits = [n for n in headers if c_string(kept[n].value.idstr) == _PAGE_BITS]
    place = after_bits[0] + 2 if after_bits else headers[0] if headers else len(kept)
    yield from kept[:place]
    if names:
        path = "configuration/capabilities"
        header = stream.Subsection(SectionType.SUBSECTION, _CAPABILITIES, 1)
        yield Structure(Kind.SUBSECTION, f"{path}/header", header)
        count = stream.Capabilities(len(names))
        yield Structure(Kind.CAPABILITIES, f"{path}/body/count", count)
        for number, name in enumerate(names):
            value = stream.Capability(name)
            yield Structure(Kind.CAPABILITY, f"{path}/body/name[{number}]", value)
    yield from kept[place:]


def _lists_capabilities(record: Record[Any]) -> bool:
    if record.kind is Kind.SUBSECTION:
        return bool(c_string(record.value.idstr) == _CAPABILITIES)
    return record.kind in (Kind.CAPABILITIES, Kind.CAPABILITY)


def _description(
    source: Source, header: Record[stream.Vmdescription], names: Sequence[bytes]
) -> Iterator[Element]:
    """Header and JSON; what cannot be read as a description stays as it is: QEMU skips it."""
    length = min(header.value.length, source.size - header.stop)
    data = _described(source.read_exact(header.stop, length, header.path), names)
    value = stream.Vmdescription(header.value.section_type, len(data))
    yield Structure(header.kind, header.path, value)
    yield Raw(Kind.VMDESCRIPTION_JSON, "vmdescription/json", Literal(data))


def _described(data: bytes, names: Sequence[bytes]) -> bytes:
    """The description with other capabilities; only the configuration's own part is touched."""
    start = _DESCRIBED.match(data)
    if start is None:
        return data
    try:
        document = data.decode()
        json_document(data)
        value, stop = json.JSONDecoder().raw_decode(document, len(data[: start.end()].decode()))
        subsections = [
            entry
            for entry in value.get("subsections", [])
            if entry.get("vmsd_name") != text(_CAPABILITIES)
        ]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return data
    if names:
        after = subsections[:1] and subsections[0].get("vmsd_name") == text(_PAGE_BITS)
        subsections.insert(1 if after else 0, _capabilities_described(names))
    value.pop("subsections", None)
    if subsections:
        value["subsections"] = subsections
    new = json.dumps(value) + document[stop:]
    return data[: start.end()] + new.encode()


def _capabilities_described(names: Sequence[bytes]) -> dict[str, Any]:
    """As vmstate.c describes a compressed array: the size is that of its first element."""
    first = len(SCHEMA_OF_KIND[Kind.CAPABILITY].build(stream.Capability(names[0])))
    array = {"array_len": len(names)} if len(names) > 1 else {}
    return {
        "vmsd_name": text(_CAPABILITIES),
        "version": 1,
        "fields": [
            {"name": "caps_count", "type": "uint32", "size": stream.CAPABILITIES.size},
            {"name": "capabilities", **array, "type": "capability", "size": first},
        ],
    }
