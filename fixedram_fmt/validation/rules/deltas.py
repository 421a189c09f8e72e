"""Area R: pages that come as XBZRLE deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.stream.xbzrle import apply_delta
from fixedram_fmt.validation.effects import refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_records, at_stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.survey import Survey

_DECODE = "FORMAT 6; migration/xbzrle.c xbzrle_decode_buffer()"
_LOAD = "FORMAT 6; migration/ram.c load_xbzrle()"


@at_records("R26", Severity.ERROR, _LOAD, Kind.XBZRLE, effect=refuses("xbzrle-length"))
def delta_too_long(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A delta of a page is longer than the page.

    QEMU has a page's room for it, and refuses the stream.

    Fix: save the guest again, or without the capability xbzrle; the record is damaged.
    """
    if not survey.mapped and record.value.stride > survey.target_page_size:
        yield Observation(
            "a delta longer than a page",
            record.value.data_offset,
            record.path,
            str(record.value.stride),
            f"at most {survey.target_page_size}",
        )


@at_records("R27", Severity.ERROR, _DECODE, Kind.XBZRLE, effect=refuses("xbzrle-decode"))
def delta_undecodable(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A delta of a page cannot be applied.

    It ends inside a run, has an empty run, or reaches past the page. QEMU refuses the stream there;
    what the page should hold is lost.

    Fix: save the guest again, or without the capability xbzrle; the record is damaged.
    """
    size, run = survey.target_page_size, record.value
    if survey.mapped or run.stride > size:
        return
    delta = survey.image.source.read_exact(run.data_offset, run.stride, record.path)
    try:
        apply_delta(bytearray(size), delta, run.data_offset)
    except FormatError as error:
        yield Observation(error.message, error.offset, record.path, error.found, error.expected)


@at_stop("R28", Severity.ERROR, _LOAD, "xbzrle-encoding", effect=refuses("xbzrle-compression"))
def delta_encoding(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A delta of a page has another encoding than XBZRLE.

    There is one encoding (1). QEMU refuses any other; what comes after it is not judged.

    Fix: save the guest again, or without the capability xbzrle; the record is damaged.
    """
    if survey is not None:
        yield Observation.of(error)
