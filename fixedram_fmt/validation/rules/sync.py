"""Area Y: MULTIFD_FLUSH and who waits for the receive channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.loaders import SyncPoint
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.validation.causes import ram_word
from fixedram_fmt.validation.effects import Phase, crashes, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_SYNC = "FORMAT 9; migration/multifd.c multifd_recv_sync_main()"
_REVIEW = "fixed-ram-v4"


def _unless_taken(case: Case) -> Effect | None:
    return None if case.loader.takes_flush else ram_word(case)


@over_image(
    "Y01",
    Severity.ERROR,
    "FORMAT 9; migration/ram.c ram_load_precopy() invalid_flags",
    effect=_unless_taken,
)
def flush_in_mapped_ram(survey: Survey) -> Iterator[Observation]:
    """MULTIFD_FLUSH stands in a mapped-ram image.

    As merged, receivers sync once, after the list of blocks; the flag is invalid there.

    Fix: save with a released QEMU, or take the record out.
    """
    if survey.image.dialect == "mapped-ram":
        for flush in survey.flushes:
            yield Observation(
                "MULTIFD_FLUSH is invalid with mapped-ram",
                flush.record.offset,
                flush.record.path,
                "MULTIFD_FLUSH",
                "none",
            )


def _never_synced(case: Case) -> Effect | None:
    syncs = case.loader.syncs_property_on if case.property_on else case.loader.syncs
    if not case.multifd or syncs != {SyncPoint.FLUSH}:
        return None
    if case.survey and not any(case.survey.present.values()):
        return None  # there is nothing to wait for
    return wrong("cleanup can run before the channels have finished their I/O")


@over_image("Y02", Severity.NOTE, _SYNC, effect=_never_synced)
def no_flush(survey: Survey) -> Iterator[Observation]:
    """No MULTIFD_FLUSH makes a receiver of the review wait for its channels.

    A fixed-ram image without it was saved without multifd, or with
    multifd_flush_after_each_section on; in mapped-ram images there is never one. A receiver of
    review version 4 that loads it with channels never waits for them: cleanup can run before they
    have finished their I/O.

    Fix: load it without multifd, or with a receiver that syncs at the end of each section.
    """
    if survey.mapped and not survey.flushes and survey.last_eos:
        eos, _ = survey.last_eos
        yield Observation(
            "nothing makes a receiver wait for its channels",
            eos.offset,
            eos.path,
            "EOS alone",
            "MULTIFD_FLUSH before the last EOS",
            conditional=survey.image.dialect != _REVIEW,
        )


def _second_sync(case: Case) -> Effect | None:
    if not case.multifd or case.loader.syncs_again:
        return None
    return crashes("hangs: the channels have quit and never post sem_sync")


@over_image("Y03", Severity.WARNING, _SYNC, effect=_second_sync)
def flush_again(survey: Survey) -> Iterator[Observation]:
    """A fixed-ram image has more than one MULTIFD_FLUSH.

    In review version 4 the receive channels quit at the first; a second sync waits for ever.

    Fix: keep only the one before the last EOS.
    """
    for flush in survey.flushes[1:] if survey.mapped else ():
        yield Observation(
            "a second sync",
            flush.record.offset,
            flush.record.path,
            "MULTIFD_FLUSH again",
            "one before the last EOS",
            conditional=survey.image.dialect != _REVIEW,
        )


@over_image("Y04", Severity.WARNING, _SYNC)
def flush_too_early(survey: Survey) -> Iterator[Observation]:
    """MULTIFD_FLUSH does not stand in the section that ends the RAM.

    The writers of fixed-ram send it right before the last EOS. A sync that comes earlier says
    nothing of what is handed out after it.

    Fix: move it before the last EOS.
    """
    if survey.image.dialect != _REVIEW:
        return
    for flush in survey.flushes[:1]:
        if flush.section.kind is not Kind.SECTION_END:
            yield Observation(
                "MULTIFD_FLUSH before the RAM has ended",
                flush.record.offset,
                flush.record.path,
                flush.section.kind.value,
                "section_end",
            )


def _no_channels(case: Case) -> Effect | None:
    return refuses("multi-channel") if case.multifd else None


@over_image(
    "Y05",
    Severity.NOTE,
    "FORMAT 9; migration/migration.c transport_supports_multi_channels()",
    effect=_no_channels,
    phase=Phase.CHANNELS,
)
def ordinary_stream(survey: Survey) -> Iterator[Observation]:
    """The stream is an ordinary one: pages are in it, not at fixed offsets.

    It loads from a file one record after the other, never with channels.

    Fix: load it without multifd, or save with mapped-ram on.
    """
    if not survey.mapped and survey.image.blocks and survey.hidden_layout is None:
        block = survey.image.blocks[0]
        yield Observation(
            "no fixed layout",
            block.entry_offset,
            block.path,
            "an ordinary stream",
            "mapped-ram for channels",
            order=1,
        )
