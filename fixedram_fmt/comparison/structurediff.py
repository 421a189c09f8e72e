"""What two images say they are: machine, capabilities, blocks, devices; and how they are stored."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from fixedram_fmt.comparison.result import StructureDiff
from fixedram_fmt.dialect import LAYOUTS
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = ["compare_structure", "numbered", "storage_notes"]

T = TypeVar("T")
K = TypeVar("K")

#: These say which layout it is, which is no difference in what is stored.
_LAYOUTS = frozenset(name.decode() for name in LAYOUTS)


def numbered(items: Iterable[T], key: Callable[[T], K]) -> dict[tuple[K, int], T]:
    """items by their key and a number that tells those with the same key apart."""
    seen: Counter[K] = Counter()
    named = {}
    for item in items:
        name = key(item)
        named[name, seen[name]] = item
        seen[name] += 1
    return named


def compare_structure(a: Image, b: Image) -> Iterator[StructureDiff]:
    """Facts that differ, the machine's first.

    Capabilities that name the layout are left out: it is the dialect's, see storage_notes().
    """
    facts = (
        ("machine", a.machine, b.machine),
        ("uuid", a.uuid, b.uuid),
        ("target_page_size", str(a.target_page_size), str(b.target_page_size)),
        ("complete", _complete(a), _complete(b)),
    )
    for name, one, other in facts:
        if one != other:
            yield StructureDiff(name, "", one, other)
    for name in sorted((set(a.capabilities) ^ set(b.capabilities)) - _LAYOUTS):
        has = name in a.capabilities
        yield StructureDiff("capability", name, "on" if has else None, None if has else "on")
    yield from _blocks(a, b)
    yield from _devices(a, b)


def _complete(image: Image) -> str:
    return "yes" if image.complete else "no"


def _blocks(a: Image, b: Image) -> Iterator[StructureDiff]:
    in_a, in_b = (numbered(image.blocks, lambda block: block.idstr) for image in (a, b))
    for key in dict.fromkeys([*in_a, *in_b]):
        one, other = in_a.get(key), in_b.get(key)
        name = text(key[0]) + (f"#{key[1] + 1}" if key[1] else "")
        if one is None or other is None:
            yield StructureDiff("block", name, _length(one), _length(other))
            continue
        yield from _block(name, one, other)


def _block(name: str, a: RamBlock, b: RamBlock) -> Iterator[StructureDiff]:
    """What differs between two blocks of one name; what only one image tells does not count."""
    facts: tuple[tuple[str, int | None, int | None], ...] = (
        ("used_length", a.used_length, b.used_length),
        ("page_size", a.header_page_size, b.header_page_size),
        ("region_address", a.region_address, b.region_address),
        ("postcopy_page_size", a.postcopy_page_size, b.postcopy_page_size),
    )
    if a.ignored != b.ignored:
        told = {True: "not saved", False: "saved"}
        yield StructureDiff("block.memory", name, told[a.ignored], told[b.ignored])
    for what, one, other in facts:
        if one != other and one is not None and other is not None:
            yield StructureDiff(f"block.{what}", name, str(one), str(other))


def _length(block: RamBlock | None) -> str | None:
    return None if block is None else str(block.used_length)


def _devices(a: Image, b: Image) -> Iterator[StructureDiff]:
    in_a, in_b = (
        numbered(image.sections, lambda section: (section.name, section.instance_id))
        for image in (a, b)
    )
    for key in dict.fromkeys([*in_a, *in_b]):
        one, other = in_a.get(key), in_b.get(key)
        (name, instance), again = key
        path = f"{name}/{instance}" if instance else name
        path += f"#{again + 1}" if again else ""
        versions = [None if side is None else f"version {side.version_id}" for side in (one, other)]
        if versions[0] != versions[1]:
            yield StructureDiff("device", path, versions[0], versions[1])


def storage_notes(a: Image, b: Image) -> Iterator[str]:
    """How the same could be stored differently: dialect, container, byte order, order of blocks."""
    told = (
        ("dialect", a.dialect, b.dialect),
        ("container", _container(a), _container(b)),
        ("byte order of the bitmaps", _byte_order(a), _byte_order(b)),
    )
    for what, one, other in told:
        if one and other and one != other:
            yield f"{what}: {one} in A, {other} in B"
    names = [[block.idstr for block in image.blocks] for image in (a, b)]
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        yield "the blocks are listed in another order"


def _container(image: Image) -> str:
    container = image.container
    packed = f", unpacked from {container.compression}" if container.compression else ""
    at = f", stream at {container.stream_offset:#x}" if container.stream_offset else ""
    return f"{container.kind}{at}{packed}"


def _byte_order(image: Image) -> str:
    if not any(block.has_pages for block in image.blocks):
        return ""
    return image.host_long.value.label
