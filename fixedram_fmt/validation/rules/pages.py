"""Area P: what is in the pages; read only with --deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.units import human_size
from fixedram_fmt.validation.rule import Observation, Severity, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.survey import Survey

_PAGES = "FORMAT 7; migration/ram.c save_zero_page()"


@over_image("P01", Severity.NOTE, _PAGES, deep=True)
def stale_pages(survey: Survey) -> Iterator[Observation]:
    """Absent pages still hold old memory.

    A page that was written and later became zero has its bit cleared and its bytes left. A load
    does not see them; whoever has the file does: they leak what the guest had wiped. Where a part
    of a bitmap was lost in a save of a running guest it looks the same; where that can be told, it
    is (B07, B08), and the pages are not called stale.

    Fix: fixedram copy --drop-stale IMAGE -o CLEAN.
    """
    lost = {loss.block.index for loss in survey.losses}
    for block in survey.blocks:
        scan = survey.page_scans.get(block.index)
        if scan and scan.stale_pages and block.index not in lost:
            amount = human_size(scan.stale_pages * block.page_size)
            yield Observation(
                f"{amount} of old memory in absent pages",
                block.pages_offset + scan.first_stale * block.page_size,
                f"{block.path}/pages",
                f"{scan.stale_pages} stale pages",
                "zeros",
            )


@over_image("P02", Severity.NOTE, _PAGES, deep=True)
def zero_pages_stored(survey: Survey) -> Iterator[Observation]:
    """Pages are called present, and are zero.

    They cost space and time and mean the same as absent ones. QEMU writes them only with
    zero-page-detection=none.

    Fix: save with zero-page-detection on.
    """
    for block in survey.blocks:
        scan = survey.page_scans.get(block.index)
        if scan and scan.zero_pages:
            yield Observation(
                "zero pages are stored",
                block.pages_offset + scan.first_zero * block.page_size,
                f"{block.path}/pages",
                f"{scan.zero_pages} pages of zeros",
                "pages with content",
            )
