"""The typer application: global options, and the commands with their examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fixedram_cli.convert import convert
from fixedram_cli.copy import copy
from fixedram_cli.destination import destination
from fixedram_cli.diff import diff
from fixedram_cli.digest import digest
from fixedram_cli.dump import dump
from fixedram_cli.extract import extract
from fixedram_cli.info import info
from fixedram_cli.load import load
from fixedram_cli.map import map_
from fixedram_cli.mount import mount
from fixedram_cli.read import read
from fixedram_cli.report import report
from fixedram_cli.rules import rules
from fixedram_cli.state import state
from fixedram_cli.sync import sync
from fixedram_cli.synth import synth
from fixedram_cli.validate import validate
from fixedram_cli.volatility import volatility_path

__all__ = ["app", "settings"]


@dataclass(slots=True)
class Settings:
    """What the global options say; set once, before the command runs."""

    traceback: bool = False


settings = Settings()

app = typer.Typer(
    name="fixedram",
    help="Toolkit for QEMU fixed-ram (mapped-ram) migration images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from fixedram_fmt import __version__

        typer.echo(f"fixedram {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show Python tracebacks (for developers).")
    ] = False,
) -> None:
    """Toolkit for QEMU fixed-ram (mapped-ram) migration images."""
    settings.traceback = traceback


app.command()(info)
app.command()(dump)
app.command()(copy)
app.command()(convert)
app.command()(synth)
app.command()(validate)
app.command("check", hidden=True)(validate)
app.command()(state)
app.command()(read)
app.command()(extract)
app.command("map")(map_)
app.command()(report)
app.command()(load)
app.command()(mount)
app.command("volatility-path")(volatility_path)
app.command()(sync)
app.command()(diff)
app.command("compare", hidden=True)(diff)
app.command()(digest)
app.command()(rules)
app.command()(destination)
