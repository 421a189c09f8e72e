"""Faults of bitmaps and pages, and files that end too early."""

from __future__ import annotations

from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import FixedBlock, Hole
from fixedram_fmt.write.faults.fault import (
    Elements,
    FaultError,
    Outcome,
    Pieces,
    on_elements,
    on_pieces,
)

LOADS, REFUSES, WRONG = Outcome.LOADS, Outcome.REFUSES, Outcome.WRONG_MEMORY
CRASHES = Outcome.CRASHES


def _block(e: Elements, number: int = 0) -> tuple[int, FixedBlock]:
    index = e.index(Kind.MAPPED_RAM_HEADER, number)
    block = e.items[index]
    if not isinstance(block, FixedBlock):
        raise FaultError("the image has no block with a fixed layout")
    return index, block


@on_elements("bitmaps-empty", "bitmaps that were never written: the save failed", WRONG)
def _(e: Elements) -> None:
    from dataclasses import replace

    for index, block in enumerate(e.items):
        if isinstance(block, FixedBlock):
            e.items[index] = replace(block, bitmap=Hole(block.bitmap.length))


@on_pieces("bitmap-lost", "the bitmap of one block is all zero, its pages are there", WRONG)
def _(p: Pieces) -> None:
    p.overwrite(Kind.BITMAP, 0, bytes(p.piece(Kind.BITMAP).content.length))


@on_pieces("bitmap-all-set", "every page is called present, also those in holes", LOADS)
def _(p: Pieces) -> None:
    p.overwrite(Kind.BITMAP, 0, b"\xff" * p.piece(Kind.BITMAP).content.length)


@on_elements("bitmap-big-endian", "a bitmap as a big-endian host stores it", WRONG)
def _(e: Elements) -> None:
    from dataclasses import replace

    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.write.patterns import MadeBitmap

    index, block = _block(e)
    if isinstance(block.bitmap, MadeBitmap):
        bitmap = replace(block.bitmap, host_long=HostLong.BIG_64)
        e.items[index] = replace(block, bitmap=bitmap)


@on_pieces("present-page-in-hole", "pages called present where the file has a hole", LOADS)
def _(p: Pieces) -> None:
    # The first eight pages: the patterns leave some of them absent unless the block is dense.
    p.overwrite(Kind.BITMAP, 0, b"\xff")


@on_pieces("stale-page", "an absent page that still holds old memory", LOADS)
def _(p: Pieces) -> None:
    # Page 0 stays present: a block without any has lost its bitmap.
    p.overwrite(Kind.BITMAP, 0, b"\1")
    secret = b"secret of another time ".ljust(p.page_size, b".")
    p.overwrite(Kind.PAGES, 0, b"memory of today ".ljust(p.page_size, b".") + secret)


@on_pieces("stored-zero-page", "a page that is present, and zero", LOADS)
def _(p: Pieces) -> None:
    p.overwrite(Kind.BITMAP, 0, b"\xff")
    p.overwrite(Kind.PAGES, 0, bytes(p.page_size), at=p.page_size)


@on_pieces("padding-not-zero", "bytes in the padding before the pages", LOADS)
def _(p: Pieces) -> None:
    p.overwrite(Kind.PADDING, 0, b"left over")


# -- files that end too early ---------------------------------------------------------------------


def _cut(name: str, text: str, kind: Kind, share: float, plain: Outcome, multifd: Outcome) -> None:
    @on_pieces(name, text, plain, multifd)
    def _(p: Pieces) -> None:
        piece = p.piece(kind)
        p.size = piece.offset + int(piece.content.length * share)


_cut(
    "cut-in-header",
    "the file ends inside the first eight bytes",
    Kind.FILE_HEADER,
    0.5,
    REFUSES,
    REFUSES,
)
_cut(
    "cut-in-configuration",
    "the file ends inside the machine type",
    Kind.CONFIGURATION,
    0.5,
    REFUSES,
    REFUSES,
)
_cut(
    "cut-in-section-header",
    "the file ends inside the header of the RAM section",
    Kind.SECTION_START,
    0.5,
    REFUSES,
    REFUSES,
)
_cut(
    "cut-in-mapped-ram-header",
    "the file ends inside a MappedRamHeader",
    Kind.MAPPED_RAM_HEADER,
    0.5,
    REFUSES,
    REFUSES,
)
_cut("cut-in-bitmap", "the file ends inside a bitmap", Kind.BITMAP, 0.5, REFUSES, REFUSES)
_cut("cut-in-pages", "the file ends inside the pages", Kind.PAGES, 0.5, REFUSES, CRASHES)
_cut("cut-before-eos", "the file ends right before the EOS", Kind.EOS, 0, REFUSES, REFUSES)
_cut("cut-before-eof", "the file ends right before the EOF byte", Kind.EOF, 0, REFUSES, REFUSES)
_cut(
    "cut-in-vmdesc",
    "the file ends inside the description",
    Kind.VMDESCRIPTION_JSON,
    0.5,
    LOADS,
    LOADS,
)


@on_pieces("empty-file", "a file of no bytes", REFUSES)
def _(p: Pieces) -> None:
    p.size = 0
