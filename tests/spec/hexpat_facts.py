"""What the pattern spec/fixedram.hexpat finds in an image, in this project's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import ROOT

from .hexpat import parse
from .hexpat_run import Machine, Pattern, run

HEXPAT = ROOT / "spec" / "fixedram.hexpat"
PROGRAM = parse(HEXPAT.read_text())

SECTION_KINDS = {1: "section_start", 2: "section_part", 3: "section_end", 4: "section_full"}
BODIES = ("storage_attributes", "storage_keys", "hash_table", "dirty_bitmaps", "device_state")
Fact = tuple[Any, ...]


def read(path: Path, **settings: int) -> tuple[Pattern, Machine]:
    """The tree that ImHex would show, and the machine that made it."""
    return run(PROGRAM, path, **settings)


def values(pattern: Pattern, *names: str) -> Fact:
    return tuple(pattern[name].value for name in names)


def blob(machine_data: bytes, pattern: Pattern) -> bytes:
    return machine_data[pattern.offset : pattern.offset + pattern.size]


def head_facts(stream: Pattern, data: bytes) -> Iterator[Fact]:
    """(kind, offset, values...) of what stands before the first item."""
    header = stream["header"]
    yield ("file_header", header.offset, header["version"].value)
    if "configuration" not in stream:
        return
    configuration = stream["configuration"]
    yield ("configuration", configuration.offset, configuration["name"].value)
    for subsection in configuration["subsections"].entries:
        yield ("subsection", subsection.offset, *values(subsection, "idstr", "version_id"))
        if "capabilities" in subsection:
            body = subsection["capabilities"]
            yield ("capabilities", body.offset, body["caps_count"].value)
            for name in body["names"].entries:
                yield ("capability", name.offset, name["capability"].value)
        elif "target_page_bits" in subsection:
            body = subsection["target_page_bits"]
            yield ("target_page_bits", body.offset, body["target_page_bits"].value)
        else:
            body = subsection["uuid"]
            yield ("uuid", body.offset, blob(data, body))


def item_facts(stream: Pattern, data: bytes) -> Iterator[Fact]:
    """The same of everything from the first item to the end of the stream."""
    for item in stream["items"].entries:
        if "command" in item:
            command = item["command"]
            number, arguments = command["command"].value, blob(data, command["data"])
            yield ("command", item.offset, number, arguments)
        elif "section" in item:
            yield from section_facts(item)
        else:
            yield ("eof", item.offset)
    if "description" in stream:
        description = stream["description"]
        yield ("vmdescription", description.offset, description["length"].value)


def section_facts(item: Pattern) -> Iterator[Fact]:
    section = item["section"]
    kind = SECTION_KINDS[item["section_type"].value]
    if "header" in section:
        names = ("section_id", "idstr", "instance_id", "version_id")
        yield (kind, item.offset, *values(section["header"], *names))
    else:
        yield (kind, item.offset, section["part"]["section_id"].value)
    if "ram" in section:
        for record in section["ram"]["records"].entries:
            yield from record_facts(record)
    for name in BODIES:
        if name in section:
            yield ("body", section[name].offset, section[name].size)
    if "footer" in section:
        footer = section["footer"]
        yield ("section_footer", footer.offset, footer["section_id"].value)


def record_facts(record: Pattern) -> Iterator[Fact]:
    if "word" not in record or record["length"].value:
        return
    kinds = {4: "mem_size", 0x10: "eos", 0: "multifd_flush", 1: "full", 0x80: "hook"}
    yield (kinds[record["kind"].value], record.offset, record["word"].value)
    for block in record["blocks"].entries if "blocks" in record else ():
        yield ("block", block.offset, *values(block, "idstr", "used_length"))
        if "region_address" in block:
            address = block["region_address"]
            yield ("region_address", address.offset, address.value)
        if "header" in block:
            header = block["header"]
            names = ("version", "page_size", "bitmap_offset", "pages_offset")
            yield ("mapped_ram_header", header.offset, *values(header, *names))


def blocks(image: Pattern) -> Iterator[Pattern]:
    """The RAM blocks of the list."""
    for item in image["stream"]["items"].entries:
        if "section" not in item or "ram" not in item["section"]:
            continue
        for record in item["section"]["ram"]["records"].entries:
            if "blocks" in record:
                yield from record["blocks"].entries


def present_pages(block: Pattern) -> list[int]:
    """Numbers of the pages that the runs cover."""
    found: list[int] = []
    for run_ in block["present"].entries:
        found += range(run_["first_page"].value, run_["stop_page"].value)
    return found


def page_facts(image: Pattern) -> dict[tuple[str, int], Any]:
    """What an ordinary stream says of each page that is shown: where it is, or what fills it."""
    found: dict[tuple[str, int], Any] = {}
    idstr = ""
    for item in image["stream"]["items"].entries:
        if "section" not in item or "ram" not in item["section"]:
            continue
        for record in item["section"]["ram"]["records"].entries:
            if "word" not in record or not record["length"].value:
                continue
            if "block" in record:
                idstr = record["block"]["idstr"].value
            key = idstr, record["word"].value & ~0xFFF
            if "fill" in record:
                found[key] = record["fill"].value
            else:
                (body,) = (record[name] for name in ("page", "xbzrle") if name in record)
                found[key] = body.offset
    return found


def owned(image: Pattern) -> list[tuple[int, int]]:
    """The ranges that have a leaf over them, merged."""
    leaves = sorted(
        (pattern.offset, pattern.offset + pattern.size)
        for pattern in image.walk()
        if pattern.size and not pattern.members and not pattern.entries
    )
    merged: list[tuple[int, int]] = []
    for start, stop in leaves:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged
