"""One SHA-256 for what an image means, wherever and however its bytes lie.

The digest is the same for two files that give a loader the same machine, the same memory and the
same device state: copies, conversions between an ordinary stream and a fixed layout, other
containers, offsets, byte orders of bitmaps, stale pages, rounds, capabilities and descriptions
make no difference.  One bit of memory or of device state does.

Definition, version 1.  SHA is SHA-256, `||` puts bytes side by side, u32 and u64 are big-endian,
name(x) is u32 length of x || x, texts in quotes are ASCII without an end mark.

    image   = SHA("fixedram image 1\\n" || name(machine) || memory || devices)
    memory  = SHA("fixedram memory 1\\n" || u32 number of blocks || block || block ...)
    block   = name(idstr) || u64 used_length || u64 page_size || content
    content = SHA(page || page ...)
    page    = u64 number || its page_size bytes
    devices = SHA("fixedram devices 1\\n" || u32 number of sections || section || section ...)
    section = SHA(name(idstr) || u32 instance_id || u32 version_id || body || body ...)
    body    = u64 length || its bytes

- machine is the name in the configuration, empty where there is none.
- Blocks come in the order of their idstr, compared as bytes (equal ones in the stream's order).
- page_size is the target's page size, in bytes; pages are numbered from 0 and come in that order.
  Only pages with a byte other than 0 are there: a page that is present and zero counts as absent.
  Bytes of a block behind its last whole page do not count.
- Memory that is not in the image (x-ignore-shared) counts as zero.
- Sections are all but `ram`, in the order of their START or FULL; each with the bodies of its
  records in their order, START, PART and END, or the one of FULL.  Section ids do not count.
- Of an ordinary stream memory is what its records add up to, the last one of a page wins.

So the cost is that of the pages that hold something: a terabyte of zeros costs what its bitmap
does.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec.structs import replace

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.results import Result, Sha256, Unsigned
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.records import SECTION_PARTS, SECTION_STARTS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.container.opening import Location, OpenedStream
    from fixedram_fmt.image import Image
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.presence.hostlong import HostLong

__all__ = [
    "BlockDigest", "CheckedImage", "CheckedImages", "ImageDigest", "ImageDigests", "digest_file",
    "digest_image", "memory_sha256",
]  # fmt: skip

_STEP = 1 << 20
#: A hole shorter than this is read: that costs less than to begin anew behind it.
_SMALL_HOLE = 1 << 20
_ZEROS = bytes(_STEP)


class BlockDigest(Result, frozen=True):
    """content is that of the definition; sha256 is of the whole memory, absent pages zero.

    Both are hexadecimal; sha256 is None where it was not asked for.  ignored: not in the image.
    """

    name: str
    length: Unsigned
    content: Sha256
    sha256: Sha256 | None
    ignored: bool


class ImageDigest(Result, frozen=True):
    """The digests of the image at path, hexadecimal; image is that of all it is."""

    path: str
    image: Sha256 = msgspec.field(name="digest")
    memory: Sha256
    devices: Sha256
    blocks: tuple[BlockDigest, ...]


class ImageDigests(Result, frozen=True):
    """Digests of what images mean, not of their layout."""

    images: tuple[ImageDigest, ...]


class CheckedImage(Result, frozen=True):
    """Whether the image at path has the digest that a list gives it."""

    path: str
    status: Literal["ok", "failed", "unreadable"]


class CheckedImages(Result, frozen=True):
    """What became of the images of a list, and how many of each."""

    checked: tuple[CheckedImage, ...]
    ok: Unsigned
    failed: Unsigned
    unreadable: Unsigned


def digest_file(
    location: Location,
    *,
    search: bool = False,
    host_long: HostLong | None = None,
    whole_blocks: bool = False,
) -> ImageDigest:
    """The digest of what is at `PATH`, `PATH@OFFSET` or `-`, of the bytes of a file, or a Source.

    The memory of an ordinary stream is put in order in a temporary file (TMPDIR).  Raises
    FixedRamError for what cannot be read to its end.
    """
    from fixedram_fmt.container.opening import OpenedStream, name_of
    from fixedram_fmt.container.wrapper import Container
    from fixedram_fmt.conversion import dialect_of
    from fixedram_fmt.dialect import ORDINARY
    from fixedram_fmt.image import Image

    with OpenedStream.open(location, search=search) as stream:
        if dialect_of(stream) != ORDINARY:
            image = Image(stream.source, stream.container, host_long=host_long)
            made = digest_image(image, whole_blocks=whole_blocks)
            return replace(made, path=name_of(location))
        with _ordered(stream) as source:
            image = Image(source, Container())
            made = digest_image(image, whole_blocks=whole_blocks)
            return replace(made, path=name_of(location))


def _ordered(stream: OpenedStream) -> Source:
    """An ordinary stream with its memory in a fixed layout, in a file without a name."""
    from fixedram_fmt.conversion import Conversion, ConvertOptions
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.io.spool import scratch_file

    conversion = Conversion(stream, ConvertOptions(container="none"))
    with scratch_file("to put the stream's memory in order") as fd:
        conversion.write(Output(fd, "a temporary file"))
        return Source.from_fd(fd, stream.source.name)


def digest_image(image: Image, *, whole_blocks: bool = False) -> ImageDigest:
    """The digest of an image with a fixed layout; whole_blocks: their plain SHA-256 too.

    Raises UnsupportedError for an image that is not complete, whose blocks overlap, and for an
    ordinary stream, whose pages are in no order (digest_file() takes those).
    """
    from fixedram_fmt.conversion.mapped import require_whole

    require_whole(image)
    if any(not block.mapped for block in image.blocks):
        raise UnsupportedError("the blocks have no fixed layout", path="ram")
    blocks = [_block(image, block, whole=whole_blocks) for block in image.blocks]
    memory = hashlib.sha256(b"fixedram memory 1\n" + struct.pack(">I", len(blocks)))
    for block, made in sorted(
        zip(image.blocks, blocks, strict=True), key=lambda pair: pair[0].idstr
    ):
        memory.update(_name(block.idstr))
        memory.update(struct.pack(">QQ", block.used_length, block.page_size))
        memory.update(bytes.fromhex(made.content))
    machine, devices = _devices(image)
    whole = b"fixedram image 1\n" + _name(machine) + memory.digest() + devices
    return ImageDigest(
        image.source.name,
        hashlib.sha256(whole).hexdigest(),
        memory.hexdigest(),
        devices.hex(),
        tuple(blocks),
    )


def _name(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


# -- devices --------------------------------------------------------------------------------------


def _devices(image: Image) -> tuple[bytes, bytes]:
    """The machine's name, and the digest of all sections but ram."""
    machine = b""
    sections: dict[int, Any] = {}
    ids: dict[int, int] = {}
    current: Any = None
    for record in image.records():
        if record.kind is Kind.CONFIGURATION:
            machine = record.value.name
        elif record.kind in SECTION_STARTS:
            value = record.value
            current = None
            if c_string(value.idstr) != RAM_IDSTR:
                # A section id that is used again begins another section.
                ids[value.section_id] = len(sections)
                current = sections[len(sections)] = hashlib.sha256(
                    _name(value.idstr) + struct.pack(">II", value.instance_id, value.version_id)
                )
            else:
                ids.pop(value.section_id, None)
        elif record.kind in SECTION_PARTS:
            current = sections.get(ids.get(record.value.section_id, -1))
        elif record.kind is Kind.DEVICE and current is not None:
            current.update(struct.pack(">Q", record.length))
            for piece in image.source.pieces(record.offset, record.stop):
                current.update(piece)
    devices = hashlib.sha256(b"fixedram devices 1\n" + struct.pack(">I", len(sections)))
    for section in sections.values():
        devices.update(section.digest())
    return machine, devices.digest()


