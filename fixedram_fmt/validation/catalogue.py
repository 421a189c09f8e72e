"""The rules as a page of the specification: made from them, so that it cannot be out of date."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.effects import EFFECTS, Effect
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.rule import Rule

__all__ = ["markdown"]

_HEAD = """# The rules of `fixedram validate`

Made by `make spec` from the rules themselves; `fixedram rules ID` prints the same. The last column
is what QEMU 10 does (11, with multifd, where that differs): a finding that keeps an image from
being loaded as it should is an error under that loader, whatever its own severity.
"""


def markdown() -> str:
    """The catalogue as Markdown: a table an area, then each rule's why and what to do."""
    lines = [_HEAD]
    for area, group in groupby(all_rules().values(), key=lambda rule: rule.area):
        rules = list(group)
        lines += [f"\n## {rules[0].id[0]}: {area}\n\n", *_table(rules)]
        lines += [line for rule in rules for line in _paragraphs(rule)]
    return "".join(lines)


def _table(rules: list[Rule]) -> Iterator[str]:
    yield "| id | severity | what | QEMU |\n|---|---|---|---|\n"
    for rule in rules:
        yield f"| {rule.id} | {rule.severity.value} | {rule.title} | {_effect(rule.id)} |\n"


def _effect(rule_id: str) -> str:
    row = EFFECTS.get(rule_id)
    if row is None:
        return ""
    if not isinstance(row, Effect):
        return "it depends"
    told = [row.outcome.value]
    for name, other in (("11", row.since_11), ("multifd", row.multifd)):
        if isinstance(other, Outcome) and other is not row.outcome:
            told.append(f"{name}: {other.value}")
    return ", ".join(told)


def _paragraphs(rule: Rule) -> Iterator[str]:
    yield f"\n**{rule.id}** {rule.title}.\n"
    if rule.why:
        yield f"{rule.why}\n"
    if rule.fix:
        yield f"What to do: {rule.fix}\n"
    yield f"({rule.source})\n"
