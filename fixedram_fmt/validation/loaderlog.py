"""The lines a loader writes about a finding: templates of the table, filled from the image.

A finding's own holes come first; what can be looked up where it lies (the section, the block, the
word of a RAM record) need not be in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.ram import RAM_IDSTR, RAM_VERSION
from fixedram_fmt.stream.records import SECTION_HEADERS, SECTION_STARTS
from fixedram_fmt.validation.messages import LAST_LINE, MESSAGES, Holes, Message, filled

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.stream.records import Record
    from fixedram_fmt.validation.effects import Case
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.survey import Survey

__all__ = ["block_of", "c_int", "c_text", "lines"]

#: What QEMU 11 says in its last line of a section without a vmstate, such as ram.
_OLD_STYLE = "Failed to load vmstate version_id: {version:d}, ret: {ret:d}"
_ERRNO = {"Invalid argument": 22, "Input/output error": 5, "Operation not permitted": 1}


def c_int(value: int) -> int:
    """A number of 32 bits as QEMU prints it with %d."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def c_text(name: bytes) -> str:
    """A name as QEMU prints it with %s: up to its first NUL."""
    return text(c_string(name))


def block_of(survey: Survey | None, finding: Finding) -> RamBlock | None:
    """The block that a finding is about."""
    if survey is None:
        return None
    return survey.blocks_by_path.get("/".join(finding.path.split("/")[:3]))


def lines(case: Case, key: str, holes: Holes) -> tuple[str, tuple[str, ...]]:
    """The line that tells the cause, and all that the loader writes, the last line with it."""
    message, major, survey = MESSAGES[key], case.loader.major, case.survey
    header = survey.header_of(case.finding.path) if survey else None
    known = {**_of_section(survey, header), **_of_block(case), **case.finding.holes, **holes}
    line = message.fill(major, known)
    last = LAST_LINE.format(reason=message.reason)
    if major < 11:
        state = "device" if header is not None and header.kind in SECTION_STARTS else "section"
        context = MESSAGES[f"state-of-{state}"].fill(major, known)
        written = (line, context if message.in_state and header is not None else "", last)
    elif message.joined_11 and line:
        written = ("", "", f"{last}: {_closing(message, survey, header, known)}{line}")
    else:
        closing = _closing(message, survey, header, known)
        written = (line, "", f"{last}: {closing}" if closing else last)
    told = tuple(one for one in written if one)
    return line or told[0], told


def _closing(
    message: Message, survey: Survey | None, header: Record[Any] | None, holes: Holes
) -> str:
    """What the last line of QEMU 11 says besides the reason."""
    if not message.in_state or survey is None or header is None:
        return filled(message.closing_11, holes)
    closing = ""
    if header.kind in SECTION_STARTS:
        closing = MESSAGES["state-of-device"].fill(11, holes)
    if not message.joined_11 and header.section == RAM_IDSTR:
        errno = -_ERRNO.get(message.reason, 22)
        closing += _OLD_STYLE.format(version=RAM_VERSION, ret=errno)
    return closing


def _of_section(survey: Survey | None, header: Record[Any] | None) -> Holes:
    if survey is None or header is None or header.kind not in SECTION_HEADERS:
        return {}
    section_id = header.value.section_id
    start = header if header.kind in SECTION_STARTS else survey.started.get(section_id)
    holes: Holes = {
        "name": c_text(header.section),
        "section_id": c_int(section_id),
        "expected_id": section_id,
    }
    if start is not None:
        holes["instance"] = start.value.instance_id
        holes["version"] = c_int(start.value.version_id)
    return holes


def _of_block(case: Case) -> Holes:
    path = "/".join(case.finding.path.split("/")[:3])
    block = case.survey.listed_by_path.get(path) if case.survey else None
    return {"block": c_text(block.idstr)} if block is not None else {}
