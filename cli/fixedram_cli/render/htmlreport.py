"""One page on an image: what it is, whether it is sound, its memory, its devices, its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_cli.render.htmlparts import document, facts, number, plain, section, shown, table
from fixedram_cli.render.htmlrestore import OUTCOMES, restore_about, restore_part, verdict_table
from fixedram_cli.render.htmlstate import devices_part, overview_part
from fixedram_cli.render.wording import loader_text
from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.pagemap.cells import page_cells
from fixedram_fmt.pagemap.picture import PALETTE, draw, svg_paths
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.units import human_size
from fixedram_fmt.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.stream.records import Record
    from fixedram_fmt.summary import BlockSummary, ImageSummary
    from fixedram_fmt.validation import Finding, Report, Verdict

__all__ = ["html_report"]

_BLOCKS_SHOWN = 200
_MAPS_SHOWN = 8
_MAP_COLUMNS, _MAP_CELLS = 256, 256 * 32
#: A map of so few cells does not take the whole width.
_SMALL_MAP = 256
_FINDINGS_SHOWN = 200
_RANGES_SHOWN = 200
_ROWS_SHOWN = 400
_NOTES_SHOWN = 40
_SEVERITIES = {"error": "bad", "warning": "warn", "note": "pale"}
_NUMBERS = frozenset({1, 2, 3, 5, 6})


def html_report(
    image: Image, path: str, *, deep: bool = False, destination: Receiver | None = None
) -> str:
    """The page; deep reads the pages too, for stale ones and stored zeros.

    destination is the VM that is to receive the image, as far as it is known.

    Its length is bounded whatever the image holds: about 4 MB.
    """
    from fixedram_fmt import __version__
    from fixedram_fmt.summary import summarize

    summary = summarize(image, path)
    report = validate(image, destination, deep=deep)
    verdicts = list(report.verdicts())
    parts = [
        ("summary", "Summary", _summary(summary), ""),
        ("findings", "Findings", _findings(report, verdicts), _findings_about(report)),
        (
            "restore",
            "Where it restores",
            restore_part(image, report, verdicts),
            restore_about(destination),
        ),
        ("memory", "Memory", _blocks(image, summary, deep=deep), ""),
        ("addresses", "Guest-physical addresses", _memory_map(image), ""),
        ("machine", "The machine", overview_part(image), ""),
        ("devices", "Device state", devices_part(image.state), ""),
        (
            "stream",
            "The stream",
            _timeline(image),
            "What the file says, in the order of its bytes.",
        ),
    ]
    links = "".join(
        f'<a href="#{name}">{title}</a>' for name, title, body, about in parts if body or about
    )
    name = path.rstrip("/").rpartition("/")[2] or path
    marks = "".join(
        f"<li>{plain(loader_text(one))}: "
        f'<span class="{OUTCOMES[one.outcome.value]}">{one.outcome.value}</span></li>'
        for one in verdicts
    )
    header = (
        f"<h1>{shown(name)}</h1><p class=about>{shown(_subtitle(summary))}</p>"
        f'<ul class="marks">{marks}</ul><nav aria-label="Contents">{links}</nav>'
    )
    sections = [section(name, title, body, about) for name, title, body, about in parts]
    return document(name, header, sections, f"<p>fixedram {plain(__version__)}, {shown(path)}</p>")


def _subtitle(summary: ImageSummary) -> str:
    memory = human_size(sum(block.used_length for block in summary.blocks))
    machine = summary.machine or "no configuration"
    return f"{machine}, {memory} of memory, {human_size(summary.size)} file, {summary.dialect}"


# -- summary --------------------------------------------------------------------------------------


def _summary(summary: ImageSummary) -> str:
    container = summary.container
    rows = [
        ("file", f"{human_size(summary.size)} ({number(summary.size)} bytes)"),
        ("on disk", human_size(summary.disk_size) if summary.disk_size is not None else ""),
        ("container", f"{shown(container.kind)}, stream at {container.stream_offset:#x}"),
        ("machine", shown(summary.machine) if summary.machine else ""),
        ("dialect", shown(summary.dialect)),
        ("capabilities", shown(", ".join(summary.capabilities[:16]) or "none")),
        ("page size", human_size(summary.target_page_size)),
        (
            "bitmaps",
            shown(f"{summary.byte_order.host_long}-endian") if summary.byte_order else "",
        ),
        ("UUID", shown(summary.uuid or "")),
        ("sections", f"{number(len(summary.sections))}, {number(summary.devices)} of devices"),
        ("complete", _complete(summary)),
    ]
    notes = "".join(
        f"<li>{note.offset:#x} {shown(note.path)}: {shown(note.message)}</li>"
        for note in summary.notes[:_NOTES_SHOWN]
    )
    told = facts((name, value) for name, value in rows if value and value != "<bdi></bdi>")
    return told + (f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "")


def _complete(summary: ImageSummary) -> str:
    if summary.stopped is None:
        return '<span class="good">yes</span>'
    return f'<span class="bad">no</span>: {shown(summary.stopped.message)}'


# -- findings -------------------------------------------------------------------------------------


def _findings_about(report: Report) -> str:
    total = len(report.findings) + sum(report.unlisted.values())
    if not total:
        return "Nothing was found that is wrong with this image."
    return f"{number(total)} in all, the worst first."


def _findings(report: Report, verdicts: list[Verdict]) -> str:
    parts = []
    if any(one.decided_by for one in verdicts):
        parts.append(verdict_table("What a loader does with it", verdicts))
    ranked = sorted(report.findings, key=lambda one: (one.severity.rank, one.order, one.rule.id))
    parts += [_finding(one) for one in ranked[:_FINDINGS_SHOWN]]
    more = len(ranked) - _FINDINGS_SHOWN + sum(report.unlisted.values())
    if more > 0 and len(ranked) > _FINDINGS_SHOWN:
        parts.append(f'<p class="pale">… and {number(more)} more</p>')
    return "".join(parts)


def _finding(one: Finding) -> str:
    severity = one.severity.value
    where = f"at {one.offset:#x} " if one.offset is not None else ""
    told = [("found", one.found), ("expected", one.expected), ("why it matters", one.rule.why)]
    told += [("what to do", one.fix)]
    rows = facts((name, shown(text, 600)) for name, text in told if text)
    return (
        f'<details><summary><span class="{_SEVERITIES[severity]}">{severity}</span> '
        f"{plain(one.rule.id)} {shown(one.message)} "
        f'<span class="pale m">{where}{shown(one.path)}</span></summary>{rows}</details>'
    )


# -- memory ---------------------------------------------------------------------------------------


def _blocks(image: Image, summary: ImageSummary, *, deep: bool) -> str:
    if not summary.blocks:
        return ""
    head = ("block", "size", "present", "of pages", "", "bitmap at", "pages at")
    largest = sorted(summary.blocks, key=lambda one: -one.used_length)[:_BLOCKS_SHOWN]
    rows = [_block_row(block) for block in largest]
    parts = [table("RAM blocks, the largest first", head, rows, right=_NUMBERS)]
    if len(summary.blocks) > _BLOCKS_SHOWN:
        more = number(len(summary.blocks) - _BLOCKS_SHOWN)
        parts.append(f'<p class="pale">… and {more} more blocks</p>')
    mapped = [
        (block, told)
        for block, told in zip(image.blocks, summary.blocks, strict=True)
        if told.pages_present and block.pages_total > 1
    ]
    mapped.sort(key=lambda pair: -pair[0].used_length)
    maps = "".join(_map(image, block, deep=deep) for block, _ in mapped[:_MAPS_SHOWN])
    return "".join(parts) + (f"<h3>Page maps</h3>{maps}" if maps else "")


def _block_row(block: BlockSummary) -> tuple[str, ...]:
    known = block.pages_present
    present = "unknown" if known is None else number(known)
    offsets = [f"{at:#x}" if at else "" for at in (block.bitmap_offset, block.pages_offset)]
    share = 100 * known / block.pages_total if known and block.pages_total else 0.0
    bar = (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img"'
        f' aria-label="{share:.0f} percent present"><rect width="100" height="10"/>'
        f'<rect class="on" width="{share:.2f}" height="10"/></svg>'
    )
    size = human_size(block.used_length)
    if block.ignored:
        present = "not saved"
    return shown(block.name), size, present, number(block.pages_total), bar, *offsets


def _map(image: Image, block: RamBlock, *, deep: bool) -> str:
    """A map as SVG, whose colours follow the page's; the script makes it larger."""
    cells = page_cells(image, block, _MAP_CELLS, deep=deep)
    # Four times as wide as high, so that one sees where it goes on.
    width = min(_MAP_COLUMNS, max(16, 1 << ((cells.totals.size - 1).bit_length() + 3) // 2))
    picture = draw(cells, width=width)
    row = picture.width * int(cells.totals.max()) * cells.page_size
    about = f"{picture.about}, a row is {human_size(row)}"
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="c{colour}"'
        f' width="1" height="1" fill="#{bytes(PALETTE[colour]).hex()}"/></svg>{plain(text)}</span>'
        for colour, text in picture.legend
    )
    svg = (
        f'<svg viewBox="0 0 {picture.width} {picture.height}" role="img"'
        f' aria-label="Page map of {plain(block.name)}: {plain(about)}"'
        f' shape-rendering="crispEdges" data-columns="{picture.width}"'
        f' data-cells="{cells.totals.size}" data-page="{cells.page_size}"'
        f' data-bytes="{cells.pages * cells.page_size}">{"".join(svg_paths(picture))}</svg>'
    )
    small = " small" if cells.totals.size <= _SMALL_MAP else ""
    return (
        f"<figure><figcaption><b>{shown(block.name)}</b> {shown(about)}</figcaption>"
        f'<div class="map{small}" tabindex="0" role="group"'
        f' aria-label="Map of {plain(block.name)}">{svg}</div>'
        f"<figcaption>{keys}</figcaption></figure>"
    )


def _memory_map(image: Image) -> str:
    """Where blocks are seen by the guest, if this version and the machine can tell."""
    from fixedram_fmt.memory import memory_map

    told = memory_map(image)
    rows = [
        (
            f"{piece.start:#x}",
            f"{piece.stop:#x}",
            human_size(piece.length),
            shown(piece.block.name),
            f"{piece.offset:#x}",
            shown(piece.kind),
            f'<span class="pale">{shown(piece.source)}</span>',
        )
        for piece in told.ranges[:_RANGES_SHOWN]
    ]
    notes = "".join(f'<p class="pale">{shown(note)}</p>' for note in told.notes[:_NOTES_SHOWN])
    if not rows:
        return notes
    head = ("from", "to", "size", "block", "offset in it", "kind", "known from")
    return table("What the guest sees", head, rows, right=frozenset({0, 1, 2, 4})) + notes


# -- the stream -----------------------------------------------------------------------------------

_BEGINS = {
    Kind.SECTION_START: "section start",
    Kind.SECTION_PART: "section part",
    Kind.SECTION_END: "section end",
    Kind.SECTION_FULL: "device",
    Kind.CONFIGURATION: "configuration",
    Kind.FILE_HEADER: "file header",
    Kind.COMMAND: "command",
    Kind.EOF: "end of file",
    Kind.VMDESCRIPTION: "description (JSON)",
    Kind.LIBVIRT_HEADER: "libvirt header",
}


def _timeline(image: Image) -> str:
    """Sections and commands in their order; parts that say the same are one row."""
    from itertools import islice

    names = {one.section_id: one.name for one in image.sections}
    rows = []
    groups = _grouped(image, names)
    for what, about, offset, stop, times in islice(groups, _ROWS_SHOWN):
        repeated = f" × {number(times)}" if times > 1 else ""
        size = human_size(stop - offset)
        rows.append((f"{offset:#x}", size, plain(what) + repeated, shown(about)))
    if next(groups, None) is not None:
        rows.append(("", "", "…", "more records; <code>fixedram dump</code> shows them all"))
    if image.stopped:
        at = image.stopped.offset or 0
        rows.append((f"{at:#x}", "", '<span class="bad">stops</span>', shown(str(image.stopped))))
    return table("Records", ("offset", "length", "what", ""), rows, right=frozenset({0, 1}))


def _grouped(image: Image, names: dict[int, str]) -> Iterator[tuple[str, str, int, int, int]]:
    """(what, about, offset, stop, how many in a row) of everything that begins something."""
    row: tuple[str, str, int, int, int] | None = None
    records = _until_it_stops(image)
    for what, about, offset in records:
        if row is not None:
            if row[:2] == (what, about) and what == "section part":
                row = (what, about, row[2], offset, row[4] + 1)
                continue
            yield (*row[:3], offset, row[4])
        row = (what, about, offset, offset, 1)
    if row is not None:
        yield (*row[:3], image.source.size, row[4])


def _until_it_stops(image: Image) -> Iterator[tuple[str, str, int]]:
    try:
        for record in image.records():
            what = _BEGINS.get(record.kind)
            if what is not None:
                yield what, _about(record, image), record.offset
    except FixedRamError as error:
        if not isinstance(error, FormatError):
            raise


def _about(record: Record[Any], image: Image) -> str:
    value = record.value
    idstr = getattr(value, "idstr", None)
    if isinstance(idstr, bytes):
        return idstr.decode("ascii", "backslashreplace")
    if record.kind in (Kind.SECTION_PART, Kind.SECTION_END):
        return f"section {value.section_id}"
    if record.kind is Kind.COMMAND:
        return f"command {value.command}"
    return (image.machine or "") if record.kind is Kind.CONFIGURATION else ""
