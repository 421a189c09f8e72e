"""Saves that were cut off among their devices, and what a file can go on with."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt import Image
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation.validator import validate
from support.sparse import copy_with_holes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.blocks import Section


@dataclass(frozen=True)
class Devices:
    """A whole image, and where its devices lie: from the first after RAM to the EOF byte."""

    path: Path
    stream_offset: int
    sections: list[Section]
    start: int
    eof: int
    #: The bytes from start to the end of the file.
    data: bytes

    def section_of(self, stop: int) -> Section | None:
        """The section whose body a file ends in that ends at stop."""
        for section in self.sections:
            if section.body_offset <= stop < section.body_offset + (section.body_length or 0):
                return section
        return None


def devices_of(location: str) -> Devices:
    path, offset, _ = split_location(location)
    with Image.open(location) as image:
        assert image.complete
        eof = next(record.offset for record in image.records() if record.kind == "eof")
        ram = max((one.offset for one in image.sections if one.is_ram), default=0)
        sections = [one for one in image.sections if one.full and one.offset > ram]
        start = min(one.offset for one in sections)
        data = image.source.read_exact(start, image.source.size - start)
        begin = image.container.stream_offset if offset is not None else 0
        return Devices(Path(path), begin, sections, start, eof, data)


#: What can follow a cut, by the bytes before it, after it, and a source of randomness.
TAILS: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "nothing": lambda _before, _after, _rng: b"",
    "a page's zeros": lambda before, _after, _rng: bytes(-len(before) % 4096),
    "many zeros": lambda _before, _after, rng: bytes(rng.choice((64, 5000, 1 << 20))),
    "noise": lambda _before, _after, rng: rng.randbytes(rng.choice((64, 5000, 100_000))),
    "an older save": lambda before, after, rng: (before + after)[rng.randrange(len(before)) :],
}


@contextmanager
def cut_copy(devices: Devices, copy: Path) -> Iterator[Callable[[int, bytes], str]]:
    """A function that makes copy end at an offset, then go on with a tail; gives its location."""
    copy_with_holes(devices.path, copy)
    fd = os.open(copy, os.O_RDWR)

    def cut(stop: int, tail: bytes) -> str:
        os.ftruncate(fd, devices.start)
        os.pwrite(fd, devices.data[: stop - devices.start] + tail, devices.start)
        return f"{copy}@{devices.stream_offset}" if devices.stream_offset else str(copy)

    try:
        yield cut
    finally:
        os.close(fd)


def stops(devices: Devices, count: int, seed: str) -> list[int]:
    """Offsets among the devices, each at most once."""
    everywhere = range(devices.start, devices.eof + 1)
    return random.Random(seed).sample(everywhere, min(count, len(everywhere)))


def outcomes(image: Image) -> set[Outcome]:
    """What QEMU 10 and 11 do with it."""
    report = validate(image)
    return {
        report.verdict(LOADERS[name], multifd=False).outcome for name in ("qemu-10.0", "qemu-11.1")
    }
