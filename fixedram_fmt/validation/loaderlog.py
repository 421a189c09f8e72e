"""What a loader does about a finding, and the lines it writes: templates filled from the image.

A finding's own holes come first; what can be looked up where it lies (the section, the block, the
word of a RAM record) need not be in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema.ram import RAM_IDSTR, RAM_VERSION
from fixedram_fmt.stream.records import SECTION_HEADERS, SECTION_STARTS
from fixedram_fmt.validation.ctext import c_int, c_text
from fixedram_fmt.validation.message import Holes, Message, filled
from fixedram_fmt.validation.messages import LAST_LINE, MESSAGES

if TYPE_CHECKING:
    from fixedram_fmt.loaders import Outcome
    from fixedram_fmt.stream.records import Record
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

__all__ = ["effect_of"]

#: What is said in a last line with all messages of a section without a vmstate, such as ram.
_OLD_STYLE = "Failed to load vmstate version_id: {version:d}, ret: {ret:d}"
_ERRNO = {"Invalid argument": 22, "Input/output error": 5, "Operation not permitted": 1}


def effect_of(case: Case) -> tuple[Outcome, str, tuple[str, ...]] | None:
    """What the finding makes the loader do, the message of it, and all lines; None: nothing."""
    effect = case.finding.rule.effect_in(case.loader.major)
    if callable(effect):
        effect = effect(case)
    if effect is None:
        return None
    if case.multifd and effect.multifd:
        return effect.multifd, effect.text, ()
    if not effect.says:
        return effect.outcome, effect.text, ()
    return (effect.outcome, *_lines(case, effect.says, effect.holes))


def _lines(case: Case, key: str, holes: Holes) -> tuple[str, tuple[str, ...]]:
    """The line that tells the cause, and all that the loader writes, the last line with it."""
    message, major, survey = MESSAGES[key], case.loader.major, case.survey
    header = survey.header_of(case.finding.path) if survey else None
    known = {**_of_section(survey, header), **_of_block(case), **case.finding.holes, **holes}
    line = message.fill(major, known)
    last = LAST_LINE.format(reason=message.reason)
    if not case.loader.joins_messages:
        state = "device" if header is not None and header.kind in SECTION_STARTS else "section"
        context = MESSAGES[f"state-of-{state}"].fill(major, known)
        written = (line, context if message.in_state and header is not None else "", last)
    elif message.joined and line:
        written = ("", "", f"{last}: {_closing(case, message, header, known)}{line}")
    else:
        closing = _closing(case, message, header, known)
        written = (line, "", f"{last}: {closing}" if closing else last)
    log = tuple(one for one in written if one)
    return line or log[0], log


def _closing(case: Case, message: Message, header: Record[Any] | None, holes: Holes) -> str:
    """What the last line of a loader that joins its messages says besides the reason."""
    if not message.in_state or header is None:
        return filled(message.closing, holes)
    closing = ""
    if header.kind in SECTION_STARTS:
        closing = MESSAGES["state-of-device"].fill(case.loader.major, holes)
    if not message.joined and header.section == RAM_IDSTR:
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
