"""`fixedram digest`: one SHA-256 for what an image means, as sha256sum gives one for its bytes."""

from __future__ import annotations

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import image_argument, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible, warn
from fixedram_fmt.errors import FixedRamError, FormatError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.digests import ImageDigest

#: As sha256sum: a backslash in front says that the name is escaped.
_LINE = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_PLAIN = {value: key for key, value in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\[\\nr]")
#: No list of digests is longer, and a line of a file that is none can be.
_LINE_CEILING = 1 << 16


class Part(StrEnum):
    """Fields of fixedram_fmt.digests.ImageDigest."""

    IMAGE = "image"
    MEMORY = "memory"
    DEVICES = "devices"


def digest(
    images: Annotated[list[str] | None, image_argument("IMAGE...", "Image files")] = None,
    check: Annotated[
        Path | None,
        option("-c --check", "Check the images that FILE lists with their digests.", "FILE"),
    ] = None,
    part: Annotated[
        Part,
        option(
            "--part",
            "Digest of all, of the memory or of the device state alone.",
            "image|memory|devices",
        ),
    ] = Part.IMAGE,
    blocks: Annotated[
        bool, option("--blocks", "SHA-256 of each block's whole memory too (costs its size).")
    ] = False,
    *,
    form: Form,
    reading: Reading,
) -> None:
    """Machine, memory and device state count.

    Copies, conversions and other containers of one image have the same; a bit that differs does
    not. What it is made of stands in fixedram_fmt/digests.py.

    Example: fixedram digest guest.img guest.save

    Example: fixedram digest *.img > DIGESTS; fixedram digest --check DIGESTS

    Example: fixedram digest guest.img --blocks --json
    """
    if check is None and not images:
        raise typer.BadParameter("give an image, or --check FILE", param_hint="'IMAGE'")
    if check is not None and (images or blocks):
        raise typer.BadParameter("a list is checked alone", param_hint="'--check'")
    how = {"search": reading.search, "host_long": reading.host_long, "whole_blocks": blocks}
    if check is not None:
        code = _check(check, part, how, as_json=form.is_json)
    else:
        code = _print(images or [], part, how, as_json=form.is_json)
    raise typer.Exit(code)


def _digested(names: list[str], how: dict[str, Any]) -> Iterator[tuple[str, ImageDigest | None]]:
    """Each image with its digest; None, and a word on stderr, where that cannot be had."""
    from fixedram_fmt.digests import digest_file

    for name in names:
        try:
            made = digest_file(name, **how)
        except FixedRamError as error:
            warn(f"{name}: {error}")
            yield name, None
        else:
            for block in made.blocks:
                if block.ignored:
                    warn(f"{name}: {block.name} is not in the image, it counts as zeros")
            yield name, made


def _print(names: list[str], part: Part, how: dict[str, Any], *, as_json: bool) -> int:
    failed = 0
    entries = []
    for name, made in _digested(names, how):
        if made is None:
            failed += 1
        elif as_json:
            entries.append(made)
        else:
            _print_line(getattr(made, part.value), name)
            _print_blocks(made)
    if as_json:
        from fixedram_fmt.digests import ImageDigests

        print_json(ImageDigests(tuple(entries)))
    return 2 if failed else 0


def _print_line(value: str, name: str) -> None:
    """A line as sha256sum writes it; on a terminal without anything that acts on it."""
    escaped = "".join(_ESCAPES.get(char, char) for char in name)
    line = f"{'' if escaped == name else chr(92)}{value}  "
    if sys.stdout.isatty():
        print(line + visible(escaped), flush=True)
        return
    # Names need not be text: programs get their bytes.
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(line + escaped) + b"\n")
    sys.stdout.buffer.flush()


def _print_blocks(made: ImageDigest) -> None:
    for block in made.blocks:
        if block.sha256 is not None:
            # A comment: sha256sum and --check pass over it.
            print(f"# {block.sha256}  {visible(block.name)}")


# -- --check --------------------------------------------------------------------------------------

_STATUS = {"ok": "OK", "failed": "FAILED", "unreadable": "FAILED open or read"}


def _check(path: Path, part: Part, how: dict[str, Any], *, as_json: bool) -> int:
    """Compare with a list; 1 where one differs, 2 where one could not be had."""
    from fixedram_fmt.digests import CheckedImage, CheckedImages

    listed = list(_listed(path))
    counts: dict[str, int] = {"ok": 0, "failed": 0, "unreadable": 0}
    results = []
    digested = _digested([name for name, _ in listed], how)
    for (name, made), (_, value) in zip(digested, listed, strict=True):
        right = made is not None and getattr(made, part.value) == value
        status: Literal["ok", "failed", "unreadable"] = (
            "unreadable" if made is None else "ok" if right else "failed"
        )
        counts[status] += 1
        results.append(CheckedImage(name, status))
        if not as_json:
            print(f"{visible(name)}: {_STATUS[status]}", flush=True)
    if as_json:
        print_json(CheckedImages(tuple(results), **counts))
    return 2 if counts["unreadable"] else 1 if counts["failed"] else 0


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    """Names and digests of a list; FormatError for a line that is none of it."""
    try:
        file = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise SourceError(f"cannot open {str(path)!r}: {error.strerror}") from error
    found = False
    with file:
        for number, raw in enumerate(iter(lambda: file.readline(_LINE_CEILING), b""), 1):
            line = os.fsdecode(raw).removesuffix("\n").removesuffix("\r")
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise FormatError(
                    "no line of a list of digests",
                    path=f"{path}, line {number}",
                    expected="DIGEST  NAME",
                    found=repr(line[:80]),
                )
            name = match["name"]
            if match["escaped"]:
                name = _ESCAPED.sub(lambda found: _PLAIN[found[0]], name)
            found = True
            yield name, match["digest"].lower()
    if not found:
        raise FormatError("a list without digests", path=str(path), expected="DIGEST  NAME")
