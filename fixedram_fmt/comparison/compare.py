"""Two images as a whole: structure, memory, device state."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fixedram_fmt.comparison.pages import PagesOfImage
from fixedram_fmt.comparison.ram import compare_block
from fixedram_fmt.comparison.result import BlockDiff, Diff, ImageSide, Options, RamDiff
from fixedram_fmt.comparison.structurediff import compare_structure, numbered, storage_notes
from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixedram_fmt.image import Image

__all__ = ["diff"]

#: Of blocks that are the same so many are told; a hostile image has 65,500.
_SAME_KEPT = 1000
_DEFAULT = Options()


def diff(
    a: Image,
    b: Image,
    options: Options = _DEFAULT,
    progress: Callable[[int], None] | None = None,
) -> Diff:
    """What differs between two images, as a guest would find it after a load.

    Raises FormatError where options name a block that neither has.  What could not be compared is
    told in the trouble of the result.
    """
    _check_blocks(a, b, options)
    blocks: list[BlockDiff] = []
    compared = 0
    for block in _blocks(a, b, options, progress) if options.ram else ():
        compared += not block.not_compared
        if block.differing or block.unreadable or block.not_compared or compared <= _SAME_KEPT:
            blocks.append(block)
    state = restore = None
    if options.state:
        from fixedram_fmt.comparison.devicestate import state_diff, states_of

        state = state_diff(*states_of(a, b), options.ignore, options.limit)
    if options.state and options.restore:
        from fixedram_fmt.comparison.restoring import restore_between

        restore = restore_between(a, b, options.loader)
    structure = tuple(compare_structure(a, b)) if options.structure else ()
    differs = structure or (state and state.differing) or any(one.differing for one in blocks)
    return Diff(
        a=_side(a),
        b=_side(b),
        same=not differs,
        structure=structure,
        ram=_ram(blocks, compared),
        state=state,
        notes=tuple(storage_notes(a, b)),
        trouble=tuple(_trouble(blocks)),
        restore=restore,
    )


def _side(image: Image) -> ImageSide:
    kind = image.container.kind
    return ImageSide(image.source.name, image.machine, image.dialect, kind, image.complete)


def _ram(blocks: list[BlockDiff], compared: int) -> RamDiff:
    return RamDiff(
        pages_changed=sum(block.changed for block in blocks),
        pages_only_a=sum(block.only_a for block in blocks),
        pages_only_b=sum(block.only_b for block in blocks),
        blocks_compared=compared,
        blocks=tuple(blocks),
    )


def _check_blocks(a: Image, b: Image, options: Options) -> None:
    if options.blocks is None:
        return
    known = {block.name for image in (a, b) for block in image.blocks}
    for name in sorted(options.blocks - known):
        raise FormatError(
            f"neither image has a block {name!r}",
            hint="blocks are " + ", ".join(sorted(known)[:8]) + (" ..." if len(known) > 8 else ""),
        )


def _blocks(
    a: Image, b: Image, options: Options, progress: Callable[[int], None] | None
) -> Iterator[BlockDiff]:
    pages = PagesOfImage(a), PagesOfImage(b)
    left = options.limit
    # By bytes: thousands of blocks have names of their own already.
    in_a, in_b = (numbered(image.blocks, lambda block: block.idstr) for image in (a, b))
    for key in dict.fromkeys([*in_a, *in_b]):
        if options.blocks is not None and text(key[0]) not in options.blocks:
            continue
        sides = (pages[0], in_a.get(key)), (pages[1], in_b.get(key))
        found = compare_block(*sides, options, progress)
        if found.ranges:
            left = None if left is None else left - len(found.ranges)
            options = dataclasses.replace(options, limit=left)
        yield replace(found, occurrence=key[1]) if key[1] else found


def _trouble(blocks: Sequence[BlockDiff]) -> Iterator[str]:
    for block in blocks:
        if block.not_compared and not block.left_out:
            yield f"{block.name}: not compared: {block.not_compared}"
        if block.unreadable:
            yield f"{block.name}: {block.unreadable:,} present pages lie outside the file"
