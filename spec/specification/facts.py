"""Tables made from what the code knows as data: loaders, field types, what a reader must check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.dialect import DIALECTS
from fixedram_fmt.loaders import LOADERS, SyncPoint
from specification.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHECKS", "checks", "dialects", "field_types", "loaders"]

_POINTS = {
    SyncPoint.MEM_SIZE: "after the block list",
    SyncPoint.FLUSH: "at MULTIFD_FLUSH",
    SyncPoint.EOS: "at every EOS",
}

#: (what is untrusted, what a reader checks, ids of the rules that look at it)
CHECKS = (
    ("libvirt's header", "the save is finished, `format` is that of the stream, header and XML lie "
     "inside the file before the stream is looked for", "C01 C02 C03 C04 C09 C10 "
     "C11 C12 C13 C14 C15 C16 C17 C18 C19 C20 C21 C22"),
    ("a qcow2 image", "tables inside the file, each L2 table and cluster mapped once, what is "
     "mapped at most what the file has", "C23 C26"),
    ("a save of Xen", "records inside the file; QEMU's stream in one of them, no memory", "C24"),
    ("compressed input", "unpack with a bound; a bomb is data too", "C06 C07 C08"),
    ("magic and version", "exact", "S01 S02"),
    ("configuration", "present, unless the machine is one of before QEMU 2.4", "G01"),
    ("every structure", "it ends inside the file before it is read", "S03 S04"),
    ("lengths of names and arguments", "at most what their count can say, and a ceiling below the "
     "machine name's 4 GiB", "G04 G16 S07"),
    ("section types and commands", "known ones only; nothing else says how long they are",
     "S05 S06 S08 S20 S23 S24"),
    ("section ids", "PART and END name a section that has started; footers the one they end",
     "S09 S10 S11 S12 S13 S14 S15 S16 S25"),
    ("ends of device bodies", "both the description's size and the footer, where both are there",
     "S19 D06 D07 D08 D09 D11"),
    ("the EOF byte", "no sections or zeros after it, unless a description or globalstate "
     "confirms it", "S21 S18"),
    ("names (machine, sections, blocks, capabilities)", "printable, not used as paths, escaped "
     "before they reach a terminal, a page or a log", "G02 G03 S17 S22 R14 R15"),
    ("capabilities and subsections", "known ones, once, version 1", "G05 G06 G07 G08 G09 G10 G11 "
     "G12 G15"),
    ("page sizes", "powers of two from 256 bytes to 64 KiB, the same wherever they are told",
     "G13 G14 L03 L04 L05 D05 R25"),
    ("MEM_SIZE and used_length", "no sum wraps; whole pages; a ceiling on blocks and on their "
     "length; the list ends at the sum exactly", "R02 R03 R04 R05 R12 R13 R16 R17 R18"),
    ("RAM records", "exactly one kind a record; no page records in a fixed layout", "R06 R07 R08 "
     "R09 R10 R11 R24 R26 R27 R28 R29"),
    ("the ram section", "there is one, of instance 0 and version 4", "R01 R19 R20 R21 R22"),
    ("number of PARTs", "bounded work for each, no memory", "R23"),
    ("header version", "1", "L01 L02"),
    ("bitmap_offset, pages_offset", "below 2^63; offset + length does not wrap and lies inside the "
     "file; aligned to the page size; not both 0 without x-ignore-shared", "L06 L07 L08 L13 L15 "
     "L18"),
    ("where the stream goes on", "forward only, or each entry once: pages_offset can lead back, "
     "and round for ever", "L12"),
    ("regions against each other", "bitmaps, pages and stream share no byte", "L09 L10"),
    ("a constant error of all offsets", "an image moved without its offsets", "L11"),
    ("bitmaps", "read in pieces; bits past the last page ignored; byte order given or inferred",
     "B01 B02 B03 B06 B07 B08 B09"),
    ("present pages", "inside the file before anything is handed to a channel", "B04 B05"),
    ("absent pages", "never read as memory; wiped before an image is given away", "P01 L17 S18"),
    ("the description", "a ceiling on its length, nesting, sizes and counts; no size is negative",
     "D01 D02 D03 D04"),
    ("MULTIFD_FLUSH", "refused, or a sync that can be had again", "Y01 Y02 Y03 Y04"),
    ("machine, blocks and sections", "those of the receiving machine, before a guest runs",
     "T01 T02 T03 T04 T05 T06 T07 T08 T09 T10 T11 T18"),
    ("inside devices", "what the receiving machine's own devices have (section 10)",
     "T12 T13 T14 T15 T16 T17 T19 T20"),
)  # fmt: skip

#: (type, bytes of one element, how it is put into the stream)
_FIELD_TYPES = (
    ("bool", "1", "0 or 1"),
    ("int8, int16, int32, int64", "1, 2, 4, 8", "two's complement"),
    ("uint8, uint16, uint32, uint64", "1, 2, 4, 8", "unsigned"),
    ("`... equal`", "as without", "a loader refuses another value than its own"),
    ("`... le`", "as without", "a loader refuses a greater value than its own"),
    ("float64", "8", "IEEE 754 binary64"),
    ("timer", "8", "expiry in ns of the guest's clock, as int64; all ones: not armed"),
    ("buffer", "`size`", "bytes as they are"),
    ("unused_buffer", "`size`", "bytes that once meant something; zeros now"),
    ("bitmap", "`size`", "u64 words, lowest first"),
    ("nullptr", "1", "the byte `0` (0x30): a pointer that is NULL"),
    ("capability", "`size`", "a count byte and a name, as Capability"),
    ("struct", "`size`", "nested fields and subsections, in the key `struct`"),
    ("tmp", "`size`", "the same, nested without the key"),
    ("any other", "`size`", "device-specific: opaque bytes, or what that device's code says"),
)


def dialects() -> str:
    """The dialects of fixed layouts."""
    rows = [
        (
            entry.name,
            f"`{entry.capability.decode()}`",
            entry.qemu_versions,
            "before the last EOS" if entry.flush_at_end else "never",
            "since 10.0" if entry.switchover_start else "no",
        )
        for entry in DIALECTS
    ]
    return table(("dialect", "capability", "written by", "MULTIFD_FLUSH", "SWITCHOVER_START"), rows)


def loaders() -> str:
    """Who waits for its channels, and where."""
    rows = [
        (
            f"`{entry.name}`",
            _points(entry.syncs),
            _points(entry.syncs_property_on),
            "yes" if entry.syncs_again else "no",
            "taken" if entry.takes_flush else "refused",
        )
        for entry in LOADERS.values()
    ]
    return table(
        ("loader", "syncs, property off", "syncs, property on", "syncs again", "MULTIFD_FLUSH"),
        rows,
    )


def _points(points: frozenset[SyncPoint]) -> str:
    return ", ".join(text for point, text in _POINTS.items() if point in points)


def field_types() -> str:
    """Types of fields in a description."""
    return table(("type", "bytes", "in the stream, big-endian"), _FIELD_TYPES)


def checks() -> str:
    """What a reader must check, with the rules of RULES.md that do."""
    return table(("untrusted", "check", "rules"), _links())


def _links() -> Iterator[tuple[str, str, str]]:
    for untrusted, check, rules in CHECKS:
        yield untrusted, check, ", ".join(rules.split())
