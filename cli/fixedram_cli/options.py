"""Options that several commands share, what they mean, and how they are refused: each once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.units import parse_size

if TYPE_CHECKING:
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.presence.hostlong import HostLong

__all__ = [
    "ByteOrder",
    "ByteOrderOption",
    "ChannelsOption",
    "Compression",
    "Container",
    "Deep",
    "DestinationOption",
    "FlushOption",
    "Force",
    "ImageArgument",
    "Json",
    "LoaderOption",
    "Output",
    "OutputFile",
    "OutputFormat",
    "PlanOption",
    "Search",
    "WouldLoadOption",
    "WrittenByteOrder",
    "host_long",
    "image_argument",
    "loader_named",
    "loader_names",
    "number",
    "option",
]


def loader_names() -> str:
    """The names of all loaders, for a help text."""
    return ", ".join(LOADERS)


class OutputFormat(StrEnum):
    """What qemu-img calls --output."""

    TEXT = "text"
    JSON = "json"


class Container(StrEnum):
    """What a stream can be packed in."""

    NONE = "none"
    LIBVIRT = "libvirt"


class Compression(StrEnum):
    """What libvirt compresses saves with; written out so that --help need not import it."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


class ByteOrder(StrEnum):
    """Labels of fixedram_fmt.HostLong; written out so that --help need not import it."""

    LITTLE = "little"
    BIG = "big"
    LITTLE_32 = "little-32"
    BIG_32 = "big-32"


def option(names: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    """An option as typer knows it; names may hold several, parted by spaces."""
    return typer.Option(*names.split(), help=text, metavar=metavar, **more)


def image_argument(metavar: str = "IMAGE", what: str = "Image file") -> Any:
    """An argument that is the location of an image, or of several."""
    text = (
        f"{what}; PATH@OFFSET when the stream starts at an offset; PATH#NAME: a snapshot in a"
        " qcow2 image; - for stdin."
    )
    return typer.Argument(metavar=metavar, help=text, show_default=False)


ImageArgument = Annotated[str, image_argument()]
Json = Annotated[bool, option("--json", "Print JSON (the same as --output json).")]
Output = Annotated[OutputFormat, option("--output", "Form of the output.", "text|json")]
Search = Annotated[bool, option("--search", "Look for a stream further in the file.")]
ByteOrderOption = Annotated[
    ByteOrder | None,
    option(
        "--byte-order",
        "Byte order of the bitmaps, if not to be inferred: little, big, little-32, big-32.",
        "ORDER",
    ),
]
WrittenByteOrder = Annotated[
    ByteOrder | None,
    option(
        "--byte-order",
        "Byte order of the bitmaps that are written: little, big, little-32, big-32.",
        "ORDER",
    ),
]
OutputFile = Annotated[Path | None, option("-o --out", "File to write.", "FILE")]
PlanOption = Annotated[
    bool, option("--plan", "Print where everything would go, and write nothing.")
]
Force = Annotated[bool, option("--force", "Overwrite files.")]
Deep = Annotated[bool, option("--deep", "Read absent pages too, and tell those with stale data.")]
LoaderOption = Annotated[
    str | None,
    option(
        "--loader",
        f"Who loads: {loader_names()} (default: the newest QEMU).",
        "LOADER",
    ),
]
WouldLoadOption = Annotated[
    str | None,
    option(
        "--loader",
        f"Who would load it: {loader_names()} (default: the newest QEMU; of a"
        " libvirt save the newest libvirt).",
        "LOADER",
    ),
]
DestinationOption = Annotated[
    list[str] | None,
    option(
        "--destination --like",
        "The receiving VM, by what one has: an image that it saved, its domain XML, what"
        " -dump-vmstate wrote, JSON or TOML of ours; several add up.",
        "FILE",
    ),
]
ChannelsOption = Annotated[int, option("--channels", "Receive channels.", "N", min=1, max=255)]
FlushOption = Annotated[
    bool,
    option(
        "--multifd-flush-after-each-section/--no-multifd-flush-after-each-section",
        "The receiver's migration property of that name (default: off).",
        show_default=False,
    ),
]


def host_long(byte_order: ByteOrder | None) -> HostLong | None:
    """What --byte-order says; None where it is not given."""
    from fixedram_fmt.presence.hostlong import HostLong

    return HostLong.from_label(byte_order.value) if byte_order else None


def number(text: str, hint: str) -> int:
    """A size, offset or address of up to 64 bits; hint names the option that it was given to."""
    try:
        value = parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=repr(hint)) from error
    if value >= 1 << 64:
        raise typer.BadParameter(f"{text} has more than 64 bits", param_hint=repr(hint))
    return value


def loader_named(name: str) -> Loader:
    """The loader that --loader names."""
    if name not in LOADERS:
        known = ", ".join(map(repr, LOADERS))
        raise typer.BadParameter(f"{name!r} is not one of {known}.", param_hint="'--loader'")
    return LOADERS[name]
