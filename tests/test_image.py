"""Image as a thing: what it owns, what stays of it, what it says of a damaged bitmap."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixedram_fmt import Image, Source
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.errors import FormatError, SourceError
from fixedram_fmt.tiling import leaves
from support.synthetic import made


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(made())
    return path


def test_what_open_opened_is_closed_and_the_facts_stay(path: Path) -> None:
    before = open_files()
    with Image.open(path) as image:
        size = image.source.size
        assert open_files() > before
    assert open_files() == before
    assert image.source.size == image.file_size == size
    assert image.complete
    assert image.blocks


def test_a_source_that_is_given_stays_open(path: Path) -> None:
    with Source.open(path) as source:
        for image in (Image.open(source), Image(*locate_stream(source))):
            with image:
                pass
            assert source.read_exact(0, 4) == b"QEVM"


def test_a_source_that_is_none_stays_open_too(path: Path) -> None:
    path.write_bytes(b"no image at all")
    before = open_files()
    with pytest.raises(FormatError):
        Image.open(path)
    assert open_files() == before
    with Source.open(path) as source:
        with pytest.raises(FormatError):
            Image.open(source)
        assert source.read_exact(0, 2) == b"no"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_an_image_too(kind: type, path: Path) -> None:
    with Image.open(kind(path.read_bytes())) as image:
        assert image.complete


def test_a_closed_image_says_so(path: Path) -> None:
    with Image.open(path) as image:
        whole = len(list(leaves(image)))
    assert whole
    with pytest.raises(SourceError, match="is closed"):
        list(leaves(image))
    with pytest.raises(SourceError, match="is closed"):
        list(image.source.extents())
    with pytest.raises(SourceError, match="is closed"):
        image.presence(image.blocks[0]).count()


def test_a_damaged_bitmap_is_no_missing_one() -> None:
    with Image.open(made()) as image:
        block = image.blocks[-1]
        assert image.bitmap(block) is not None
    cut = made()[: block.bitmap_offset + 1]
    with Image.open(cut) as image:
        block = image.blocks[-1]
        with pytest.raises(FormatError, match="bitmap"):
            image.bitmap(block)
        assert image.readable_bitmap(block) is None
