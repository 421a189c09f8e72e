"""A mutant, which is an image with one thing changed, and the two images that are changed.

`synth` is two blocks made by our writer, `real` what a real QEMU saves after it has loaded `synth`
(more blocks, device sections, a description).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults.fault import Elements
from fixedram_fmt.write.placing import lay_out, write_pieces
from fixedram_fmt.write.spec import ImageSpec, parse_block
from fixedram_fmt.write.synth import elements
from support.synthetic import PAGE, image_of
from support.two_blocks import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fixedram_fmt.write.elements import Element

__all__ = [
    "Base",
    "Mutant",
    "Splice",
    "inserted",
    "laid_out",
    "of_elements",
    "random_of",
    "section_of",
    "spliced",
    "synth",
    "synth_elements",
    "write",
]

_SEED = 2024

#: [start, stop) of the file and what stands there instead.
Splice = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One of the two images with one thing changed; image() makes the whole file.

    changes_meaning: the image is as sound as before but holds other memory, since bits of a bitmap
    or bytes of present pages were changed; meant() is the image without its other faults, if any.
    in_device: what was changed is in the state of a device, which only its receiver can judge.
    """

    name: str
    base: str
    image: partial[bytes] = field(repr=False)
    changes_meaning: bool = False
    in_device: bool = False
    meant: partial[bytes] | None = field(default=None, repr=False)


def write(mutant: Mutant, path: Path, *, meant: bool = False) -> None:
    """Make a file of the mutant, or of what it would be with meant, pages of zeros as holes."""
    image = mutant.meant if meant and mutant.meant else mutant.image
    data, zeros = image(), bytes(PAGE)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        for start in range(0, len(data), PAGE):
            page = data[start : start + PAGE]
            if page != zeros:
                file.seek(start)
                file.write(page)
        file.truncate(len(data))


@cache
def synth() -> bytes:
    """The synthetic image."""
    return laid_out(tuple(synth_elements()))


class Base:
    """A sound image in memory, and its records."""

    def __init__(self, name: str, raw: bytes) -> None:
        self.name, self.raw = name, raw
        image = image_of(raw)
        assert image.complete, image.stopped
        self.records, self.blocks = list(image.records()), image.blocks

    def spliced(
        self, name: str, *splices: Splice, changes_meaning: bool = False, in_device: bool = False
    ) -> Mutant:
        """A mutant of these bytes; splices in the order of the file."""
        make = partial(spliced, self.raw, splices)
        return Mutant(f"{self.name}/{name}", self.name, make, changes_meaning, in_device)

    def devices(self) -> list[str]:
        """Paths of nine of the many device sections, in the order of the file."""
        paths = [section_of(one.path) for one in self.records if one.kind is Kind.SECTION_FULL]
        chosen = random_of(f"{self.name} devices").sample(paths, min(9, len(paths)))
        return sorted(chosen, key=paths.index)


def spliced(raw: bytes, splices: Iterable[Splice]) -> bytes:
    parts, at = [], 0
    for start, stop, data in splices:
        parts += [raw[at:start], data]
        at = stop
    return b"".join([*parts, raw[at:]])


def random_of(name: str) -> random.Random:
    return random.Random(f"{_SEED} {name}")


def synth_elements() -> list[Element]:
    return list(elements(ImageSpec(blocks=[parse_block(block) for block in BLOCKS])))


def laid_out(items: Iterable[Element]) -> bytes:
    output = BufferOutput()
    write_pieces(lay_out(items), output)
    return bytes(output.data)


def of_elements(name: str, items: Iterable[Element]) -> Mutant:
    """A mutant whose elements are laid out as a writer would."""
    return Mutant(f"synth/{name}", "synth", partial(laid_out, tuple(items)))


def inserted(name: str, kind: Kind, number: int, *items: Element) -> Mutant:
    """A mutant with items in front of the number-th element of kind."""
    found = Elements(synth_elements(), PAGE)
    found.insert(found.index(kind, number), *items)
    return of_elements(name, found.items)


def section_of(path: str) -> str:
    return "/".join(path.split("/")[: 2 if path.startswith("configuration") else 1])
