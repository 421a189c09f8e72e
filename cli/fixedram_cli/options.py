"""Options that several commands share, written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ByteOrder", "Deep", "ImageArgument", "Json", "Output", "OutputFormat", "Search"]


class OutputFormat(StrEnum):
    """What qemu-img calls --output."""

    TEXT = "text"
    JSON = "json"


class Container(StrEnum):
    """What a stream can be packed in."""

    NONE = "none"
    LIBVIRT = "libvirt"


class ByteOrder(StrEnum):
    """Labels of fixedram_fmt.HostLong; written out so that --help need not import it."""

    LITTLE = "little"
    BIG = "big"
    LITTLE_32 = "little-32"
    BIG_32 = "big-32"


ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Image file; PATH@OFFSET when the stream starts at an offset; - for stdin.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (the same as --output json).")]
Output = Annotated[
    OutputFormat, typer.Option("--output", help="Form of the output.", metavar="text|json")
]
Search = Annotated[bool, typer.Option("--search", help="Look for a stream further in the file.")]
ByteOrderOption = Annotated[
    ByteOrder | None,
    typer.Option(
        "--byte-order",
        help="Byte order of the bitmaps, if not to be inferred: little, big, little-32, big-32.",
        metavar="ORDER",
        show_default=False,
    ),
]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--out", help="File to write.", show_default=False)
]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Print where everything would go, and write nothing.")
]
Deep = Annotated[
    bool, typer.Option("--deep", help="Read absent pages too, and tell those with stale data.")
]
