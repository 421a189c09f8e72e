"""Effects that findings of several rules share, where QEMU's message depends on the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import IN_CHANNELS, Effect, refuses

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.message import Holes
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

__all__ = [
    "KNOWS", "after_list", "after_pages", "first_number", "is_asked", "machine", "page_bits",
    "page_unread", "ram_word",
    "unread_page",
]  # fmt: skip

#: migration/ram.c ram_load_precopy() invalid_flags of a fixed layout.
_INVALID = (
    RamSaveFlag.HOOK | RamSaveFlag.MULTIFD_FLUSH | RamSaveFlag.PAGE | RamSaveFlag.XBZRLE
    | RamSaveFlag.ZERO
)  # fmt: skip
#: Bytes that QEMU reads of a run of pages in one go; migration/ram.c MAPPED_RAM_LOAD_BUF_SIZE.
_PIECE = 0x100000
_OFFSET_CEILING = 1 << 63


#: The hole that names the version of QEMU that a finding is about.
KNOWS = "knows"


def is_asked(case: Case) -> bool:
    """Whether a finding is of every QEMU, or of the loader's version of it."""
    version = case.finding.holes.get(KNOWS)
    return version is None or (version == case.loader.knows and not case.loader.is_design)


def first_number(found: str) -> int:
    """The number that a finding shows first."""
    return int(found.split(" ", maxsplit=1)[0], 0)


def ram_word(case: Case) -> Effect:
    """What is said of a word that is no RAM record, or none that belongs here."""
    survey, offset = case.survey, case.finding.offset
    if survey is None or offset is None:
        return refuses("ram-combination")
    try:
        word = int.from_bytes(survey.image.source.read_exact(offset, 8), "big")
    except FixedRamError:
        return refuses("ram-address")
    return _word(survey, word)


def _word(survey: Survey, word: int) -> Effect:
    flags = word & (survey.target_page_size - 1)
    if survey.mapped and flags & _INVALID:
        return refuses("ram-flags", flags=flags & _INVALID)
    return refuses("ram-combination", flags=flags)


def machine(case: Case) -> Effect:
    """The received machine type; the local one where the destination is known."""
    image = case.survey.image if case.survey else None
    destination = case.survey.destination if case.survey else None
    holes: Holes = {"name": c_text(image.machine.encode())} if image and image.machine else {}
    local = case.finding.holes.get("local") or (destination.machine if destination else None)
    if holes and local is not None:
        holes["local"] = local
    return refuses("machine", **holes)


def page_bits(case: Case) -> Effect:
    """The received page size; the local one where the destination or the description says it."""
    survey = case.survey
    if survey is None:
        return refuses("page-bits")
    vmdesc = survey.image.vmdesc
    known = survey.destination.target_page_size if survey.destination else None
    local = known or (vmdesc.page_size if vmdesc else None)
    return refuses("page-bits", **({"local_bits": local.bit_length() - 1} if local else {}))


def after_pages(case: Case) -> Effect:
    """What the stream goes on with after the pages of a block: another block's name, or a word."""
    return _after_pages(case, in_list=False)


def after_list(case: Case) -> Effect:
    """The same where the loader has not come to the end of the list: another block's name."""
    return _after_pages(case, in_list=True)


def _after_pages(case: Case, *, in_list: bool) -> Effect:
    survey, block = case.survey, case.block
    if survey is None or block is None:
        return refuses("ram-address")
    offset = (block.pages_offset + block.used_length) % (1 << 64)
    data = survey.image.source.read_upto(offset, 256) if offset < survey.image.source.size else b""
    if in_list or block.index < len(survey.image.blocks) - 1:
        return refuses("unknown-block", block=c_text(data[1 : 1 + data[0]]) if data else "")
    if len(data) < 8:
        return refuses("ram-address")
    return _word(survey, int.from_bytes(data[:8], "big"))


def page_unread(case: Case) -> Effect:
    """A present page is not in the file: with channels the way to the message is broken."""
    return replace(unread_page(case), text=IN_CHANNELS, multifd=Outcome.CRASHES)


def unread_page(case: Case) -> Effect:
    """The first piece of a run of present pages that is not in the file, as a whole or in part."""
    survey, block = case.survey, case.block
    if survey is None or block is None:
        return refuses("page-unread")
    piece = _first_unread(survey, block)
    if piece is None:
        return refuses("page-unread")
    page, length = piece
    offset = block.pages_offset + page
    why = "Unable to read from file: Invalid argument"
    if offset < _OFFSET_CEILING:
        read = max(0, min(length, survey.image.source.size - offset))
        why = f"Partial read of size {read}, expected {length}"
    return refuses("page-unread", page=page, offset=offset, why=why)


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
