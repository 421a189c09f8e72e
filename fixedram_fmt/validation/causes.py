"""Which message of QEMU tells of a finding, where that depends on the finding: key and holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema.ram import RAM_VERSION, RamSaveFlag
from fixedram_fmt.validation.loaderlog import block_of, c_int, c_text

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.effects import Case
    from fixedram_fmt.validation.messages import Holes
    from fixedram_fmt.validation.survey import Survey

__all__ = [
    "Cause",
    "capability",
    "command_length",
    "footer_id",
    "goes_on",
    "header_version",
    "machine",
    "offset_wraps",
    "page_bits",
    "page_unread",
    "ram_version",
    "ram_word",
    "section_type",
    "stream_version",
    "subsection_version",
    "truncated",
    "unknown_section_id",
]

#: migration/ram.c ram_load_precopy() invalid_flags of a fixed layout.
_INVALID = (
    RamSaveFlag.HOOK | RamSaveFlag.MULTIFD_FLUSH | RamSaveFlag.PAGE | RamSaveFlag.XBZRLE
    | RamSaveFlag.ZERO
)  # fmt: skip
#: Rules of lists that a loader has not come to the end of.
_IN_LIST = ("R04", "R17")
#: Bytes that QEMU reads of a run of pages in one go; migration/ram.c MAPPED_RAM_LOAD_BUF_SIZE.
_PIECE = 0x100000
_OFFSET_CEILING = 1 << 63


class Cause(NamedTuple):
    """The key of a message, and what the finding's own holes and its place do not say."""

    key: str
    holes: Holes = {}  # noqa: RUF012  nobody writes into it


def _number(found: str) -> int:
    """The number that a finding shows first."""
    return int(found.split(" ", maxsplit=1)[0], 0)


def stream_version(case: Case) -> Cause:
    """Version 2 has a message of its own."""
    return Cause("stream-version-2" if case.finding.found == "2" else "stream-version")


def truncated(case: Case) -> Cause:
    """What a loader says of a stream that ends in a structure, by the structure."""
    path, found = case.finding.path, case.finding.found
    structure = path.rpartition("/")[2]
    if path == "header":
        return Cause("magic" if not found.isdigit() or int(found) < 4 else "stream-version")
    if path.startswith("configuration/machine"):
        return Cause("field", {"vmsd": "configuration", "field": path.rpartition(".")[2]})
    if path.startswith("command"):  # the length is checked before the arguments are read
        return Cause("command-length" if "length" in case.finding.holes else "end-of-file")
    if "/ram/block" in path:
        return Cause("header-cut", {"length": int(found) if structure == "header" else 0})
    if "/ram/record" in path:
        return _cut_record(case)
    return _CUT.get(structure, Cause("end-of-file"))


#: What is missing of a footer is read as zeros.
_CUT = {
    "footer": Cause("footer-id", {"footer_id": 0}),
    "header.idstr": Cause("idstr"),
    "header.instance_id": Cause("instance-and-version"),
    "header.version_id": Cause("instance-and-version"),
    "header": Cause("section-id"),
}


def _cut_record(case: Case) -> Cause:
    """A record that carries a page is refused by its flags, whether the page is there or not."""
    survey, offset = case.survey, case.finding.offset
    if survey is None or offset is None or not survey.mapped:
        return Cause("ram-address")
    return Cause("ram-address" if survey.image.source.size < offset + 8 else "ram-flags")


def ram_word(case: Case) -> Cause:
    """What is said of a word that is no RAM record, or none that belongs here."""
    survey, offset = case.survey, case.finding.offset
    if survey is None or offset is None:
        return Cause("ram-combination")
    try:
        word = int.from_bytes(survey.image.source.read_exact(offset, 8), "big")
    except FixedRamError:
        return Cause("ram-address")
    return _word(survey, word)


def _word(survey: Survey, word: int) -> Cause:
    flags = word & (survey.target_page_size - 1)
    if survey.mapped and flags & _INVALID:
        return Cause("ram-flags", {"flags": flags & _INVALID})
    return Cause("ram-combination", {"flags": flags})


def section_type(case: Case) -> Cause:
    """A byte that begins no section."""
    return Cause("section-type", {"type": _number(case.finding.found)})


def unknown_section_id(case: Case) -> Cause:
    """The id of a PART."""
    return Cause("unknown-section-id", {"section_id": c_int(_number(case.finding.found))})


def footer_id(case: Case) -> Cause:
    """The id of a footer."""
    return Cause("footer-id", {"footer_id": _number(case.finding.found)})


