"""What each finding makes a loader do: FORMAT 7, held against real QEMU by the interop tests.

The table is by rule.  A row is an Effect, or a function where it depends on more than the loader's
version; a rule without a row makes no difference to any loader.  Rows stand in the order in which a
loader checks things: of two findings at one record the upper row decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import Outcome, SyncPoint
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.validate.lengths import is_resizable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.validate.rule import Finding
    from fixedram_fmt.validate.survey import Survey

__all__ = ["EFFECTS", "Case", "Effect", "effect_of"]

REFUSES, WRONG, CRASHES = Outcome.REFUSES, Outcome.WRONG_MEMORY, Outcome.CRASHES

#: What QEMU 11 says, in substance, of any page_size that is not its own.
_PAGE_SIZE = "page size {found} of the block's header is not {expected}"
#: migration/ram.c MAPPED_RAM_LOAD_BUF_SIZE: bytes that a load reads at a time.
_LOAD_PIECE = 1 << 20
#: Bytes of vmstate_vapic, all of version 1, and what is said where its ROM is not in memory.
_VAPIC_BODY = 144
_NO_VAPIC = "error while loading state for instance 0x0 of device 'kvm-tpr-opt'"
#: Counts that are negative as the C int QEMU multiplies with: the allocation fails, QEMU aborts.
_NEGATIVE_INT = 1 << 31


@dataclass(frozen=True, slots=True)
class Effect:
    """What a loader does: without channels, with multifd, and since QEMU 11, where that differs.

    message is what QEMU prints, in substance; {found} and {expected} are the finding's.
    """

    outcome: Outcome
    message: str = ""
    multifd: Outcome | None = None
    since_11: Outcome | None = None
    message_11: str = ""


class Case(NamedTuple):
    """A finding and who meets it; property_on: multifd_flush_after_each_section."""

    survey: Survey | None
    finding: Finding
    loader: Loader
    multifd: bool
    property_on: bool


def _refuses(message: str) -> Effect:
    return Effect(REFUSES, message)


def _wrong(message: str) -> Effect:
    return Effect(WRONG, message)


# -- rows that depend on more ---------------------------------------------------------------------


def _allocation(case: Case) -> Effect:
    if int(case.finding.found) >= _NEGATIVE_INT:
        return Effect(CRASHES, "GLib: failed to allocate memory")
    return _refuses("load of migration failed: Invalid argument")


def _review_capability(case: Case) -> Effect | None:
    if case.finding.found.strip("'").encode() in case.loader.layouts:
        return None
    return _refuses("Received unknown capability {found}")


def _talking_command(case: Case) -> Effect | None:
    """Which commands of a conversation a loader stumbles over when nobody is there."""
    refused = {
        MigCmd.PING.name: "CMD_PING received with no return path",
        MigCmd.POSTCOPY_ADVISE.name: "RAM postcopy is disabled but have 16 byte advise",
        MigCmd.POSTCOPY_LISTEN.name: "CMD_POSTCOPY_LISTEN in wrong postcopy state",
        MigCmd.POSTCOPY_RUN.name: "CMD_POSTCOPY_RUN in wrong postcopy state",
        MigCmd.POSTCOPY_RAM_DISCARD.name: "CMD_POSTCOPY_RAM_DISCARD in wrong postcopy state",
        MigCmd.ENABLE_COLO.name: "ENABLE_COLO command come in migration stream, but the capability"
        " is not set",
    }
    message = refused.get(case.finding.found)
    return _refuses(message) if message else None


def _block_of(case: Case) -> RamBlock | None:
    """The block that a finding is about."""
    if case.survey is None:
        return None
    return case.survey.blocks_by_path.get(case.finding.path.removesuffix("/header"))


def _smaller_pages(case: Case) -> Effect | None:
    """A longer bitmap than there is: what follows it counts as pages past the block's end."""
    survey, block = case.survey, _block_of(case)
    if case.loader.major >= 11 or survey is None:
        return _refuses(_PAGE_SIZE)
    if block is None or not block.header_page_size:
        return None
    bits = block.used_length // block.header_page_size
    try:
        bitmap = PageBitmap(survey.image.source, block.bitmap_offset, bits)
    except FormatError:
        return _refuses("Error reading dirty bitmap")
    if bitmap.count(block.used_length // survey.target_page_size):
        return _refuses("page outside of ramblock range")
    return None


def _larger_pages(case: Case) -> Effect | None:
    """A bitmap that is read too short: the pages whose bits lie behind its end are left out."""
    survey, block = case.survey, _block_of(case)
    if case.loader.major >= 11 or survey is None:
        return _refuses(_PAGE_SIZE)
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
    block = _block_of(case)
    bitmap = survey.bitmaps[block.index] if survey and block else None
    if survey is None or survey.destination is None or block is None or bitmap is None:
        return None
    length = int(finding.expected)
    ceiling = survey.destination.block_ceilings.get(block.name, length)
    if not bitmap.count(length // block.page_size):
        return None
    if ceiling > length and _fits_by_luck(bitmap, block.page_size, length, ceiling):
        return None
    return _refuses(f"page outside of ramblock {_braced(block.name)} range")


def _braced(name: str) -> str:
    """A name as a part of a message, whose braces have a meaning."""
    return name.replace("{", "{{").replace("}", "}}")


def _fits_by_luck(bitmap: PageBitmap, page_size: int, length: int, ceiling: int) -> bool:
    """Whether no piece of a run begins past a block's length, and none reaches past its ceiling.

    migration/ram.c read_ramblock_mapped_ram() looks where a piece of MAPPED_RAM_LOAD_BUF_SIZE
    begins; a resizable block has memory up to its max_length.
    """
    for run in bitmap.runs():
        stop = run.stop * page_size
        if not run.present or stop <= length:
            continue
        last_piece = stop - 1 - (stop - 1 - run.start * page_size) % _LOAD_PIECE
        if last_piece >= length or stop > ceiling:
            return False
    return True


def _shorter_block(case: Case) -> Effect | None:
    if case.survey is not None and not case.survey.mapped:
        return _other_length(case)
    return _wrong("the rest of the block is left as it is")


def _other_length(case: Case) -> Effect:
    """system/physmem.c qemu_ram_resize(), which ordinary streams call for another length."""
    survey = case.survey
    block = survey.listed_by_path.get(case.finding.path) if survey else None
    name = _braced(block.name) if block else "?"
    length, expected = int(case.finding.found), int(case.finding.expected)
    if block is not None and is_resizable(block.name) and survey and survey.destination:
        ceiling = survey.destination.block_ceilings.get(block.name, expected)
        return _refuses(f"Size too large: {name}: {length:#x} > {ceiling:#x}: Invalid argument")
    return _refuses(f"Size mismatch: {name}: {length:#x} != {expected:#x}: Invalid argument")


def _overlap(case: Case) -> Effect | None:
    """Bytes that belong to another spoil the memory, unless they happen to say the same."""
    survey, block = case.survey, _block_of(case)
    moved = survey and block and block.bitmap_offset != survey.usual_bitmap(block)
    if survey and block and moved and not survey.has_other_bits(block):
        return None
    return _wrong("bytes of one region are loaded as another's")


def _no_memory(case: Case) -> Effect:
    if case.survey is not None and _vapic_is_active(case.survey):
        return _refuses(_NO_VAPIC)
    return _wrong("all memory is taken for zero")


def _block_lost(case: Case) -> Effect:
    block = _block_of(case)
    main = case.survey and block and block.name == "pc.ram" and not case.survey.present[block.index]
    if case.survey is not None and main and _vapic_is_active(case.survey):
        return _refuses(_NO_VAPIC)
    return _wrong("memory of the block is taken for zero")


def _vapic_is_active(survey: Survey) -> bool:
    """Whether hw/i386/kvmvapic.c vapic_post_load() looks for its ROM in the guest's memory."""
    for section in survey.image.sections:
        if section.idstr == b"kvm-tpr-opt":
            body = survey.image.source.read_upto(section.body_offset, _VAPIC_BODY)
            # state, and rom_state_paddr at the body's end.
            return len(body) == _VAPIC_BODY and any((*body[124:128], *body[140:]))
    return False


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
    return Effect(CRASHES, "hangs: the channels have quit and never post sem_sync")


def _flush(case: Case) -> Effect | None:
    return None if case.loader.takes_flush else _refuses("Unexpected RAM flags: 512")


def _ordinary(case: Case) -> Effect | None:
    if not case.multifd:
        return None
    return _refuses("Migration requires multi-channel URIs (e.g. tcp)")


def _ignore_shared(case: Case) -> Effect | None:
    if case.loader.major >= 11:
        return None
    return _refuses("the address of the block's region is read as its header")


EFFECTS: dict[str, Effect | Callable[[Case], Effect | None]] = {
    "S01": _refuses("Not a migration stream"),
    "S02": _refuses("Unsupported migration stream version"),
    "S03": _refuses("load of migration failed: Input/output error"),
    "S04": _refuses("load of migration failed: Input/output error"),
    "S05": _refuses("Unknown savevm section type {found}"),
    "S06": _refuses("MIG_CMD {found} unknown"),
    "S07": _refuses("command received with bad length - expecting {expected}, got {found}"),
    "S08": _talking_command,
    "S09": _refuses("Missing section footer"),
    "S10": _refuses("Missing section footer"),
    "S11": _refuses("Mismatched section id in footer - read {found} expected {expected}"),
    "S12": _refuses("Unknown savevm section {found}"),
    "S17": _refuses("Unknown section or instance {found}"),
    "S20": _refuses("load of migration failed: Input/output error"),
    "S19": _refuses("Missing section footer"),
    "G01": _refuses("Configuration section missing"),
    "G03": _refuses("Machine type received is {found}"),
    "G04": _allocation,
    "G05": _refuses("Received unknown capability {found}"),
    "G08": _review_capability,
    "G09": _refuses("load of migration failed: No such file or directory"),
    "G10": _refuses("load of migration failed: No such file or directory"),
    "G11": _refuses("incoming version_id {found} is not supported"),
    "G13": _refuses("Received TARGET_PAGE_BITS is not the local one"),
    "G14": _refuses("Received TARGET_PAGE_BITS is not the local one"),
    "G15": _refuses("Capability mapped-ram is on, but received capability is off"),
    "G16": _allocation,
    "T01": _refuses("Machine type received is {found} and local is {expected}"),
    "T02": _refuses("Capability is {expected}, but received capability is {found}"),
    "T03": _refuses("Received TARGET_PAGE_BITS is not the local one"),
    "R01": _wrong("no memory is loaded"),
    "R02": _wrong("no memory is loaded"),
    "R05": _wrong("no memory is loaded"),
    "R06": _refuses("Unexpected RAM flags"),
    "R07": _refuses("Unknown combination of migration flags"),
    "R08": _refuses("Unknown combination of migration flags"),
    "R09": _refuses("Unknown combination of migration flags"),
    "T04": _refuses("Unknown ramblock {found}, cannot accept migration"),
    "R15": _refuses("Unknown ramblock {found}, cannot accept migration"),
    "R16": _wrong("the block's memory is not loaded"),
    "R18": Effect(CRASHES, "GLib: failed to allocate memory"),
    "R17": _refuses("Unknown ramblock, cannot accept migration"),
    "R04": _refuses("Unknown ramblock, cannot accept migration"),
    "R13": _refuses('Unknown ramblock "", cannot accept migration'),
    "R19": _refuses("unsupported version {found} for 'ram'"),
    "R20": _refuses("Unknown section or instance 'ram' {found}"),
    "R24": _refuses("Illegal RAM offset"),
    "L16": _ignore_shared,
    "L01": _refuses("Migration mapped-ram capability version {found} is not supported"),
    "L03": Effect(CRASHES, "division by zero", since_11=REFUSES, message_11=_PAGE_SIZE),
    "L11": _refuses("Error reading ramblock pages, region has bad alignment"),
    "L07": _refuses("Error reading ramblock pages, region has bad alignment"),
    "L06": _refuses("Error reading dirty bitmap"),
    "L15": Effect(REFUSES, "failed to read page", multifd=CRASHES),
    "L05": _smaller_pages,
    "T06": _longer_block,
    "B04": Effect(REFUSES, "failed to read page", multifd=CRASHES),
    "L18": _refuses("failed to read page"),
    "L08": _refuses("load of migration failed: Input/output error"),
    "L12": _refuses("load of migration failed: Invalid argument"),
    "L04": _larger_pages,
    "L09": _overlap,
    "L10": _overlap,
    "L13": _wrong("pages are loaded as another bitmap says"),
    "B02": _wrong("pages are loaded to the places of others"),
    "B03": _no_memory,
    "B07": _block_lost,
    "Y01": _flush,
    "Y05": _ordinary,
    "Y02": _never_synced,
    "Y03": _second_sync,
    "T05": _wrong("the block's memory is left as it is"),
    "T07": _shorter_block,
    "T08": _refuses("Unknown section or instance {found}"),
    "T09": _refuses("savevm: unsupported {found}"),
    "T10": _refuses("incoming version_id is too old"),
}


def effect_of(case: Case) -> tuple[Outcome, str] | None:
    """What the finding makes the loader do, and its message; None: nothing."""
    row = EFFECTS.get(case.finding.rule.id)
    effect = row if isinstance(row, Effect) or row is None else row(case)
    if effect is None:
        return None
    outcome, message = effect.outcome, effect.message
    if case.loader.major >= 11 and effect.since_11:
        outcome, message = effect.since_11, effect.message_11
    elif case.multifd and effect.multifd:
        outcome = effect.multifd
    finding = case.finding
    return outcome, message.format(found=finding.found, expected=finding.expected)
