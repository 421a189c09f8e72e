"""The typer application: global options, and the commands, each imported when it is run."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from fixedram_cli.helptext import told
from fixedram_cli.render.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMANDS", "application", "command", "settings"]


class Entry(NamedTuple):
    """Where a command is, as MODULE:FUNCTION, and what it does, for --help."""

    place: str
    title: str


#: Each command, in the order of --help.
COMMANDS = {
    "info": Entry("info:info", "Show what an image is: machine, blocks, completeness."),
    "snapshots": Entry("snapshots:snapshots", "List the saved states of VMs in a qcow2 image."),
    "dump": Entry("dump:dump", "Show every byte of an image with its owner, as a tree."),
    "copy": Entry("copy:copy", "Write an image again, the same to the byte or changed."),
    "convert": Entry("convert:convert", "Make a mapped-ram image of an ordinary stream, or back."),
    "rescue": Entry("rescue:rescue", "Save what can be saved of a save that never finished."),
    "synth": Entry("synth:synth", "Write an image from a spec or from options."),
    "validate": Entry("validate:validate", "List what is wrong with images, and what loaders do."),
    "state": Entry("state:state", "Show the state of devices: registers, timers, queues."),
    "guest": Entry("guest:guest", "Tell what runs in a guest, and print its kernel's log."),
    "read": Entry("read:read", "Read guest memory, or print the map of it."),
    "extract": Entry("extract:extract", "Take memory out of an image, into files for other tools."),
    "map": Entry("map:map_", "Show which pages are present, as a picture."),
    "report": Entry("report:report", "Write a self-contained HTML page about an image."),
    "load": Entry("load:load", "Really load an image as a loader does, and say how fast."),
    "rehearse": Entry("rehearse:rehearse", "Really restore an image, paused and without risk."),
    "mount": Entry("mount:mount", "Show an image as a folder of read-only files."),
    "volatility-path": Entry(
        "volatility:volatility_path", "Print the folder of the layer for volatility3 (vol -p)."
    ),
    "sync": Entry("sync:sync", "Show when a load waits for its receive channels."),
    "diff": Entry("diff:diff", "Compare two images: memory, device state, structure."),
    "digest": Entry("digest:digest", "Print a digest of what images mean, not of their layout."),
    "diagnose": Entry("diagnose:diagnose", "Explain why a save or a restore failed, from a log."),
    "rules": Entry("rules:rules", "Explain the rules of validate."),
    "destination": Entry(
        "destination:destination", "Write down what a VM needs to receive such an image."
    ),
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


def application() -> typer.Typer:
    """The whole application; of its commands only the one that is run is imported."""
    made = typer.Typer(
        name="fixedram",
        cls=_Application,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDTH},
    )
    made.callback()(_globals)
    return made


def command(name: str) -> Any:
    """A command with all its parameters, as typer runs it; its help is title and docstring."""
    from fixedram_cli.command import flattened  # --help of all needs no options

    entry = COMMANDS[_ALIASES.get(name, name)]
    module, _, attribute = entry.place.partition(":")
    function = getattr(import_module(f"fixedram_cli.commands.{module}"), attribute)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    text = f"{entry.title}\n\n{getdoc(function)}"
    alone.command(name, cls=_Command, help=text)(flattened(function))
    return get_command(alone)


class _Application(TyperGroup):
    """All commands.  Usage errors cite names of files and of devices, which must not act."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        # For --help and completion; resolve_command has the whole ones.
        for name in (*COMMANDS, *_ALIASES):
            title = COMMANDS[_ALIASES.get(name, name)].title
            self.commands[name] = TyperCommand(name, help=title, hidden=name in _ALIASES)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, known, rest = super().resolve_command(ctx, args)
        return name, command(name) if name else known, rest

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
    from fixedram_cli.options import number
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
