"""The rules as a page of the specification: made from them, so that it cannot be out of date."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome, qemu_versions
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.rule import Rule

__all__ = ["markdown"]

_HEAD = """# The rules of `fixedram validate`

Made by `make spec` from the rules themselves; `fixedram rules ID` prints the same. The last column
is what QEMU {first} does ({later}with multifd, where that differs): a finding that keeps an image
from being loaded as it should is an error under that loader, whatever its own severity.
"""


def markdown() -> str:
    """The catalogue as Markdown: a table an area, then each rule's why and what to do."""
    first, *later = qemu_versions()
    lines = [_HEAD.format(first=first, later="".join(f"{one}, " for one in later))]
    for area, group in groupby(all_rules().values(), key=lambda rule: rule.area):
        rules = list(group)
        lines += [f"\n## {rules[0].id[0]}: {area}\n\n", *_table(rules)]
        lines += [line for rule in rules for line in _paragraphs(rule)]
    return "".join(lines)


def _table(rules: list[Rule]) -> Iterator[str]:
    yield "| id | severity | what | QEMU |\n|---|---|---|---|\n"
    for rule in rules:
        yield f"| {rule.id} | {rule.severity.value} | {rule.title} | {_effect(rule)} |\n"


def _effect(rule: Rule) -> str:
    first, *later = qemu_versions()
    effect = rule.effect_in(first)
    if effect is None:
        return ""
    if callable(effect):
        return "it depends"
    outcomes = [effect.outcome.value]
    for version in later:
        other = rule.effect_in(version)
        if version in rule.since and not callable(other):
            outcomes.append(f"{version}: {other.outcome if other else Outcome.LOADS}")
    if effect.multifd not in (None, effect.outcome):
        outcomes.append(f"multifd: {effect.multifd}")
    return ", ".join(outcomes)


def _paragraphs(rule: Rule) -> Iterator[str]:
    yield f"\n**{rule.id}** {rule.title}.\n"
    if rule.why:
        yield f"{rule.why}\n"
    if rule.fix:
        yield f"What to do: {rule.fix}\n"
    yield f"({rule.source})\n"
