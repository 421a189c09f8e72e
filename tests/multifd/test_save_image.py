"""Whole images of a guest that goes on writing: what is loaded from them is its final memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.loader import load
from fixedram_fmt.multifd.targets import Buffers
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from support.memory import block_memory
from support.synthetic import image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
PAGES = 300


class RunningGuest:
    """Memory that a thread writes to until the last round begins; it logs what it dirties."""

    def __init__(self, seed: int, rounds: int) -> None:
        self.memory = np.zeros((PAGES, PAGE), np.uint8)
        self._random = np.random.default_rng(seed)
        self._dirty = np.zeros(PAGES, np.bool_)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._last = rounds - 1
        self._write(PAGES)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._write(5)

    def _write(self, count: int) -> None:
        # Memory and log change together, as they do for a guest whose writes fault.
        with self._lock:
            for page in self._random.integers(0, PAGES, count).tolist():
                self.memory[page] = 0 if page % 7 == 0 else self._random.integers(1, 256)
                self._dirty[page] = True

    def dirty(self, number: int) -> Iterator[tuple[int, int]]:
        if number == self._last:
            self._stop.set()
            self._thread.join()
        with self._lock:
            pages = np.flatnonzero(self._dirty).tolist() if number else list(range(PAGES))
            self._dirty[:] = False
        for page in pages:
            yield page, page + 1

    def read(self, start: int, stop: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return self.memory[start:stop].copy()


def saved(rounds: int, channels: int, **more: Any) -> tuple[bytes, dict[str, RunningGuest]]:
    guest = {name: RunningGuest(seed, rounds) for seed, name in enumerate(("pc.ram", "dimm"))}
    spec = spec_from({
        "blocks": [{"name": name, "size": PAGES * PAGE} for name in guest],
        "rounds": rounds, "channels": channels, "multifd": True, **more,
    })  # fmt: skip
    output = BufferOutput()
    write_image(spec, output, guest=guest)
    return bytes(output.data), guest


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["mapped-ram", "fixed-ram-v4"])
@pytest.mark.parametrize("each_section", [False, True])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_image_of_a_running_guest_holds_its_final_memory(
    dialect: str, each_section: bool, byte_order: str
) -> None:
    raw, guest = saved(
        5, 3, dialect=dialect, multifd_flush_after_each_section=each_section, byte_order=byte_order
    )
    with image_of(raw) as image:
        buffers = {name: bytearray(PAGES * PAGE) for name in guest}
        loader = LOADERS["per-ram-load"]
        loaded = load(image, Buffers(image, buffers), channels=2, loader=loader)  # type: ignore[arg-type]
        for block in image.blocks:
            final = guest[block.name].memory.tobytes()
            assert bytes(buffers[block.name]) == final
            if byte_order == "little":
                assert block_memory(image, block) == final
        flushes = [record for record in image.records() if record.kind is Kind.MULTIFD_FLUSH]
    assert len(flushes) == (dialect == "fixed-ram-v4" and not each_section)
    assert loaded.syncs == 1 + 5 + 1, "START, five PARTs, END"


@pytest.mark.slow
def test_blocks_without_a_guest_are_made_by_their_patterns() -> None:
    guest = RunningGuest(1, 2)
    spec = spec_from({
        "blocks": [
            {"name": "pc.ram", "size": PAGES * PAGE},
            {"name": "pc.rom", "size": 4 * PAGE, "pattern": "text"},
        ],
        "rounds": 2,
    })  # fmt: skip
    output = BufferOutput()
    write_image(spec, output, guest={"pc.ram": guest})
    with image_of(bytes(output.data)) as image:
        ram, rom = image.blocks
        assert block_memory(image, ram) == guest.memory.tobytes()
        assert block_memory(image, rom).startswith(b"pc.rom page 0 round")
