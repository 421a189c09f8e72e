"""`fixedram diff`: what differs between two images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import WouldLoadOption, image_argument, loader_named, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import warn, warn_if_stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.comparison import Diff, Options, PageRows
    from fixedram_fmt.image import Image

#: Ranges, pages and values that are listed where --limit does not say.
_TEXT_LIMIT, _PAGES_LIMIT, _JSON_LIMIT = 20, 4, 10_000
#: What goes on by itself, whatever the guest does: QEMU's names of clocks, and of what is derived
#: from them (hw/rtc/mc146818rtc.c, hw/timer/i8254_common.c, hpet.c, hw/intc/apic_common.c, ...).
_CLOCKS = (
    "timer/**", "**/*timer", "**/*next_transition_time", "**/*env.tsc", "**/kvmclock/**",
    "kvmclock/**", "mc146818rtc/base_rtc", "mc146818rtc/last_update", "mc146818rtc/next_*_time",
    "**/initial_count_load_time", "**/next_time", "hpet/hpet_offset", "hpet/hpet_counter",
    "pl031/**", "goldfish_rtc/tick_offset*", "**/*clock_offset*",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared."""

    ram_only: Annotated[bool, option("--ram-only", "Compare the memory only.")] = False
    state_only: Annotated[bool, option("--state-only", "Compare the device state only.")] = False
    block: Annotated[
        list[str] | None,
        option(
            "--block", "Compare the memory of this block only; may be given several times.", "NAME"
        ),
    ] = None
    ignore_state: Annotated[
        list[str] | None,
        option(
            "--ignore-state",
            "Device state that does not count; may be given several times.",
            "GLOB",
        ),
    ] = None
    ignore_clocks: Annotated[
        bool, option("--ignore-clocks", "Clocks and timers of the state do not count.")
    ] = False

    loader: WouldLoadOption = None

    @property
    def in_part(self) -> bool:
        """Whether only a part of the image is asked about."""
        return self.ram_only or self.state_only or bool(self.block)

    def options(self, limit: int | None, *, restore: bool) -> Options:
        """What the comparison takes; restore: whether anyone reads where the images restore."""
        from fixedram_fmt.comparison import Options
        from fixedram_fmt.vmstate.paths import Pattern

        ignored = [*(self.ignore_state or ()), *(_CLOCKS if self.ignore_clocks else ())]
        return Options(
            structure=not self.in_part,
            ram=not self.state_only,
            state=not self.ram_only and not self.block,
            blocks=frozenset(self.block) if self.block else None,
            ignore=tuple(map(Pattern, ignored)),
            limit=limit,
            restore=restore,
            loader=loader_named(self.loader).name if self.loader else None,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """What is printed of it."""

    pages: Annotated[
        bool, option("--pages", "Show the rows of bytes that differ, side by side.")
    ] = False
    limit: Annotated[
        int | None,
        option("--limit", "List at most N ranges, pages and values; 0: all.", "N", min=0),
    ] = None
    quiet: Annotated[bool, option("-q --quiet", "Print nothing; the exit code says it.")] = False

    def limit_or(self, default: int) -> int | None:
        """What --limit says; 0 is without one."""
        return default if self.limit is None else self.limit or None


def diff(
    a: Annotated[str, image_argument("A")],
    b: Annotated[str, image_argument("B")],
    compared: Compared,
    shown: Shown,
    form: Form,
    reading: Reading,
) -> None:
    """What counts is what a guest would find after a load: absent pages are zero, and how an image
    is stored (dialect, container, byte order, offsets) is told, but is no difference. Beside the
    device state stands what a VM like the other image's would refuse of each, as validate --like
    says it; the exit code does not depend on that.

    Exit code 0: the same, 1: they differ, 2: not all could be compared.

    Example: fixedram diff before.img after.img

    Example: fixedram diff before.img after.img --ignore-clocks --pages

    Example: fixedram diff a.img b.img --state-only --ignore-state 'timer' --json
    """
    from msgspec.structs import replace

    from fixedram_fmt.comparison import diff as compare

    _check(a, b, compared)
    limit = shown.limit_or(_JSON_LIMIT if form.is_json else _TEXT_LIMIT)
    options = compared.options(limit, restore=not shown.quiet)
    with reading.open(a) as first, reading.open(b) as second:
        found = compare(first, second, options)
        found = replace(found, a=replace(found.a, path=a), b=replace(found.b, path=b))
        if not shown.quiet:
            _print(first, second, found, shown, as_json=form.is_json)
        for name, image in (("A", first), ("B", second)):
            warn_if_stopped(image, f"{name}: the stream stops early")
    for text in found.trouble:
        warn(text)
    if found.trouble:
        raise typer.Exit(2)
    if not found.same:
        raise typer.Exit(1)


def _check(a: str, b: str, compared: Compared) -> None:
    """Usage errors: options that make no sense together."""
    if compared.ram_only and compared.state_only:
        raise typer.BadParameter("--ram-only and --state-only leave nothing to compare")
    if compared.block and compared.state_only:
        raise typer.BadParameter("--state-only compares no block", param_hint="'--block'")
    if a == b == "-":
        raise typer.BadParameter("standard input can be read once only", param_hint="'B'")


def _print(first: Image, second: Image, found: Diff, shown: Shown, *, as_json: bool) -> None:
    rows = _rows(first, second, found, shown.limit_or(_PAGES_LIMIT)) if shown.pages else iter(())
    if as_json:
        from msgspec.structs import replace

        print_json(replace(found, ram=replace(found.ram, pages=tuple(rows))))
        return
    from fixedram_cli.render.diffview import print_diff

    print_diff(found, rows)


def _rows(first: Image, second: Image, found: Diff, limit: int | None) -> Iterator[PageRows]:
    from fixedram_fmt.comparison import page_rows

    left = limit
    for block in found.blocks:
        if not block.differing:
            continue
        for page in page_rows(first, second, block, left):
            yield page
            left = None if left is None else left - 1
        if left == 0:
            return
