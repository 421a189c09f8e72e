"""What each finding makes a loader do: FORMAT 7, held against real QEMU by the interop tests.

The table is by rule.  A row is an Effect, or a function where it depends on more than the loader's
version; a rule without a row makes no difference to any loader.  Rows stand in the order in which a
loader checks things: of two findings at one record the upper row decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import Outcome, SyncPoint
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.validation import causes
from fixedram_fmt.validation.lengths import first_piece_past, is_resizable
from fixedram_fmt.validation.loaderlog import block_of, c_int, lines
from fixedram_fmt.validation.restore import LATE, RESTORE, restore_effect
from fixedram_fmt.validation.rules.regions import OTHER_DATA, UNREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.validation.messages import Holes
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.survey import Survey

__all__ = ["EFFECTS", "Case", "Effect", "effect_of"]

REFUSES, WRONG, CRASHES = Outcome.REFUSES, Outcome.WRONG_MEMORY, Outcome.CRASHES

#: Bytes of vmstate_vapic, all of version 1, and what is said where its ROM is not in memory.
_VAPIC_BODY = 144
#: Counts that are negative as the C int QEMU multiplies with: the allocation fails, QEMU aborts.
_NEGATIVE_INT = 1 << 31
_SIZE_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Effect:
    """What a loader does: without channels, with multifd, and since QEMU 11, where that differs.

    says is the key of QEMU's message, holes what the finding itself does not fill in; text is what
    happens where QEMU has no word for it, says_11 the message of an outcome that is 11's alone.
    """

    outcome: Outcome
    says: str = ""
    holes: Holes = field(default_factory=dict)
    text: str = ""
    multifd: Outcome | None = None
    since_11: Outcome | None = None
    says_11: str = ""


class Case(NamedTuple):
    """A finding and who meets it; property_on: multifd_flush_after_each_section."""

    survey: Survey | None
    finding: Finding
    loader: Loader
    multifd: bool
    property_on: bool


#: What a fault of the receive channels looks like.
_IN_CHANNELS = "the channels' error path dies or hangs on the way to its message"


def _refuses(says: str, **holes: int | str) -> Effect:
    return Effect(REFUSES, says, holes)


def _by(cause: Callable[[Case], causes.Cause]) -> Callable[[Case], Effect]:
    """A row that refuses with a message that depends on the case."""
    return lambda case: Effect(REFUSES, *cause(case))


def _wrong(text: str) -> Effect:
    return Effect(WRONG, text=text)


# -- rows that depend on more ---------------------------------------------------------------------


def _allocation(case: Case) -> Effect:
    count = int(case.finding.found)
    if count >= _NEGATIVE_INT and case.loader.major < 11:
        size = 4 if case.finding.rule.id == "G16" else 1
        return Effect(CRASHES, "allocation", {"bytes": c_int(count) * size & _SIZE_MAX})
    if case.finding.rule.id == "G16":
        return _refuses("unknown-capability")
    return _refuses("field", vmsd="configuration", field="name")


def _bitmap_allocation(case: Case) -> Effect:
    """A bit a page, in longs."""
    pages = int(case.finding.found, 0) // 4096
    return Effect(CRASHES, "allocation", {"bytes": -(-pages // 64) * 8})


def _unknown_capability(case: Case) -> Effect | None:
    gone = case.finding.found == "'zero-blocks'" and case.loader.major < 11
    return None if gone else _refuses("unknown-capability")


def _review_capability(case: Case) -> Effect | None:
    if case.finding.found.strip("'").encode() in case.loader.layouts:
        return None
    return _refuses("unknown-capability", capability=case.finding.found.strip("'"))


#: By the situation of a command (validate/conversation.py) when nobody is there to talk to.
_TALKING = {
    "PING": _refuses("ping"),
    "POSTCOPY_ADVISE": _refuses("advise"),
    "POSTCOPY_ADVISE again": _refuses("advise-state", state=1),
    "POSTCOPY_LISTEN": _refuses("listen-state", state=0),
    "POSTCOPY_LISTEN after POSTCOPY_ADVISE": Effect(CRASHES, text="two threads read the stream"),
    "POSTCOPY_RUN": _refuses("run-state", state=0),
    "POSTCOPY_RAM_DISCARD": _refuses("discard-state", state=0),
    "POSTCOPY_RAM_DISCARD after POSTCOPY_ADVISE": Effect(
        CRASHES, text="waits for postcopy for ever"
    ),
    "ENABLE_COLO": _refuses("colo"),
    "RECV_BITMAP of no block": _refuses("recv-bitmap-block"),
}


def _talking_command(case: Case) -> Effect | None:
    return _TALKING.get(case.finding.found)


def _packaged(case: Case) -> Effect | None:
    """A command inside, or the wrapped stream itself."""
    if case.finding.message.startswith("inside"):
        return _talking_command(case)
    return _refuses("end-of-file")


def _smaller_pages(case: Case) -> Effect | None:
    """A longer bitmap than there is: what follows it counts as pages past the block's end."""
    survey, block = case.survey, block_of(case.survey, case.finding)
    if case.loader.major >= 11 or survey is None:
        return _refuses("header-page-size")
    if block is None or not block.header_page_size:
        return None
    bits = block.used_length // block.header_page_size
    try:
        bitmap = PageBitmap(survey.image.source, block.bitmap_offset, bits)
    except FormatError:
        return _refuses("bitmap-unread")
    if bitmap.count(block.used_length // survey.target_page_size):
        return _refuses("outside-block")
    return None


def _larger_pages(case: Case) -> Effect | None:
    """A bitmap that is read too short: the pages whose bits lie behind its end are left out."""
    survey, block = case.survey, block_of(case.survey, case.finding)
    if case.loader.major >= 11 or survey is None:
        return _refuses("header-page-size")
    if block is not None and block.header_page_size:
        pages = block.used_length // survey.target_page_size
        read = block.used_length // block.header_page_size
        try:
            if not PageBitmap(survey.image.source, block.bitmap_offset, pages).count(read):
                return None
        except FormatError:
            pass
    return _wrong("a part of the memory is left out")


def _longer_block(case: Case) -> Effect | None:
    """Pages past the destination's end are refused, if any is present."""
    survey, finding = case.survey, case.finding
    if survey is not None and not survey.mapped:
        return _other_length(case)
    block = block_of(survey, finding)
    bitmap = survey.bitmaps[block.index] if survey and block else None
    if survey is None or survey.destination is None or block is None or bitmap is None:
        return None
    length = int(finding.expected)
    ceiling = survey.destination.block_ceilings.get(block.name, length)
    piece = first_piece_past(bitmap, block.page_size, length, ceiling)
    if piece is None or not piece.readable:
        return _refuses("outside-block") if piece else None
    why = f"Partial read of size {piece.readable}, expected {piece.size}"
    holes: Holes = {"page": piece.start, "offset": block.pages_offset + piece.start, "why": why}
    return Effect(REFUSES, "page-unread", holes, _IN_CHANNELS, multifd=CRASHES)


def _shorter_block(case: Case) -> Effect | None:
    if case.survey is not None and not case.survey.mapped:
        return _other_length(case)
    return _wrong("the rest of the block is left as it is")


def _other_length(case: Case) -> Effect:
    """system/physmem.c qemu_ram_resize(), which ordinary streams call for another length."""
    survey = case.survey
    block = survey.listed_by_path.get(case.finding.path) if survey else None
    length, expected = int(case.finding.found), int(case.finding.expected)
    if block is not None and is_resizable(block.name) and survey and survey.destination:
        ceiling = survey.destination.block_ceilings.get(block.name, expected)
        return _refuses("size-too-large", length=length, local_length=ceiling)
    return _refuses("size-mismatch", length=length, local_length=expected)


def _page_unread(case: Case) -> Effect:
    return Effect(REFUSES, *causes.page_unread(case), _IN_CHANNELS, multifd=CRASHES)


def _overlap(case: Case) -> Effect | None:
    """Bytes that belong to another spoil the memory, unless nobody reads them as both."""
    if case.finding.found.endswith(UNREAD):
        return None
    return _wrong("bytes of one region are loaded as another's")


def _no_memory(case: Case) -> Effect:
    if case.survey is not None and _vapic_is_active(case.survey):
        return _refuses("vapic", name="kvm-tpr-opt", instance=0)
    return _wrong("all memory is taken for zero")


def _block_lost(case: Case) -> Effect:
    block = block_of(case.survey, case.finding)
    main = case.survey and block and block.name == "pc.ram" and not case.survey.present[block.index]
    if case.survey is not None and main and _vapic_is_active(case.survey):
        return _refuses("vapic", name="kvm-tpr-opt", instance=0)
    return _wrong("memory of the block is taken for zero")


def _vapic_is_active(survey: Survey) -> bool:
    """Whether hw/i386/kvmvapic.c vapic_post_load() looks for its ROM in the guest's memory."""
    for section in survey.image.sections:
        if section.idstr == b"kvm-tpr-opt":
            body = survey.image.source.read_upto(section.body_offset, _VAPIC_BODY)
            # state, and rom_state_paddr at the body's end.
            return len(body) == _VAPIC_BODY and any((*body[124:128], *body[140:]))
    return False


def _elsewhere(case: Case) -> Effect | None:
    if case.finding.expected.endswith(OTHER_DATA):
        return None
    return _wrong("pages are loaded as another bitmap says")


def _never_synced(case: Case) -> Effect | None:
    syncs = case.loader.syncs_property_on if case.property_on else case.loader.syncs
    if not case.multifd or syncs != {SyncPoint.FLUSH}:
        return None
    if case.survey and not any(case.survey.present.values()):
        return None  # there is nothing to wait for
    return _wrong("cleanup can run before the channels have finished their I/O")


def _second_sync(case: Case) -> Effect | None:
    if not case.multifd or case.loader.syncs_again:
        return None
    return Effect(CRASHES, text="hangs: the channels have quit and never post sem_sync")


def _flush(case: Case) -> Effect | None:
    return None if case.loader.takes_flush else Effect(REFUSES, *causes.ram_word(case))


def _ordinary(case: Case) -> Effect | None:
    return _refuses("multi-channel") if case.multifd else None


def _ignore_shared(case: Case) -> Effect | None:
    if case.loader.major >= 11:
        return None
    # The address of the block's region is read as its header.
    return _refuses("header-version")


def _other_size(case: Case) -> Effect | None:
    """Holes are filled where it is the section that is wrong, not the description."""
    return _refuses("footer") if case.finding.holes else None


def _restored(case: Case) -> Effect | None:
    told = restore_effect(case)
    return Effect(told[0], text=told[1]) if told else None


EFFECTS: dict[str, Effect | Callable[[Case], Effect | None]] = {
    **dict.fromkeys(RESTORE, _restored),
    "S01": _refuses("magic"),
    "S02": _by(causes.stream_version),
    "S03": _by(causes.truncated),
    "S04": _refuses("end-of-file"),
    "S05": _by(causes.section_type),
    "S06": _refuses("unknown-command"),
    "S07": _by(causes.command_length),
    "S08": _talking_command,
    "S09": _refuses("footer"),
    "S10": _refuses("footer"),
    "S11": _by(causes.footer_id),
    "S12": _by(causes.unknown_section_id),
    "S25": _refuses("version-old", vmsd="timer", version=0),
    "S24": _refuses("unknown-section"),
    "S17": _refuses("unknown-section"),
    "S23": _packaged,
    "S19": _refuses("footer"),
    "D08": _other_size,
    "S21": _wrong("devices whose sections are missing are left as a reset leaves them"),
    "G01": _refuses("no-configuration"),
    "G03": _by(causes.machine),
    "G04": _allocation,
    "G05": _unknown_capability,
    "G08": _review_capability,
    "G09": _refuses("subsection"),
    "G10": _refuses("subsection"),
    "G11": _by(causes.subsection_version),
    "G13": _by(causes.page_bits),
    "G14": _by(causes.page_bits),
    "G15": _refuses("capability", capability="mapped-ram", state="off", local_state="on"),
    "G16": _allocation,
    "T01": _by(causes.machine),
    "T02": _by(causes.capability),
    "T03": _by(causes.page_bits),
    "R01": _wrong("no memory is loaded"),
    "R02": _wrong("no memory is loaded"),
    "R05": _wrong("no memory is loaded"),
    "R06": _by(causes.ram_word),
    "R07": _by(causes.ram_word),
    "R08": _by(causes.ram_word),
    "R09": _by(causes.ram_word),
    "T04": _refuses("unknown-block"),
    "R15": _refuses("unknown-block"),
    "R16": _wrong("the block's memory is not loaded"),
    "R19": _by(causes.ram_version),
    "R20": _refuses("unknown-section"),
    "R24": _refuses("ram-offset"),
    "R28": _refuses("xbzrle-compression"),
    "R26": _refuses("xbzrle-length"),
    "R27": _refuses("xbzrle-decode"),
    "L16": _ignore_shared,
    "L01": _by(causes.header_version),
    "L03": Effect(CRASHES, text="division by zero", since_11=REFUSES, says_11="header-page-size"),
    "R18": _bitmap_allocation,
    "L11": _refuses("alignment"),
    "L07": _refuses("alignment"),
    "L06": _refuses("bitmap-unread"),
    "L15": _page_unread,
    "L05": _smaller_pages,
    "T06": _longer_block,
    "B04": _page_unread,
    "R17": _by(causes.goes_on),
    "R04": _by(causes.goes_on),
    "R13": _refuses("unknown-block", block=""),
    "L18": _by(causes.offset_wraps),
    "L08": _by(causes.goes_on),
    "L12": _by(causes.goes_on),
    "L04": _larger_pages,
    "L09": _overlap,
    "L10": _overlap,
    "L13": _elsewhere,
    "B02": _wrong("pages are loaded to the places of others"),
    "B03": _no_memory,
    "B07": _block_lost,
    "Y01": _flush,
    "Y05": _ordinary,
    "Y02": _never_synced,
    "Y03": _second_sync,
    "T05": _wrong("the block's memory is left as it is"),
    "T07": _shorter_block,
    "T08": _refuses("unknown-section"),
    "T09": _refuses("section-version"),
    "T10": _refuses("version-old"),
    **dict.fromkeys(LATE, _restored),
}


def effect_of(case: Case) -> tuple[Outcome, str, tuple[str, ...]] | None:
    """What the finding makes the loader do, the message of it, and all lines; None: nothing."""
    row = EFFECTS.get(case.finding.rule.id)
    effect = row if isinstance(row, Effect) or row is None else row(case)
    if effect is None:
        return None
    outcome, says, text = effect.outcome, effect.says, effect.text
    if case.loader.major >= 11 and effect.since_11:
        outcome, says, text = effect.since_11, effect.says_11, ""
    elif case.multifd and effect.multifd:
        outcome, says = effect.multifd, ""
    elif says:
        text = ""
    return (outcome, *lines(case, says, effect.holes)) if says else (outcome, text, ())
