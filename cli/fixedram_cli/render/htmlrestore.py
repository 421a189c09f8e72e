"""Where an image restores, on the page: the receiver beside the image, and what would be refused.

Without a receiver it is told what any VM of a known QEMU refuses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from fixedram_cli.render.htmlparts import Budget, number, plain, shown, table
from fixedram_cli.render.wording import loader_text
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.receiver.judging import own_structures
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from fixedram_fmt.blocks import RamBlock, Section
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.validation import Finding, Report, Verdict

    Row = tuple[str, ...]
    #: Of a row: whether something was found of it, and what makes its cells.
    _Made = tuple[bool, Callable[[], Row]]

__all__ = ["OUTCOMES", "restore_about", "restore_part", "verdict_table"]

_ROWS_SHOWN = 200
#: Characters that the rows of a table may take.
_TABLE = 300_000
#: Findings and advices of one device.
_TOLD = 3
_LISTED = 20
_LONG = 600
#: How a verdict looks, by its name.
OUTCOMES = {"loads": "good", "refuses": "warn", "wrong-memory": "bad", "crashes": "bad"}
#: Areas of rules that compare with a receiver or with its XML, and what they say of memory.
_AREAS = ("T", "C")
_OF_BLOCKS = frozenset({"T04", "T05", "T06", "T07"})
#: Rules by which a device's bytes are divided in another way.
_OF_LAYOUT = frozenset({"T12", "T15", "T19"})


def restore_about(destination: Receiver | None) -> str:
    """By what it is judged, for the head of the section."""
    if destination is None:
        return "By what each QEMU is known to have: no receiver was given (--destination, --like)."
    sources = destination.sources or []
    told = ", ".join(shown(one) for one in sources[:_LISTED])
    more = f" … and {number(len(sources) - _LISTED)} more" if len(sources) > _LISTED else ""
    return f"The receiver, as told by {told}{more}." if told else "The receiver that was given."


def restore_part(image: Image, report: Report, verdicts: Sequence[Verdict]) -> str:
    """Verdicts, the receiver's machine, memory and devices, and what nobody can tell."""
    destination = report.survey.destination if report.survey else None
    parts = [verdict_table("What becomes of it", verdicts)]
    if destination is not None:
        parts.append(_contradictions(destination))
        parts.append(_machine(image, destination))
        parts.append(_memory(image, destination, _about_receiver(report)))
    parts.append(_devices(image, report, destination))
    unlisted = sum(count for rule, count in report.unlisted.items() if rule.startswith(_AREAS))
    if unlisted:
        parts.append(
            f'<p class="pale">{number(unlisted)} more findings are not in these tables</p>'
        )
    parts.append(_not_judged(report, verdicts))
    return "".join(parts)


def verdict_table(caption: str, verdicts: Iterable[Verdict]) -> str:
    """What each loader does, and why."""
    rows = [
        (
            plain(loader_text(one)),
            f'<span class="{OUTCOMES[one.outcome.value]}">{one.outcome.value}</span>',
            shown(one.message) + (f" ({one.decided_by.rule.id})" if one.decided_by else ""),
        )
        for one in verdicts
    ]
    return table(caption, ("loader", "verdict", "why"), rows, right=frozenset())


def _about_receiver(report: Report) -> list[Finding]:
    """Findings about the receiver, those too that only some loaders stumble over."""
    found = (*report.findings, *report.conditional)
    return [one for one in found if one.rule.id.startswith(_AREAS)]


def _items(texts: Sequence[str]) -> str:
    """A list, as far as it is told."""
    items = "".join(f"<li>{shown(text, _LONG)}</li>" for text in texts[:_LISTED])
    if len(texts) > _LISTED:
        items += f'<li class="pale">… and {number(len(texts) - _LISTED)} more</li>'
    return f"<ul>{items}</ul>"


def _contradictions(destination: Receiver) -> str:
    told = destination.contradictions
    return f'<h3 class="warn">Told in two ways</h3>{_items(told)}' if told else ""


def _not_judged(report: Report, verdicts: Iterable[Verdict]) -> str:
    loaders = dict.fromkeys(one.loader for one in verdicts)
    left = [part for name in loaders for part in report.scope(LOADERS[name]).not_judged]
    return f"<h3>Not judged</h3>{_items(list(dict.fromkeys(left)))}" if left else ""


def _bounded(
    caption: str, head: Sequence[str], rows: Sequence[_Made],
    right: frozenset[int],
) -> str:  # fmt: skip
    """A table of some rows, the rest counted; of too many, those are left that have findings."""
    budget = Budget(_TABLE)
    told: list[Row] = []
    chosen = rows
    if len(rows) > _ROWS_SHOWN:
        chosen = sorted(rows, key=lambda row: not row[0])[:_ROWS_SHOWN]
    for _, make in chosen:
        row = make()
        if not budget.take("".join(row)):
            break
        told.append(row)
    more = len(rows) - len(told)
    rest = f'<p class="pale">… and {number(more)} more</p>' if more else ""
    return table(caption, head, told, right=right) + rest


# -- machine and memory ---------------------------------------------------------------------------


def _machine(image: Image, destination: Receiver) -> str:
    size = destination.target_page_size
    rows = [
        ("machine", shown(image.machine or "none"), _or_unknown(destination.machine)),
        (
            "page size",
            human_size(image.target_page_size),
            _or_unknown(None if size is None else human_size(size)),
        ),
        (
            "capabilities",
            shown(_joined(image.capabilities)),
            _or_unknown(
                None if destination.capabilities is None else _joined(destination.capabilities)
            ),
        ),
    ]
    return table("The machine", ("", "image", "receiver"), rows, right=frozenset())


def _or_unknown(text: str | None) -> str:
    return '<span class="pale">not told</span>' if text is None else shown(text)


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) or "none"


