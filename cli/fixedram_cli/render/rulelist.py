"""The rules of validate as text."""

from __future__ import annotations

from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.findings import severity_style
from fixedram_cli.render.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.validation.rule import Rule

__all__ = ["explain_rules", "list_rules"]


def explain_rules(rules: Sequence[Rule]) -> None:
    """All that is known of each rule."""
    out = console()
    for rule in rules:
        head = Text(f"{rule.id}  ", style="bold").append(rule.title, style="bold")
        out.print(head.append(f"  ({rule.severity.value})", style=severity_style(rule.severity)))
        for name, value in (("why", rule.why), ("fix", rule.fix), ("source", rule.source)):
            for number, line in enumerate(wrap(value, max(20, out.width - 10))):
                label = Text(f"  {name if not number else '':<8}", style="dim")
                out.print(label.append(line, style="not dim"), soft_wrap=True)
        out.print()


def list_rules(rules: Sequence[Rule]) -> None:
    """A line a rule, by area."""
    out = console()
    for area, group in groupby(rules, key=lambda rule: rule.area):
        out.print(Text(area, style="bold"))
        for rule in group:
            line = Text(f"  {rule.id}  ")
            line.append(f"{rule.severity.value:<8}", style=severity_style(rule.severity))
            out.print(line.append(rule.title, style="not bold"), soft_wrap=True)
        out.print()
