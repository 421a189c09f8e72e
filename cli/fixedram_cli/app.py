"""The typer application: global options, and the commands, each read when it is asked for."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fixedram_cli.command import flattened
from fixedram_cli.helptext import told
from fixedram_cli.options import number
from fixedram_cli.render.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["COMMANDS", "application", "settings"]

#: Module and function of each command, in the order of --help.
COMMANDS = {
    "info": "info:info",
    "dump": "dump:dump",
    "copy": "copy:copy",
    "convert": "convert:convert",
    "synth": "synth:synth",
    "validate": "validate:validate",
    "state": "state:state",
    "read": "read:read",
    "extract": "extract:extract",
    "map": "map:map_",
    "report": "report:report",
    "load": "load:load",
    "mount": "mount:mount",
    "volatility-path": "volatility:volatility_path",
    "sync": "sync:sync",
    "diff": "diff:diff",
    "digest": "digest:digest",
    "rules": "rules:rules",
    "destination": "destination:destination",
}
#: What people who come from qemu-img type.
_ALIASES = {"check": "validate", "compare": "diff"}
#: Lines of --help are not longer, however wide the terminal is.
_WIDTH = 100


@dataclass(slots=True)
class Settings:
    """What the global options say; set once, before the command runs."""

    traceback: bool = False


settings = Settings()


def application(command: str | None = None) -> typer.Typer:
    """The whole application; where command is one of its commands, with that alone.

    To make parameters of the signatures of all commands takes longer than most commands do.
    """
    made = typer.Typer(
        name="fixedram",
        cls=_Application,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDTH},
    )
    made.callback()(_globals)
    known = [*COMMANDS, *_ALIASES]
    for name in [command] if command in known else known:
        place = COMMANDS[_ALIASES.get(name, name)]
        made.command(name, cls=_Command, hidden=name in _ALIASES)(flattened(_function(place)))
    return made


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"fixedram_cli.commands.{module}"), name)
    return function


class _Application(TyperGroup):
    """All commands.  Usage errors cite names of files and of devices, which must not act."""

    def make_context(self, *words: Any, **more: Any) -> Any:
        with _escaped():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        with _escaped():
            return super().invoke(ctx)


@contextmanager
def _escaped() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        for name in ("message", "option_name", "param_hint"):
            text = getattr(error, name, None)
            if isinstance(text, str):
                setattr(error, name, visible(text))
        raise


class _Command(TyperCommand):
    """A command whose examples come last, one a line, as they are typed."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """IMAGE, where typer writes {IMAGE}."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, _ctx: Any, formatter: Any) -> None:
        for paragraph in told(self.help or "").text:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(paragraph)

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        examples = told(self.help or "").examples
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"  {example}\n")


def _version(asked: bool) -> None:
    if asked:
        from fixedram_fmt import __version__

        typer.echo(f"fixedram {__version__}")
        raise typer.Exit


def _limit_unpacking(size: str) -> None:
    """For this process and those it starts."""
    from fixedram_fmt.io.unpacking import UNPACK_LIMIT

    os.environ[UNPACK_LIMIT] = str(number(size, "--unpack-limit"))


def _globals(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    unpack_limit: Annotated[
        str | None,
        typer.Option(
            "--unpack-limit",
            metavar="SIZE",
            help="What a compressed file may unpack to (default: by its own size).",
        ),
    ] = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show Python tracebacks (for developers).")
    ] = False,
) -> None:
    """Toolkit for QEMU fixed-ram (mapped-ram) migration images."""
    if unpack_limit is not None:
        _limit_unpacking(unpack_limit)
    settings.traceback = traceback