def _memory(image: Image, destination: Receiver, findings: Iterable[Finding]) -> str:
    lengths = destination.block_lengths
    if lengths is None:
        return ""
    ceilings = destination.block_ceilings
    by_path: dict[str, list[str]] = defaultdict(list)
    for one in findings:
        if one.rule.id in _OF_BLOCKS:
            by_path[one.path].append(one.rule.id)

    def sent(block: RamBlock) -> Row:
        return _block_row(
            block.name, block.used_length, lengths, ceilings, by_path.get(block.path, ())
        )

    def lacking(name: str) -> Row:
        return _block_row(name, None, lengths, ceilings, ["T05"])

    names = {block.name for block in image.blocks}
    rows: list[_Made] = [(block.path in by_path, partial(sent, block)) for block in image.blocks]
    rows += [(True, partial(lacking, name)) for name in lengths if name not in names]
    head = ("block", "bytes in the image", "bytes in the receiver", "may become", "findings")
    return _bounded("RAM blocks", head, rows, frozenset({1, 2, 3}))


def _block_row(
    name: str,
    length: int | None,
    lengths: Mapping[str, int],
    ceilings: Mapping[str, int],
    rules: Iterable[str],
) -> Row:
    own, ceiling = lengths.get(name), ceilings.get(name)
    return (
        shown(name),
        "no such block" if length is None else number(length),
        "no such block" if own is None else number(own),
        "" if ceiling is None or ceiling == own else number(ceiling),
        f'<span class="warn">{plain(", ".join(dict.fromkeys(rules)))}</span>',
    )


# -- devices --------------------------------------------------------------------------------------


def _devices(image: Image, report: Report, destination: Receiver | None) -> str:
    """Devices of both; where no receiver is known, those that some QEMU refuses."""
    sections = [section for section in image.sections if not section.is_ram]
    found = _by_section(image.sections, _about_receiver(report))
    if destination is None:
        refused: list[_Made] = [
            (True, partial(_sent, one, (), found[one.section_id]))
            for one in sections
            if one.section_id in found
        ]
        head: Row = ("device", "instance", "version", "refused", "what to do")
        caption = "Devices that not every VM takes"
        return _bounded(caption, head, refused, frozenset({1, 2})) if refused else ""
    layouts = _layouts(image, report, destination)

    def row(one: Section) -> Row:
        own = _own_version(one, destination)
        return _sent(one, (own, layouts(one)), found.get(one.section_id, ()))

    rows: list[_Made] = [(one.section_id in found, partial(row, one)) for one in sections]
    names = {section.name for section in image.sections}
    rows += [
        (True, partial(_lacking, name, version))
        for name, version in (destination.sections or {}).items()
        if name not in names
    ]
    head = ("device", "instance", "version", "receiver's version", "layout", "refused",
            "what to do")  # fmt: skip
    return _bounded("Devices", head, rows, frozenset({1, 2, 3})) if rows else ""


def _own_version(section: Section, destination: Receiver) -> str:
    if destination.sections is None:
        return "not told"
    key = destination.find(section.name, section.instance_id)
    return "no such device" if key is None else number(destination.sections[key[0]])


def _by_section(
    sections: Sequence[Section], findings: Iterable[Finding]
) -> dict[int, list[Finding]]:
    """Findings by the id of the section in which they lie."""
    ordered = sorted(sections, key=lambda section: section.offset)
    starts = [section.offset for section in ordered]
    found: dict[int, list[Finding]] = defaultdict(list)
    for one in findings:
        if one.offset is None or one.rule.id in _OF_BLOCKS:
            continue
        index = bisect_right(starts, one.offset) - 1
        if index >= 0:
            found[ordered[index].section_id].append(one)
    return found


def _layouts(image: Image, report: Report, destination: Receiver) -> Callable[[Section], str]:
    """What is known of how a section's bytes are divided on both sides."""
    own = own_structures(destination)
    read = {
        (device.name, device.instance_id)
        for device in image.state.devices
        if device.structure is not None
    }
    others = (one for one in report.findings if one.rule.id in _OF_LAYOUT)
    other = _by_section(image.sections, others)

    def layout(section: Section) -> str:
        if section.section_id in other:
            return '<span class="warn">other</span>'
        key = destination.find(section.name, section.instance_id)
        if key is None and destination.sections is not None:
            return ""
        both = key in own and (section.name, section.instance_id) in read
        return "alike" if both else '<span class="pale">not known</span>'

    return layout


def _sent(section: Section, own: Row, findings: Sequence[Finding]) -> Row:
    """A device of the image, beside what the receiver has of it."""
    device = (shown(section.name), number(section.instance_id), number(section.version_id))
    return (*device, *own, *_refused(findings))


def _lacking(name: str, version: int) -> Row:
    return shown(name), "", "no section", number(version), "", "left as it is after reset (T11)", ""


def _refused(findings: Sequence[Finding]) -> Row:
    """What was found of a device, and what to do about it."""
    told = [f"{plain(one.rule.id)} {shown(one.message)}{_values(one)}" for one in findings[:_TOLD]]
    if len(findings) > _TOLD:
        told.append(f'<span class="pale">… and {number(len(findings) - _TOLD)} more</span>')
    fixes = dict.fromkeys(one.fix for one in findings[:_TOLD] if one.fix)
    return "<br>".join(told), "<br>".join(shown(fix, _LONG) for fix in fixes)


def _values(one: Finding) -> str:
    told: Iterator[str] = (
        f"{name} {shown(value, 80)}"
        for name, value in (("found", one.found), ("expected", one.expected))
        if value
    )
    text = ", ".join(told)
    return f' <span class="pale">{text}</span>' if text else ""
