"""`fixedram rules`: what each rule of validate means."""

from __future__ import annotations

from typing import Annotated

import typer

from fixedram_cli.command import Form
from fixedram_cli.render.jsonout import print_json


def rules(
    form: Form,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...", help="Rules or areas; all by default.", show_default=False
        ),
    ] = None,
) -> None:
    """What each means, why it matters, what to do.

    Example: fixedram rules

    Example: fixedram rules L03
    """
    from fixedram_fmt.validation.rules import all_rules
    from fixedram_fmt.validation.selection import rule_ids

    known = all_rules()
    chosen = rule_ids(ids) if ids else known
    asked = [rule for rule_id, rule in known.items() if rule_id in chosen]
    if form.is_json:
        from fixedram_fmt.validation.imagereport import RuleList

        print_json(RuleList.of(asked))
        return
    from fixedram_cli.render.rulelist import explain_rules, list_rules

    if ids and len(asked) <= len(ids):
        explain_rules(asked)
    else:
        list_rules(asked)
