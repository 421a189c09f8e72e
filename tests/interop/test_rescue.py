"""Saves of a real QEMU that never finished: what is rescued of them, beside what the guest had."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from typing import TYPE_CHECKING

import pytest

import fixedram_fmt as fx
from fixedram_fmt.recovery import BitmapState, Purpose
from qemu_vm import QemuError, QemuVM, file_uri, require_qemu
from support.memory import block_memory
from support.sparse import copy_with_holes
from support.unfinished import without_bitmaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_MIB = 1 << 20
_RAM = 16 * _MIB
_PATTERN_AT, _PATTERN = 2 * _MIB, 8 * _MIB
_PAGE = 4096
#: Slow enough that a save of the pattern takes some seconds.
_BANDWIDTH = 3 * _MIB


@pytest.fixture(scope="module")
def args(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A paused guest whose memory holds noise, with zero pages and single zero bytes in it."""
    rng = random.Random(1)
    pages = [rng.randbytes(_PAGE) if rng.random() < 0.7 else bytes(_PAGE) for _ in range(2048)]
    path = tmp_path_factory.mktemp("rescue") / "pattern"
    path.write_bytes(b"".join(pages))
    loader = f"loader,file={path},addr={_PATTERN_AT:#x},force-raw=on"
    return ("-S", "-accel", "tcg", "-machine", "pc", "-m", "16M", "-device", loader)


def started(vm: QemuVM, args: tuple[str, ...], path: Path, *more: str) -> bytes:
    """A slow save to path that has begun; the guest's memory."""
    vm.start(args)
    memory = vm.pmemsave(0, _RAM)
    vm.set_capabilities("mapped-ram", *more)
    vm.set_parameters({"max-bandwidth": _BANDWIDTH})
    vm._forget_events()
    vm.execute("migrate", {"uri": file_uri(path)})
    return memory


def snapshots(vm: QemuVM, path: Path, folder: Path) -> Iterator[Path]:
    """Copies of the file as it was at ten moments, with QEMU standing still for each."""
    for number in range(10):
        time.sleep(0.08)
        os.kill(vm.pid, signal.SIGSTOP)
        try:
            if path.exists():
                yield copy_with_holes(path, folder / f"copy-{number}")
        finally:
            os.kill(vm.pid, signal.SIGCONT)


def agrees(found: bytes, memory: bytes) -> int:
    """Pages with data that found has as memory has them; every other page of it is zero."""
    same = 0
    for start in range(0, len(memory), _PAGE):
        page = found[start : start + _PAGE]
        if page != memory[start : start + _PAGE]:
            assert not any(page), f"page at {start:#x}"
        elif any(page):
            same += 1
    return same


def ram_of(image: fx.Image) -> bytes:
    return block_memory(image, image.block("pc.ram"))


def seen_by_qemu(args: tuple[str, ...], path: Path) -> bytes:
    """Physical memory of a real QEMU that loaded an image, into a machine without the pattern."""
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start((*args[: args.index("16M") + 1], "-S", "-incoming", "defer"))
        vm.set_capabilities("mapped-ram")
        assert vm.incoming_from_file(path) == "completed", vm.stderr
        return vm.pmemsave(0, _RAM)


def low(memory: bytes) -> bytes:
    """Physical memory without 0xa0000 to 0x100000, where a PC has other things than RAM."""
    return memory[:0xA0000] + bytes(0x60000) + memory[0x100000:]