def machine(case: Case) -> Cause:
    """The received machine type; the local one where the destination is known."""
    image = case.survey.image if case.survey else None
    destination = case.survey.destination if case.survey else None
    holes: Holes = {"name": c_text(image.machine.encode())} if image and image.machine else {}
    if holes and destination is not None and destination.machine is not None:
        holes["local"] = destination.machine
    return Cause("machine", holes)


def page_bits(case: Case) -> Cause:
    """The received page size; the local one where the destination or the description says it."""
    survey = case.survey
    if survey is None:
        return Cause("page-bits")
    vmdesc = survey.image.vmdesc
    known = survey.destination.target_page_size if survey.destination else None
    local = known or (vmdesc.page_size if vmdesc else None)
    return Cause("page-bits", {"local_bits": local.bit_length() - 1} if local else {})


def capability(case: Case) -> Cause:
    """Both states of a capability that differs."""
    states: Holes = {"state": case.finding.found, "local_state": case.finding.expected}
    return Cause("capability", states)


def subsection_version(case: Case) -> Cause:
    """QEMU keeps the low byte of the version; all subsections have version 1."""
    version = _number(case.finding.found) & 0xFF
    holes: Holes = {"version": version, "local_version": 1}
    return Cause("version-new" if version else "version-old", holes)


def command_length(case: Case) -> Cause:
    """QEMU's table has some lengths, the handlers of other commands check theirs."""
    holes = case.finding.holes
    if holes.get("command") == "RECV_BITMAP":
        return Cause("recv-bitmap-name" if holes.get("length", 0) != 0 else "recv-bitmap-length")
    return Cause("advise-length" if holes.get("command") == "POSTCOPY_ADVISE" else "command-length")


def ram_version(case: Case) -> Cause:
    """What is older than known is refused without a word of its own; printed as a C int."""
    version = _number(case.finding.found)
    if version > RAM_VERSION:
        return Cause("section-version", {"version": c_int(version), "local_version": RAM_VERSION})
    return Cause("ram-state")


def header_version(case: Case) -> Cause:
    """The version of a MappedRamHeader, as a C int."""
    return Cause("header-version", {"version": c_int(_number(case.finding.found))})


def offset_wraps(case: Case) -> Cause:
    """Without a present page the stream is read on where the offset has wrapped to."""
    if case.finding.holes.get("field") == "bitmap_offset":
        return Cause("bitmap-unread")
    cause = page_unread(case)
    return cause if cause.holes else goes_on(case)


def goes_on(case: Case) -> Cause:
    """What the stream goes on with after the pages of a block: another block's name, or a word."""
    survey, block = case.survey, block_of(case.survey, case.finding)
    if survey is None or block is None:
        return Cause("ram-address")
    offset = (block.pages_offset + block.used_length) % (1 << 64)
    last = block.index == len(survey.image.blocks) - 1 and case.finding.rule.id not in _IN_LIST
    data = survey.image.source.read_upto(offset, 256) if offset < survey.image.source.size else b""
    if not last:
        return Cause("unknown-block", {"block": c_text(data[1 : 1 + data[0]]) if data else ""})
    if len(data) < 8:
        return Cause("ram-address")
    return _word(survey, int.from_bytes(data[:8], "big"))


def page_unread(case: Case) -> Cause:
    """The first piece of a run of present pages that is not in the file, as a whole or in part."""
    survey, block = case.survey, block_of(case.survey, case.finding)
    if survey is None or block is None:
        return Cause("page-unread")
    piece = _first_unread(survey, block)
    if piece is None:
        return Cause("page-unread")
    page, length = piece
    offset = block.pages_offset + page
    why = "Unable to read from file: Invalid argument"
    if offset < _OFFSET_CEILING:
        read = max(0, min(length, survey.image.source.size - offset))
        why = f"Partial read of size {read}, expected {length}"
    return Cause("page-unread", {"page": page, "offset": offset, "why": why})


def _first_unread(survey: Survey, block: RamBlock) -> tuple[int, int] | None:
    """Start in the block and length of that piece, in bytes."""
    bitmap, size = survey.bitmaps.get(block.index), survey.image.source.size
    if bitmap is None:
        return None
    readable = size if block.pages_offset < size else 0
    inside = max(0, (readable - block.pages_offset) // block.page_size) if readable else 0
    for run in bitmap.runs():
        if not run.present or run.stop <= inside:
            continue
        start, stop = run.start * block.page_size, run.stop * block.page_size
        skipped = max(0, inside * block.page_size - start) // _PIECE * _PIECE
        return start + skipped, min(_PIECE, stop - start - skipped)
    return None
