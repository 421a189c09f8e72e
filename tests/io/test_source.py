"""Source: exact reads at explicit offsets from paths, descriptors and buffers."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt import Source, SourceError
from fixedram_fmt.io.source import OPENERS, READ_CEILING, Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data"
    file.write_bytes(DATA)
    return file


@pytest.fixture(params=["path", "fd", "buffer"])
def source(request: pytest.FixtureRequest, path: Path) -> Iterator[Source]:
    if request.param == "path":
        opened = Source.open(path)
    elif request.param == "fd":
        with path.open("rb") as file:
            opened = Source.from_fd(file.fileno())
    else:
        opened = Source.from_buffer(DATA)
    with opened:
        yield opened


def sparse(path: Path, size: int, *writes: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in writes:
            os.pwrite(file.fileno(), data, offset)
    return path


def within(seconds: float, act: Callable[[], object]) -> object:
    """What act returned or raised; None when it does not end in time."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(act())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else None


@pytest.mark.slow
@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_buffer_read_is_the_slice(offset: int, length: int) -> None:
    length = min(length, len(DATA) - offset)
    assert Source.from_buffer(DATA).read_exact(offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (255, 600), (10239, 1), (10240, 0)])
def test_read_inside_the_file_gives_exactly_the_bytes(
    source: Source, offset: int, length: int
) -> None:
    assert source.read_exact(offset, length) == DATA[offset : offset + length]
    target = bytearray(length)
    source.read_into(offset, target)
    assert target == DATA[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-1, 1), (0, -1), (10240, 1), (10239, 2), (1 << 63, 1), (0, 1 << 63), (1 << 64, 1 << 64)],
)
def test_read_outside_the_file_is_refused_with_its_place(
    source: Source, offset: int, length: int
) -> None:
    with pytest.raises(SourceError) as caught:
        source.read_exact(offset, length, "a/path")
    assert caught.value.offset == offset
    assert caught.value.path == "a/path"


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 4, DATA[:4]),
        (10238, 100, DATA[10238:]),
        (10240, 5, b""),
        (10241, 5, b""),
        (1 << 63, 5, b""),
    ],
)
def test_read_upto_gives_what_there_is(
    source: Source, offset: int, length: int, expected: bytes
) -> None:
    assert source.read_upto(offset, length) == expected


def test_read_beyond_the_ceiling_is_refused(tmp_path: Path) -> None:
    with Source.open(sparse(tmp_path / "huge", 1 << 40)) as source:
        with pytest.raises(SourceError, match="too large"):
            source.read_exact(0, READ_CEILING + 1)
        assert source.read_exact((1 << 40) - 3, 3) == bytes(3)


def test_file_that_shrinks_while_open_is_told(path: Path) -> None:
    with Source.open(path) as source:
        os.truncate(path, 100)
        assert source.read_exact(0, 100) == DATA[:100]
        with pytest.raises(SourceError, match="shorter") as caught:
            source.read_exact(50, 100)
        assert caught.value.offset == 100


def test_offset_of_the_callers_descriptor_stays(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        file.seek(123)
        with Source.from_fd(file.fileno()) as source:
            source.read_exact(1000, 50)
            assert list(source.extents())
            assert source.read_upto(10000, 5000) == DATA[10000:]
        assert file.tell() == 123


def test_callers_descriptor_stays_open(path: Path) -> None:
    with path.open("rb") as file:
        Source.from_fd(file.fileno()).close()
        assert file.read(3) == DATA[:3]


def test_closed_source_refuses_reads(source: Source) -> None:
    source.close()
    with pytest.raises(SourceError):
        source.read_exact(0, 1)
    source.close()  # a second time is no error


def test_buffer_is_not_copied() -> None:
    data = bytearray(DATA)
    source = Source.from_buffer(data)
    data[5] = 0xEE
    assert source.read_exact(5, 1) == b"\xee"


@pytest.mark.parametrize("name", ["", "missing", "dir/missing", "nul\0byte", "dir"])
def test_what_cannot_be_opened_is_a_source_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(SourceError):
        Source.open(f"{tmp_path}/{name}" if name else "")


def test_directory_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="directory"):
        Source.open(tmp_path)


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert isinstance(within(5, lambda: Source.open(fifo)), SourceError)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_character_device_is_refused(device: str) -> None:
    with pytest.raises(SourceError):
        Source.open(device)


