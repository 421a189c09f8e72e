"""`fixedram guest`: what runs in a guest, and the log of its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import ImageArgument, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible

if TYPE_CHECKING:
    from fixedram_fmt.guest import GuestSystem
    from fixedram_fmt.image import Image

#: What is printed of a guest: words, and the field.
_ROWS = {
    "system": "system", "release": "release", "version": "version", "build id": "build_id",
    "architecture": "architecture", "host name": "hostname", "command line": "cmdline",
    "page size": "page_size", "page levels": "page_levels", "saved at": "saved_at",
    "crashed at": "crashed_at",
}  # fmt: skip
_ADDRESSES = {"KASLR offset": "kaslr_offset", "physical base": "physical_base"}


def guest(
    image: ImageArgument,
    form: Form,
    reading: Reading,
    dmesg: Annotated[
        bool, option("--dmesg", "Print the log of the kernel, and nothing else.")
    ] = False,
) -> None:
    """System, kernel, build id, KASLR, command line, host name, time of the save.

    A Linux kernel is found by its VMCOREINFO; no file of the kernel's is needed. Exit code 1: no
    kernel is found.

    Example: fixedram guest guest.img

    Example: fixedram guest guest.img --dmesg
    """
    from msgspec.structs import replace

    from fixedram_fmt.guest import guest_system

    if dmesg and form.is_json:
        raise typer.BadParameter("give --dmesg or --json, not both", param_hint="'--dmesg'")
    with reading.shown(image) as opened:
        if dmesg:
            _print_log(opened)
            return
        found = replace(guest_system(opened), path=image)
    if form.is_json:
        print_json(found)
    else:
        _print(found)
    raise typer.Exit(0 if found.system else 1)


def _print_log(image: Image) -> None:
    from fixedram_fmt.guest.system import Guest

    for line in Guest(image).log():
        print(visible(str(line).expandtabs()))


def _print(found: GuestSystem) -> None:
    rows = {name: getattr(found, field) for name, field in _ROWS.items()}
    rows |= {
        name: f"{value:#x}"
        for name, field in _ADDRESSES.items()
        if (value := getattr(found, field)) is not None
    }
    print(visible(found.path))
    for name, value in rows.items():
        if value is not None:
            print(f"  {name:<14}{visible(str(value))}")
    for note in found.notes:
        print(f"  {visible(note)}")
