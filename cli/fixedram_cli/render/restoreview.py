"""Of a comparison: whether each image loads into a VM like the other's, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.findings import left_open, outcome_text, severity_style
from fixedram_cli.render.terminal import count, print_line, visible
from fixedram_cli.render.wording import loader_name
from fixedram_fmt.validation.scope import Extent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from fixedram_fmt.comparison import Restore, RestoreVerdict
    from fixedram_fmt.validation.imagereport import ReportedFinding

__all__ = ["print_restore"]

_FINDINGS_SHOWN = 5


def print_restore(out: Console, restore: Restore) -> None:
    """What each VM would refuse of the other's image; nothing where both load as they are."""
    both = (restore.a_into_b, restore.b_into_a)
    if all(one.is_plain for one in both):
        return
    about = ", ".join(dict.fromkeys(loader_name(one.loader, multifd=one.multifd) for one in both))
    out.print()
    print_line(out, Text("restore", style="bold cyan").append(f"  {about}", style="not bold dim"))
    if all(one.verdict is None for one in both):
        print_line(out, Text(f"  {left_open(both[0].not_judged)}", style="dim"))
        return
    for where, one in (("A into a VM like B's", both[0]), ("B into a VM like A's", both[1])):
        for line in _lines(where, one):
            print_line(out, line)


def _lines(where: str, one: RestoreVerdict) -> Iterator[Text]:
    line = Text(f"  {where}: ")
    if one.verdict is not None:
        line.append(outcome_text(one.verdict))
    if one.decided_by is not None:
        line.append(visible(f" ({one.decided_by.rule}) {one.message}".rstrip()))
    yield line
    for finding in one.findings[:_FINDINGS_SHOWN]:
        yield from _finding(finding)
    more = len(one.findings) - _FINDINGS_SHOWN
    more = max(more, 0) + sum(one.unlisted.values())
    if more:
        yield Text(f"    ... {count(more, 'more finding')} (--json has them)", style="dim")
    for fix in dict.fromkeys(finding.fix for finding in one.findings[:_FINDINGS_SHOWN]):
        yield Text(f"    fix: {visible(fix)}", style="green")
    if one.devices is not Extent.FULL:
        yield Text(f"    {left_open(one.not_judged)}", style="dim")


def _finding(finding: ReportedFinding) -> Iterator[Text]:
    line = Text(f"    {finding.rule}  ", style=severity_style(finding.severity))
    values = (("found", finding.found), ("expected", finding.expected))
    told = ", ".join(f"{name} {visible(value)}" for name, value in values if value)
    line.append(visible(finding.message), style="default not bold")
    yield line.append(f"; {told}" if told else "", style="dim not bold")
