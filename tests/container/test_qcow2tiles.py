"""`dump` of a qcow2 image itself: its leaves tile the file, and lead to what the states are."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from conftest import run_cli
from container.test_qcow2 import GEOMETRIES, MAPPED, STREAM, built, patterned
from fixedram_fmt import FixedRamError, Image, Source
from fixedram_fmt.container.qcow2 import QcowDisk
from fixedram_fmt.container.qcow2tiles import Clusters, qcow2_tiles
from fixedram_fmt.container.wrapper import Part, Place
from fixedram_fmt.io.source import Extent
from fixedram_fmt.snapshots import list_snapshots
from fuzz.seeds import made
from support.qcow2 import DiskBuilder, State
from support.xen import XenSaveBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 1 << 30


def tiles(raw: bytes) -> list[Part]:
    """Those of an image, which must tile it."""
    found = list(qcow2_tiles(Place(Source.from_buffer(raw), 0)))
    position = 0
    for part in found:
        assert part.offset == position
        assert part.length > 0
        position += part.length
    assert position == len(raw)
    assert len({part.path for part in found}) == len(found)
    return found


_SLOW = [pytest.param(name, marks=pytest.mark.slow if name == "2M" else ()) for name in GEOMETRIES]


@pytest.mark.parametrize("name", _SLOW)
def test_leaves_tile_the_file_and_lead_to_the_states(name: str) -> None:
    data = patterned(200_000)
    builder = replace(GEOMETRIES[name], content=patterned(60_000, seed=2), size=1 << 20)
    raw = built(builder, State(data, "a"), State(data[::-1], "b", "2"), State(b"", "c", "3"))
    found = tiles(raw)
    for number, expected in ((0, data), (1, data[::-1])):
        seen = 0
        for part in found:
            if part.path.startswith(f"qcow2/snapshots[{number}]/state") and not builder.compressed:
                assert isinstance(part.value, Clusters)
                start = part.value.position
                whole = expected[start : start + part.length].ljust(part.length, b"\0")
                assert raw[part.offset : part.offset + part.length] == whole
                seen += len(whole.strip(b"\0"))
        assert seen or builder.compressed
    paths = {part.path.partition("[")[0] for part in found}
    assert {"qcow2/header", "qcow2/disk/l1", "qcow2/disk/content"} <= paths


def test_leaves_of_any_tables_tile_the_file() -> None:
    raw = built(DiskBuilder(9, size=2000, content=b"x" * 2000), State(patterned(9000), "a"))
    chance = random.Random(5)
    for _ in range(40):
        changed = bytearray(raw)
        for _ in range(chance.choice((1, 2, 5))):
            place = chance.randrange(0, len(raw) // 8) * 8
            word = chance.choice((0, 1 << 62, chance.getrandbits(64), chance.randrange(len(raw))))
            struct.pack_into(">Q", changed, place, word)
        try:
            disk = QcowDisk.at(Place(Source.from_buffer(bytes(changed)), 0))
        except FixedRamError:
            continue
        assert disk.head.length
        tiles(bytes(changed))


def test_what_is_not_walked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixedram_fmt.container.qcow2tiles._WALKED", 512)
    raw = built(DiskBuilder(9, size=0), State(patterned(90_000), "a"))
    notes = {part.note for part in tiles(raw) if part.kind == "gap"}
    assert notes == {"more tables than are walked here: owners are not known"}


@pytest.mark.slow
def test_the_command_shows_the_image_or_a_state_in_it(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a\x1b[1m"), State(MAPPED, "b", "2")))
    shown = run_cli("dump", path)
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert "qcow2: the container itself" in shown.out
    assert "stream at 0x0 of snapshot b in a qcow2 image" in run_cli("dump", f"{path}#b").out
    told = run_cli("dump", f"{path}#b", "--container", "--json").json
    assert told["container"]["kind"] == "qcow2"
    assert sum(one["length"] for one in told["records"]) == path.stat().st_size
    path.write_bytes(XenSaveBuilder(STREAM).build())
    assert "emulator's record in a save of Xen" in run_cli("dump", path).out
    told = run_cli("dump", path, "--container", "--json").json
    assert sum(one["length"] for one in told["records"]) == path.stat().st_size
    path.write_bytes(STREAM)
    assert run_cli("dump", path, "--container").code == 2


# -- what reading costs ----------------------------------------------------------------------------


class Counting(Source):
    """Another Source's bytes, and how many of them were read."""

    def __init__(self, source: Source) -> None:
        super().__init__(name=source.name, size=source.size)
        self.source = source
        self.count = 0

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        self.count += target.nbytes
        self.source.read_into(offset, target, path)

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        return self.source.extents(start, stop)


def large_disk(path: Path, *states: State) -> None:
    """A disk of 100 GiB in clusters of 64 KiB, each of them mapped to a hole of the file."""
    raw = bytearray(built(DiskBuilder(16, size=100 * GIB), *states))
    tables, entries = 200, 1 << 13
    first = -(-len(raw) // 65536) * 65536
    data = first + tables * 65536
    l1 = np.arange(first, data, 65536).astype(">u8")
    l2 = np.arange(data, data + 100 * GIB, 65536).astype(">u8")
    with path.open("wb") as file:
        file.write(raw)
        file.seek(first)
        file.write(l2.tobytes())
        file.seek(data + 100 * GIB)
        file.write(l1.tobytes())
        file.seek(36)
        file.write(struct.pack(">IQ", tables, data + 100 * GIB))
    assert len(l2) == tables * entries


@pytest.mark.slow
def test_a_snapshot_in_a_large_disk_costs_its_tables_and_headers(tmp_path: Path) -> None:
    state = made({}, {"blocks": [{"name": "pc.ram", "size": 8 << 20, "pattern": "counter"}]})
    path = tmp_path / "disk.qcow2"
    large_disk(path, State(state, "a"), State(state, "b", "2"))
    assert path.stat().st_blocks * 512 < 64 << 20
    with Source.open(path) as file:
        counting = Counting(file)
        disk = QcowDisk.at(Place(counting, 0))
        with Image.open(disk.state(disk.snapshot("b"))) as image:
            assert image.complete
            assert image.block("pc.ram").used_length == 8 << 20
        assert counting.count < 128 << 10
        counting.count = 0
        assert [one.complete for one in list_snapshots(counting).snapshots] == [True, True]
        assert counting.count < 256 << 10
        counting.count = 0
        leaves = list(qcow2_tiles(Place(counting, 0)))
        assert len(leaves) < 400
        assert counting.count < 16 << 20
        content = [part for part in leaves if part.path.startswith("qcow2/disk/content")]
        assert sum(part.length for part in content) == 100 * GIB
