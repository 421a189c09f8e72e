"""`fixedram rules`: what each rule of validate means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.options import (
    Json,
    Output,
    OutputFormat,
    wants_json,
)

if TYPE_CHECKING:
    from fixedram_fmt.validation.rule import Rule


def rules(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Rules or areas; all by default.",
                       show_default=False),
    ] = None,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
) -> None:  # fmt: skip
    """Explain the rules of validate.

    What each means, why it matters, what to do.

    Example: fixedram rules

    Example: fixedram rules L03
    """
    from fixedram_fmt.validation.rules import all_rules
    from fixedram_fmt.validation.selection import rule_ids

    known = all_rules()
    chosen = rule_ids(ids) if ids else known
    asked = [rule for rule_id, rule in known.items() if rule_id in chosen]
    if wants_json(json_, output):
        from fixedram_cli.render.jsonout import print_json
        from fixedram_fmt.validation.result import RuleList

        print_json(RuleList.of(asked))
    elif ids and len(asked) <= len(ids):
        _explain(asked)
    else:
        _list(asked)


def _explain(rules: list[Rule]) -> None:
    from textwrap import wrap

    from rich.text import Text

    from fixedram_cli.render.findings import severity_style
    from fixedram_cli.render.terminal import console

    out = console()
    for rule in rules:
        head = Text(f"{rule.id}  ", style="bold").append(rule.title, style="bold")
        out.print(head.append(f"  ({rule.severity.value})", style=severity_style(rule.severity)))
        for name, value in (("why", rule.why), ("fix", rule.fix), ("source", rule.source)):
            for number, line in enumerate(wrap(value, max(20, out.width - 10))):
                label = Text(f"  {name if not number else '':<8}", style="dim")
                out.print(label.append(line, style="not dim"), soft_wrap=True)
        out.print()


def _list(rules: list[Rule]) -> None:
    from itertools import groupby

    from rich.text import Text

    from fixedram_cli.render.findings import severity_style
    from fixedram_cli.render.terminal import console

    out = console()
    for area, group in groupby(rules, key=lambda rule: rule.area):
        out.print(Text(area, style="bold"))
        for rule in group:
            line = Text(f"  {rule.id}  ")
            line.append(f"{rule.severity.value:<8}", style=severity_style(rule.severity))
            out.print(line.append(rule.title, style="not bold"), soft_wrap=True)
        out.print()
