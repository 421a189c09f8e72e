"""`fixedram sync`: where a loader waits for its receive channels, and what can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.options import Json, Output, OutputFormat, Search

if TYPE_CHECKING:
    from fixedram_fmt.multifd.timeline import Timeline

#: The designs of the discussion and what was merged, oldest first.
_MODELS = ("fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram")


def _option(name: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(name, help=text, metavar=metavar, **more)


def sync(
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="Image file, as elsewhere.", show_default=False),
    ] = None,
    loader: Annotated[
        str,
        _option("--loader", "Whose design: mapped-ram, fixed-ram-v4, reentrant, per-ram-load, "
                "qemu-10.0, qemu-11.1.", "LOADER"),
    ] = "mapped-ram",
    channels: Annotated[int, _option("--channels", "Receive channels.", "N", min=1, max=255)] = 2,
    flush: Annotated[
        bool,
        _option("--multifd-flush-after-each-section/--no-multifd-flush-after-each-section",
                "The receiver's migration property of that name."),
    ] = False,
    compare: Annotated[
        bool, _option("--compare", "The four designs (and --loader) side by side; exit code 0.")
    ] = False,
    explain: Annotated[bool, _option("--explain", "What the question is, and the answer.")] = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
) -> None:  # fmt: skip
    """Show who waits for the receive channels, and when, while an image is loaded.

    Only syncs are judged here; `fixedram validate` judges the rest.  Exit code 1 when the design
    would refuse, hang, or declare the load done too early.

    Example: fixedram sync guest.img --loader fixed-ram-v4 --channels 4

    Example: fixedram sync guest.img --compare
    """
    from fixedram_fmt.image import Image
    from fixedram_fmt.loaders import LOADERS
    from fixedram_fmt.multifd.timeline import timelines

    if loader not in LOADERS:
        raise typer.BadParameter(f"there is no loader {loader!r}: {', '.join(LOADERS)}")
    if image is None and not explain:
        raise typer.BadParameter("which image?  (--explain alone needs none)")
    names = [*dict.fromkeys((*_MODELS, loader))] if compare else [loader]
    lines = []
    if image is not None:
        models = [LOADERS[name] for name in names]
        with Image.open(image, search=search) as opened:
            lines = timelines(opened, models, channels=channels, property_on=flush)
    if json_ or output is OutputFormat.JSON:
        _print_json(lines, compare=compare, explain=explain)
    else:
        _print_text(lines, image or "", compare=compare, explain=explain)
    if not compare and not all(line.is_safe for line in lines):
        raise typer.Exit(1)


def _print_text(lines: list[Timeline], path: str, *, compare: bool, explain: bool) -> None:
    from fixedram_cli.render.sequence import print_chart, print_comparison, print_explanation
    from fixedram_cli.render.terminal import console

    out = console()
    if explain:
        print_explanation(out)
    if lines and compare:
        print_comparison(out, lines, path)
    elif lines:
        print_chart(out, lines[0], path)


def _print_json(lines: list[Timeline], *, compare: bool, explain: bool) -> None:
    from fixedram_cli.render.jsonout import print_json
    from fixedram_cli.render.sequence import explanation

    document: dict[str, Any] = {"explanation": explanation()} if explain else {}
    if compare and lines:
        document["loaders"] = [_document(line) for line in lines]
    elif lines:
        document |= _document(lines[0])
    print_json(document)


def _document(line: Timeline) -> dict[str, Any]:
    return {
        "loader": line.loader.name,
        "channels": line.channels,
        "property": line.property_on,
        "calls": [
            {
                "section": call.section,
                "path": call.path,
                "offset": call.offset,
                "events": len(call.events),
            }
            for call in line.calls
        ],
        "events": [event.as_dict() for event in line.events],
        "jobs": line.jobs,
        "syncs": len(line.syncs),
        "hazards": [
            {"kind": hazard.kind, "message": hazard.message, "offset": hazard.offset}
            for hazard in line.hazards
        ],
    }