def test_pipe_and_bad_descriptors_are_refused() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(SourceError):
            Source.from_fd(read_end)
    finally:
        os.close(read_end)
        os.close(write_end)
    for bad in (-1, 1 << 20):
        with pytest.raises(SourceError):
            Source.from_fd(bad)


def test_descriptor_that_cannot_be_read_is_a_source_error(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        with Source.from_fd(fd) as source, pytest.raises(SourceError) as caught:
            source.read_exact(7, 1)
        assert caught.value.offset == 7
    finally:
        os.close(fd)


def test_refused_files_leave_no_descriptor_behind(tmp_path: Path) -> None:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(5):
        with pytest.raises(SourceError):
            Source.open(tmp_path)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


# -- extents --------------------------------------------------------------------------------------

BLOCK = 1 << 16


def test_extents_are_the_data_and_holes_of_a_sparse_file(tmp_path: Path) -> None:
    path = sparse(tmp_path / "sparse", 10 * BLOCK, (2 * BLOCK, b"x" * BLOCK), (7 * BLOCK, b"y"))
    with Source.open(path) as source:
        extents = list(source.extents())
        assert source.disk_size is not None
        assert source.disk_size < 10 * BLOCK
    assert extents[:3] == [
        Extent(0, 2 * BLOCK, data=False),
        Extent(2 * BLOCK, 3 * BLOCK, data=True),
        Extent(3 * BLOCK, 7 * BLOCK, data=False),
    ]
    assert extents[3].data
    assert extents[3].start == 7 * BLOCK


@pytest.mark.slow
@given(start=st.integers(0, 11 * BLOCK), length=st.integers(0, 11 * BLOCK))
def test_extents_tile_any_range_and_never_call_data_a_hole(
    start: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "extents"
    if not path.exists():
        sparse(path, 10 * BLOCK, (BLOCK + 5, b"x"), (4 * BLOCK, b"y" * BLOCK), (9 * BLOCK, b"z"))
    with Source.open(path) as source:
        at = start
        for extent in source.extents(start, start + length):
            assert extent.start == at
            assert extent.stop > at
            at = extent.stop
            if not extent.data:
                assert not any(source.read_exact(extent.start, extent.stop - extent.start))
        assert at == max(start, min(start + length, source.size))


def test_buffer_is_one_extent_of_data() -> None:
    assert list(Source.from_buffer(DATA).extents(5, 1 << 60)) == [Extent(5, len(DATA), data=True)]
    assert Source.from_buffer(DATA).disk_size is None


def test_extents_can_be_asked_for_twice_at_once(tmp_path: Path) -> None:
    path = sparse(tmp_path / "sparse", 10 * BLOCK, (2 * BLOCK, b"x"), (7 * BLOCK, b"y"))
    with Source.open(path) as source:
        first, second = source.extents(), source.extents()
        next(first)
        everything = list(second)
        assert list(first) == everything[1:]
        assert list(source.extents()) == everything


def test_file_that_shrinks_under_extents_does_not_hang(tmp_path: Path) -> None:
    path = sparse(tmp_path / "sparse", 10 * BLOCK, (2 * BLOCK, b"x"), (7 * BLOCK, b"y"))
    with Source.open(path) as source:
        extents = source.extents()
        next(extents)
        os.truncate(path, BLOCK)
        rest = within(5, lambda: list(extents))
    assert isinstance(rest, list)
    assert rest[-1].stop == 10 * BLOCK


# -- a source of another kind ---------------------------------------------------------------------

TOY = """
from fixedram_fmt.io.source import Source

class Counter(Source):
    def fill(self, offset, target, path):
        target[:] = bytes((offset + number) % 256 for number in range(len(target)))

def open_location(location):
    return Counter(name=location, size=int(location.partition("://")[2]))
"""


def test_another_source_is_one_module_and_a_row_of_openers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_counter.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(OPENERS, "count", "toy_counter")
    with Source.open("count://600") as source:
        assert source.read_exact(250, 10) == bytes((*range(250, 256), *range(4)))
        assert source.read_upto(599, 10) == bytes([599 % 256])
        assert list(source.extents(5)) == [Extent(5, 600, data=True)]
        assert (source.fd, source.disk_size, source.is_device) == (-1, None, False)
        with pytest.raises(SourceError, match="outside"):
            source.read_exact(600, 1)
    with pytest.raises(SourceError, match="is closed"):
        source.read_exact(0, 1)
    with pytest.raises(SourceError, match="cannot open"):
        Source.open("other://600")
