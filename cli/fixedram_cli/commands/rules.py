"""`fixedram rules`: what each rule of validate means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form
from fixedram_cli.options import option
from fixedram_cli.render.jsonout import print_json

if TYPE_CHECKING:
    from fixedram_fmt.validation.rule import Rule


def rules(
    form: Form,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...", help="Rules or areas; all by default.", show_default=False
        ),
    ] = None,
    message: Annotated[
        str | None,
        option("--message", "The rules that find what this message of QEMU's means.", "TEXT"),
    ] = None,
) -> None:
    """What each means, why it matters, what to do. Exit code 1: no rule is about the message.

    Example: fixedram rules

    Example: fixedram rules L03

    Example: fixedram rules --message 'Missing section footer for ram'
    """
    if ids and message is not None:
        raise typer.BadParameter("give rules, or a message", param_hint="'--message'")
    asked, in_full = _of_message(message) if message is not None else _named(ids)
    if form.is_json:
        from fixedram_fmt.validation.imagereport import RuleList

        print_json(RuleList.of(asked))
    elif not asked:
        print("no rule is about that message (fixedram diagnose --log says more)")
    else:
        from fixedram_cli.render.rulelist import explain_rules, list_rules

        (explain_rules if in_full else list_rules)(asked)
    raise typer.Exit(0 if asked else 1)


def _of_message(message: str) -> tuple[list[Rule], bool]:
    """The rules that may be about a message, those of the nearest cause first."""
    from fixedram_fmt.diagnosis import diagnose
    from fixedram_fmt.validation.rules import all_rules

    ids = dict.fromkeys(rule for cause in diagnose(message).causes for rule in cause.rules)
    return [all_rules()[one] for one in ids], True


def _named(ids: list[str] | None) -> tuple[list[Rule], bool]:
    """The rules that are asked for, and whether so few that each is told in full."""
    from fixedram_fmt.validation.rules import all_rules
    from fixedram_fmt.validation.selection import rule_ids

    known = all_rules()
    chosen = rule_ids(ids) if ids else known
    asked = [rule for rule_id, rule in known.items() if rule_id in chosen]
    return asked, bool(ids and len(asked) <= len(ids))
