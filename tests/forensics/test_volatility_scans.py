"""volatility3's scanners on our layer.

What drives volatility3 and reads its results is, by its licence, offered under that too: this file
may be used under the Volatility Software License 1.0 as well as under the MIT License.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from fixedram_fmt import Image
from support.synthetic import PAGE
from support.volatility import MIB, Opener, poke, sample, synthesise

# Files that volatility3 opens are closed when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


_MARK = b"\x01MARK\xfe\xfd\xfc"


def hits(vol: Any, layer: Any, chunk: int = 0) -> list[int]:
    scanner = vol.scanners.BytesScanner(_MARK)
    scanner.chunk_size = chunk or scanner.chunk_size
    return list(layer.scan(layer.context, scanner))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 16 * PAGE])
@pytest.mark.parametrize("density", [0.02, 0.5, 1.0])
def test_a_scan_finds_what_a_search_through_all_of_memory_finds(
    chunk: int, density: float, vol: Any, guest: Opener, tmp_path: Path
) -> None:
    """Marks at edges of runs and of chunks, and across them."""
    blocks = [{"name": "pc.ram", "size": 20 * MIB, "pattern": "random", "density": density}]
    path = synthesise(tmp_path / "image", blocks=blocks, seed=5)
    with Image.open(path) as image:
        runs = list(image.memory(image.blocks[0]).runs())
        size = image.physical_memory.size
    for run in runs[:: max(1, len(runs) // 40)]:
        poke(path, run.address, _MARK)
        poke(path, run.address + run.length - len(_MARK), _MARK)
        for edge in range(run.address + 16 * PAGE, run.address + run.length - 8, 16 * PAGE):
            poke(path, edge - 3, _MARK)
    with guest(path) as layer:
        whole = layer.read(0, size)
        expected, at = [], whole.find(_MARK)
        while at >= 0:
            expected.append(at)
            at = whole.find(_MARK, at + 1)
        assert len(expected) > 30
        # volatility3 leaves out the last byte of a layer.
        assert hits(vol, layer, chunk) == [at for at in expected if at + len(_MARK) < size]


@pytest.mark.slow
@pytest.mark.untraced
def test_a_sparse_guest_of_a_tebibyte_is_scanned_in_seconds(
    vol: Any, guest: Opener, tmp_path: Path
) -> None:
    blocks = [{"name": "pc.ram", "size": "1T", "pattern": "random", "density": 0.000001}]
    path = synthesise(tmp_path / "image", blocks=blocks)
    with Image.open(path) as image:
        last = list(image.physical_memory.runs())[-1]
        in_block = list(image.memory(image.blocks[0]).runs())[-1].address
    poke(path, in_block, _MARK)
    began = time.monotonic()
    with guest(path) as layer:
        assert hits(vol, layer) == [last.address]
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_processes_scan_together(
    vol: Any, guest: Opener, unpacked_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guest(sample("pc-live", unpacked_dir)) as layer:
        data = layer.read(MIB, MIB)
        at = len(data) - len(data.lstrip(b"\0")) + 64
        assert any(data[at : at + 16])
        scanner = vol.scanners.BytesScanner(data[at : at + 16])
        alone = list(layer.scan(layer.context, scanner))
        parallel = vol.constants.Parallelism.Multiprocessing
        monkeypatch.setattr(vol.constants, "PARALLELISM", parallel)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = list(layer.scan(layer.context, scanner))
    assert MIB + at in alone
    assert together == alone