def test_save_that_is_interrupted_at_ten_points(args: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "image"
    counts = []
    with QemuVM(require_qemu("x86_64")) as vm:
        memory = low(started(vm, args, path))
        for copy in snapshots(vm, path, tmp_path):
            try:
                done = fx.rescue(copy, tmp_path / "out", force=True)
            except fx.FixedRamError:
                continue  # before the list of blocks was written
            assert not done.complete
            assert done.purpose is Purpose.FORENSICS
            with fx.open(tmp_path / "out") as image:
                assert image.complete
                found = low(ram_of(image))
            counts.append(agrees(found, memory))
        os.kill(vm.pid, signal.SIGKILL)
        vm.wait_exit()
    assert len(counts) >= 5
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert len(set(counts)) > 3
    # What is left of a killed QEMU, and what another one makes of the rescue.
    done = fx.rescue(path, tmp_path / "out", force=True)
    assert done.blocks[0].bitmap is BitmapState.EMPTY
    assert agrees(low(seen_by_qemu(args, tmp_path / "out")), memory) >= counts[-1]


def test_disk_that_is_full(args: tuple[str, ...], tmp_path: Path) -> None:
    """A limit on the file's size, set once the headers are written, ends the save."""
    path = tmp_path / "image"
    limit = 8 * _MIB
    with QemuVM(require_qemu("x86_64")) as vm:
        memory = low(started(vm, args, path))
        deadline = time.monotonic() + 20
        while not path.exists() or path.stat().st_size < _RAM + 3 * _MIB:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        resource.prlimit(vm.pid, resource.RLIMIT_FSIZE, (limit, limit))
        # As Python does, QEMU may have been started with SIGXFSZ ignored: then its writes fail.
        try:
            assert vm._wait_migration() == "failed"
        except QemuError:
            assert vm.wait_exit() == -signal.SIGXFSZ
    done = fx.rescue(path, tmp_path / "out")
    assert done.purpose is Purpose.FORENSICS
    with fx.open(tmp_path / "out") as image:
        found = low(ram_of(image))
        assert image.block("pc.ram").pages_offset + _PATTERN_AT < limit
    assert agrees(found, memory) > 50
    assert not any(found[limit:])


@pytest.mark.parametrize("spoil", ["all", "main"])
def test_lost_bitmaps_of_a_whole_save_are_restored_by_qemu(
    spoil: str, args: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(args)
        memory = vm.pmemsave(0, _RAM)
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(path) == "completed"
    whole = path.read_bytes()
    (tmp_path / "lost").write_bytes(without_bitmaps(whole, *([] if spoil == "all" else [0])))
    done = fx.rescue(tmp_path / "lost", tmp_path / "out")
    assert done.purpose is Purpose.RESTORE
    assert (tmp_path / "out").read_bytes() == whole
    assert seen_by_qemu(args, tmp_path / "out") == memory


@pytest.mark.parametrize("runs", [True, False])
def test_background_snapshot_with_mapped_ram_can_be_restored(runs: bool, tmp_path: Path) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    pc = ("-accel", "tcg", "-machine", "pc", "-m", "16M")
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(pc)
        time.sleep(1)  # the firmware fills memory, and kvmvapic finds its ROM
        if not runs:
            vm.stop()
        memory = vm.pmemsave(0, _RAM)
        try:
            vm.set_capabilities("background-snapshot", "mapped-ram")
        except QemuError as error:
            pytest.skip(f"no background snapshots here: {error}")
        assert vm.migrate_to_file(path) == "completed"
    done = fx.rescue(path, out)
    assert done.complete
    assert done.purpose is Purpose.RESTORE
    assert {one.bitmap for one in done.blocks if one.pages_rebuilt} == {BitmapState.EMPTY}
    with fx.open(out) as image:
        wanted = low(ram_of(image))
    assert any(wanted)
    if not runs:
        assert wanted == low(memory)
    assert low(seen_by_qemu(pc, out)) == wanted


def test_live_save_that_is_killed_is_in_doubt(args: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "image"
    with QemuVM(require_qemu("x86_64")) as vm:
        started(vm, args[1:], path)
        time.sleep(0.5)
        os.kill(vm.pid, signal.SIGKILL)
        vm.wait_exit()
    done = fx.rescue(path, tmp_path / "out")
    main = next(one for one in done.blocks if one.name == "pc.ram")
    assert main.doubtful_pages == main.pages_rebuilt > 0
    assert any("current" in text for text in done.unknown)