# -- memory ---------------------------------------------------------------------------------------


def _block(image: Image, block: RamBlock, *, whole: bool) -> BlockDigest:
    bitmap = _presence(image, block)
    digest = hashlib.sha256()
    if bitmap is not None:
        rows = _Rows(block.page_size, digest)
        for first, last in _stored_runs(image.source, block, bitmap):
            rows.add(image.source, block.pages_offset + first * block.page_size, first, last)
        rows.flush()
    return BlockDigest(
        block.name,
        block.used_length,
        digest.hexdigest(),
        memory_sha256(image, block) if whole else None,
        block.ignored,
    )


def _presence(image: Image, block: RamBlock) -> PageBitmap | None:
    """The bitmap of a block, None for one that is not in the image."""
    return None if block.ignored else image.presence(block)


def _stored_runs(source: Source, block: RamBlock, bitmap: PageBitmap) -> Iterator[tuple[int, int]]:
    """Runs of present pages, but for what lies in large holes of the file."""
    size, base = block.page_size, block.pages_offset
    done = 0
    for start, stop in _data(source, base, base + block.pages_total * size):
        first = max(done, (start - base) // size)
        done = max(first, -(-(stop - base) // size))
        for run in bitmap.runs(first, done):
            if run.present:
                yield run.start, run.stop


def _data(source: Source, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The data of a range of the file, holes that are small included."""
    begun = end = start
    for extent in source.extents(start, stop):
        if not extent.data:
            continue
        if extent.start - end >= _SMALL_HOLE:
            yield begun, end
            begun = extent.start
        end = extent.stop
    if end > begun:
        yield begun, end


class _Rows:
    """Gathers pages, and hashes those that are not zero with their numbers in front."""

    def __init__(self, page_size: int, digest: hashlib._Hash) -> None:
        import numpy as np

        self._digest = digest
        self._size = page_size
        self._room = max(1, _STEP // page_size)
        self._buffer = bytearray(self._room * page_size)
        self._pages = np.frombuffer(self._buffer, np.uint8).reshape(self._room, page_size)
        self._rows = np.empty((self._room, 8 + page_size), np.uint8)
        self._numbers = np.empty(self._room, np.uint64)
        self._held = 0

    def add(self, source: Source, offset: int, first: int, last: int) -> None:
        """The pages [first, last), which lie at offset in source."""
        import numpy as np

        size = self._size
        while first < last:
            count = min(last - first, self._room - self._held)
            start = self._held * size
            view = memoryview(self._buffer)[start : start + count * size]
            source.read_into(offset, view, "pages")
            if count == 1:
                self._numbers[self._held] = first
            else:
                self._numbers[self._held : self._held + count] = np.arange(first, first + count)
            self._held += count
            first, offset = first + count, offset + count * size
            if self._held == self._room:
                self.flush()

    def flush(self) -> None:
        """Hash what is held."""
        import numpy as np

        pages = self._pages[: self._held]
        used = np.flatnonzero(pages.view(np.uint64).any(axis=1))
        rows = self._rows[: used.size]
        numbers = self._numbers[: self._held]
        if used.size < self._held:
            numbers, pages = numbers[used], pages[used]
        rows[:, :8] = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
        rows[:, 8:] = pages
        self._digest.update(rows.reshape(-1).data)
        self._held = 0


def memory_sha256(image: Image, block: RamBlock) -> str:
    """SHA-256 of a block's whole memory, absent pages zero: what a load of it would give.

    Costs the block's length, however little is in it.
    """
    digest = hashlib.sha256()
    size, done = block.page_size, 0
    bitmap = _presence(image, block)
    for run in bitmap.runs() if bitmap is not None else ():
        if run.present:
            _hash_zeros(digest, run.start * size - done)
            done = run.stop * size
            start = block.pages_offset + run.start * size
            for piece in image.source.pieces(start, block.pages_offset + done):
                digest.update(piece)
    _hash_zeros(digest, block.used_length - done)
    return digest.hexdigest()


def _hash_zeros(digest: hashlib._Hash, length: int) -> None:
    while length > 0:
        digest.update(_ZEROS[:length] if length < _STEP else _ZEROS)
        length -= _STEP
