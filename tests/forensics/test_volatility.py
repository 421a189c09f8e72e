"""volatility3 on migration images: memory as QEMU dumps it, its plugins, its scanners.

What drives volatility3 and reads its results is, by its licence, offered under that too: this file
may be used under the Volatility Software License 1.0 as well as under the MIT License.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import importlib
import importlib.util
import io
import os
import pickle
import random
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from conftest import SAMPLES, absent
from fixedram_cli.command import flattened
from fixedram_cli.commands.volatility import volatility_path
from fixedram_fmt import Image
from fixedram_fmt.forensics import volatility_path as plugin_folder
from fixedram_fmt.io.output import replacing
from fixedram_fmt.memory import PhysicalMemory
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from qemu_vm import QemuVM, require_qemu
from support.mutants import mutants
from support.real_files import ENTRIES, location_of
from support.synthetic import PAGE, made

# Files that volatility3 opens are closed when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MIB, GIB = 1 << 20, 1 << 30
BANNER = b"Linux version 6.1.0-test (gcc 12.2.0) #1 SMP"

#: Opens the image at a path: the layer, None where the stacker gives none.
Opener = Callable[[Path], AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def vol() -> Any:
    """volatility3's modules, with our folder among its plugins."""
    if importlib.util.find_spec("volatility3") is None:
        absent("the Python package volatility3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import volatility3.plugins
        from volatility3.framework import constants, contexts, exceptions
        from volatility3.framework.layers import physical, scanners
        from volatility3.plugins import layerwriter

        path = volatility3.plugins.__path__
        volatility3.plugins.__path__ = [str(plugin_folder()), *path]
        layer = importlib.import_module("volatility3.plugins.fixedram_layer")
        volatility3.plugins.__path__ = path
    return SimpleNamespace(
        constants=constants,
        contexts=contexts,
        exceptions=exceptions,
        layer=layer,
        layerwriter=layerwriter,
        physical=physical,
        scanners=scanners,
    )


@pytest.fixture
def guest(vol: Any) -> Opener:
    @contextmanager
    def opened(path: Path) -> Iterator[Any]:
        context = vol.contexts.Context()
        context.config["file.location"] = path.as_uri()
        base = vol.physical.FileLayer(context, "file", "base")
        context.add_layer(base)
        try:
            layer = vol.layer.FixedRamStacker.stack(context, "base")
            if layer is not None:
                context.add_layer(layer)
            yield layer
        finally:
            base.destroy()

    return opened


def run_vol(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`vol -p FOLDER ARGUMENTS` as a user runs it, results in folder; without the network."""
    if importlib.util.find_spec("volatility3") is None:
        absent("the Python package volatility3")
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    program = "import sys; sys.argv[0] = 'vol'; from volatility3.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "-q", "--offline", "--cache-path", str(cache),
         "-o", str(folder), "-p", str(plugin_folder()), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
    )  # fmt: skip


def sample(name: str, folder: Path) -> Path:
    return Path(location_of(f"sample/{name}", folder).partition("@")[0])


def synthesise(path: Path, **spec: Any) -> Path:
    with replacing(path) as output:
        write_image(spec_from({"machine": "pc-i440fx-10.0", **spec}), output)
    return path


def poke(path: Path, address: int, data: bytes) -> None:
    """Write into the pages of an image's pc.ram, which are present there."""
    with Image.open(path, search=True) as image:
        block = next(block for block in image.blocks if block.name == "pc.ram")
        memory = image.memory(block)
        for at in range(address // PAGE * PAGE, address + len(data), PAGE):
            assert memory.is_present(at)
        offset = block.pages_offset + address
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# -- memory as others see it -----------------------------------------------------------------------

_DUMPED = [
    (name.partition("/")[2], part)
    for name, entry in ENTRIES.items()
    # Else the memory is not in the image.
    if name.startswith("sample/") and not name.endswith(("failed-ignore-shared", "shared-11.1"))
    for part in entry.get("guest_physical_sha256", ())
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), _DUMPED, ids=[f"{n}-{p['start']:x}" for n, p in _DUMPED])
def test_memory_is_what_qemus_monitor_dumped(
    name: str, part: dict[str, Any], guest: Opener, unpacked_dir: Path
) -> None:
    digest = hashlib.sha256()
    with guest(sample(name, unpacked_dir)) as layer:
        for start in range(part["start"], part["end"], MIB):
            digest.update(layer.read(start, min(MIB, part["end"] - start)))
    assert digest.hexdigest() == part["sha256"]


class Compared(io.RawIOBase):
    """What layerwriter writes to; each write has to be what the oracle reads."""

    def __init__(self, memory: PhysicalMemory) -> None:
        super().__init__()
        self.memory, self.at = memory, 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        assert data == self.memory.read(self.at, len(data))
        self.at += len(data)
        return len(data)


@pytest.mark.parametrize(
    "name", ["avr-uno", "m68k-virt", pytest.param("pc-live", marks=pytest.mark.slow)]
)
def test_layerwriter_writes_guest_physical_memory(
    name: str, vol: Any, guest: Opener, unpacked_dir: Path
) -> None:
    """Holes as zeros."""
    path = sample(name, unpacked_dir)
    with guest(path) as layer, Image.open(path) as image:
        written = Compared(PhysicalMemory(image, fill=0))
        writer = vol.layerwriter.LayerWriter
        writer.write_layer(layer.context, layer.name, "x", lambda _name: written, 16 * MIB)
        assert written.at == image.physical_memory.size == layer.maximum_address + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name.partition("/")[2] for name in ENTRIES if "sample/" in name])
def test_a_layer_holds_guest_physical_memory(name: str, guest: Opener, unpacked_dir: Path) -> None:
    location = location_of(f"sample/{name}", unpacked_dir)
    with guest(sample(name, unpacked_dir)) as layer, Image.open(location) as image:
        memory = image.physical_memory
        for piece in image.memory_map:
            assert layer.is_valid(piece.start, piece.length) is not piece.block.ignored
            for start in range(piece.start, piece.stop, MIB):
                size = min(MIB, piece.stop - start)
                truth = bytes(size) if piece.block.ignored else memory.read(start, size)
                assert layer.read(start, size, pad=piece.block.ignored) == truth
        first, last = layer.minimum_address, layer.maximum_address
        assert (first, last) == (image.memory_map.ranges[0].start, memory.size - 1)


@pytest.mark.qemu
def test_what_qemu_saves_now_is_written_as_its_monitor_dumps_it(tmp_path: Path) -> None:
    """From the guest's memory to a file by the commands alone; m68k has memory from 0 on."""
    (tmp_path / "banner").write_bytes(BANNER + b"\n\0")
    with QemuVM(require_qemu("m68k"), cwd=tmp_path) as vm:
        vm.start(
            ("-S", "-machine", "virt", "-m", "32",
             "-device", "loader,file=banner,addr=0x1234560,force-raw=on")
        )  # fmt: skip
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
        truth = vm.pmemsave(0, 32 * MIB)
    done = run_vol("-f", tmp_path / "image", "layerwriter", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "primary.raw").read_bytes() == truth
    done = run_vol("-f", tmp_path / "image", "-r", "csv", "banners", folder=tmp_path)
    assert f"0x1234560,{BANNER.decode()}" in done.stdout, done.stderr


@pytest.mark.qemu
def test_memory_on_both_sides_of_the_pci_hole_is_qemus(guest: Opener, tmp_path: Path) -> None:
    (tmp_path / "banner").write_bytes(BANNER)
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(
            ("-S", "-machine", "pc,max-ram-below-4g=32M", "-m", "64",
             "-device", "loader,file=banner,addr=0x100002000,force-raw=on")
        )  # fmt: skip
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
        ranges = ((0, 32 * MIB), (4 * GIB, 4 * GIB + 32 * MIB))
        truth = [vm.pmemsave(start, stop) for start, stop in ranges]
    with guest(tmp_path / "image") as layer:
        assert [layer.read(start, stop - start) for start, stop in ranges] == truth
        assert BANNER in truth[1]
        assert not layer.is_valid(32 * MIB - 4, 8)
        assert not layer.is_valid(2 * GIB)
        assert layer.is_valid(4 * GIB + 32 * MIB - 8, 8)


# -- the command as a user runs it -----------------------------------------------------------------


@pytest.mark.slow
def test_the_framework_knows_layer_and_stacker(tmp_path: Path) -> None:
    done = run_vol("frameworkinfo.FrameworkInfo", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FixedRamLayer" in done.stdout
    assert "FixedRamStacker" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "container", [{}, {"container": {"kind": "libvirt"}}, {"offset": 5 * MIB + 3}]
)
def test_banners_are_found_wherever_the_stream_begins(
    container: dict[str, Any], tmp_path: Path
) -> None:
    blocks = [{"name": "pc.ram", "size": 8 * MIB, "pattern": "random"}]
    image = synthesise(tmp_path / "an image#1", blocks=blocks, **container)
    poke(image, 0x345678, BANNER + b"\0")
    done = run_vol("-f", image, "-r", "csv", "banners", folder=tmp_path)
    assert f"0x345678,{BANNER.decode()}" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_compressed_image_is_read_as_it_is(tmp_path: Path) -> None:
    packed = SAMPLES / "pc-once.img.xz"
    done = run_vol("-f", packed, "layerwriter", "--list", folder=tmp_path)
    assert "FixedRamLayer" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_image_that_only_volatility_can_open_is_read_through_it(
    vol: Any, unpacked_dir: Path, tmp_path: Path
) -> None:
    plain = sample("pc-once", unpacked_dir)
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(plain, "guest.img")
    context = vol.contexts.Context()
    context.config["file.location"] = f"jar:file:{tmp_path}/images.zip!guest.img"
    context.add_layer(vol.physical.FileLayer(context, "file", "base"))
    layer = vol.layer.FixedRamStacker.stack(context, "base")
    with Image.open(plain) as image:
        assert layer.read(0, 2 * MIB) == image.physical_memory.read(0, 2 * MIB)
    # volatility3 leaves the archive open; here, not in the middle of some other test.
    del layer, context
    gc.collect()


def test_reads_may_be_longer_than_the_library_reads_at_once(
    vol: Any, guest: Opener, unpacked_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guest(sample("pc-live", unpacked_dir)) as layer:
        whole = layer.read(0, 4 * MIB)
        monkeypatch.setattr("fixedram_fmt.forensics.guest.READ_CEILING", 3 * PAGE)
        assert layer.read(0, 4 * MIB, pad=True) == whole


def test_a_raw_dump_is_left_to_others(guest: Opener, tmp_path: Path) -> None:
    """Also one that holds the head of a stream, and a stream that was cut off."""
    for number, data in enumerate((b"", b"QEVM"[:3], bytes(MIB), b"\xffQEVM\0\0\0\3" * 9)):
        path = tmp_path / f"raw{number}"
        path.write_bytes(data)
        if data:
            with guest(path) as layer:
                assert layer is None
    path.write_bytes(bytes(MIB) + made()[:-100])
    with guest(path) as layer:
        assert layer is None


# -- addresses -------------------------------------------------------------------------------------


def test_holes_are_invalid_and_read_as_zeros_when_padded(
    vol: Any, guest: Opener, unpacked_dir: Path
) -> None:
    invalid = vol.exceptions.InvalidAddressException
    with guest(sample("q35-dimm", unpacked_dir)) as layer:
        with Image.open(sample("q35-dimm", unpacked_dir)) as image:
            ranges = image.memory_map.ranges
        end = next(a.stop for a, b in zip(ranges, ranges[1:], strict=False) if a.stop < b.start)
        assert layer.is_valid(end - 8, 8)
        assert not layer.is_valid(end - 8, 9)
        assert not layer.is_valid(-1)
        assert not layer.is_valid(layer.maximum_address, 2)
        with pytest.raises(invalid) as caught:
            layer.read(end - 8, 16)
        assert caught.value.invalid_address == end
        assert layer.read(end - 8, 16, pad=True) == layer.read(end - 8, 8) + bytes(8)
        assert layer.read(1 << 60, 8, pad=True) == bytes(8)
        assert layer.read(-4, 8, pad=True) == bytes(4) + layer.read(0, 4)
        with pytest.raises(invalid):
            list(layer.mapping(end - 8, 16))
        assert sum(size for _, size, *_ in layer.mapping(end - 8, 16, ignore_errors=True)) == 8


@pytest.mark.parametrize("name", ["pc-live", "libvirt-fx-sparse", "legacy-stream"])
def test_mappings_lead_to_the_same_bytes_of_the_file(
    name: str, guest: Opener, unpacked_dir: Path
) -> None:
    with guest(sample(name, unpacked_dir)) as layer:
        base = layer.context.layers["base"]
        at = mapped_bytes = 0
        for start, size, offset, mapped, below in layer.mapping(0, 16 * MIB):
            assert start == at
            assert below == "base"
            assert mapped in (0, size)
            expected = base.read(offset, mapped) if mapped else bytes(size)
            assert layer.read(start, size) == expected
            at, mapped_bytes = start + size, mapped_bytes + mapped
        assert at == 16 * MIB
        assert mapped_bytes
        assert next(iter(layer.mapping(0x100000, 0)))[:2] == (0x100000, 0)


def test_random_reads_are_slices_of_memory(guest: Opener, unpacked_dir: Path) -> None:
    chance = random.Random(7)
    with guest(sample("pc-live", unpacked_dir)) as layer:
        whole = b"".join(layer.read(start, PAGE) for start in range(0, 4 * MIB, PAGE))
        for _ in range(2000):
            start = chance.randrange(4 * MIB)
            length = chance.choice((0, 1, 8, PAGE, 10 * PAGE, MIB))
            expected = whole[start : start + length]
            assert layer.read(start, len(expected)) == expected


def test_layers_can_be_copied_and_sent_to_other_processes(
    guest: Opener, unpacked_dir: Path
) -> None:
    with guest(sample("pc-offset", unpacked_dir)) as layer:
        data = layer.read(0x100000, 3 * PAGE)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert other.read(0x100000, 3 * PAGE) == data
        layer.destroy()


# -- scanning --------------------------------------------------------------------------------------

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


# -- broken images ---------------------------------------------------------------------------------


def exercise(vol: Any, layer: Any) -> None:
    """Use a layer as plugins do; what is raised has to be volatility3's own."""
    for pad in (True, False):
        for start in (0, layer.minimum_address, max(0, layer.maximum_address - PAGE)):
            try:
                assert len(layer.read(start, 2 * PAGE, pad=pad)) == 2 * PAGE
            except vol.exceptions.InvalidAddressException:
                assert not pad
            assert layer.is_valid(start, 2 * PAGE) in (True, False)
    for start, size, *_ in layer.mapping(0, min(layer.maximum_address, GIB), ignore_errors=True):
        assert layer.is_valid(start, size)
        assert len(layer.read(start, min(size, PAGE))) == min(size, PAGE)


@pytest.mark.slow
def test_mutants_end_in_volatilitys_own_errors(vol: Any, guest: Opener, tmp_path: Path) -> None:
    path, seen = tmp_path / "image", set()
    for mutant in mutants()[::12]:
        path.write_bytes(mutant.image())
        with guest(path) as layer:
            seen.add(layer is not None)
            if layer is not None:
                exercise(vol, layer)
    assert seen == {True, False}


@pytest.mark.slow
def test_cut_off_images_give_the_memory_they_have(vol: Any, guest: Opener, tmp_path: Path) -> None:
    whole = made(blocks=[{"name": "pc.ram", "size": 64 * PAGE, "pattern": "random"}], align=PAGE,
                 machine="pc-i440fx-10.0")  # fmt: skip
    path = tmp_path / "image"
    path.write_bytes(whole)
    with guest(path) as layer, Image.open(path) as image:
        pages, memory = image.blocks[0].pages_offset, layer.read(0, 64 * PAGE)
    for length in [*range(1, pages + 1, 37), *range(pages, len(whole), 5 * PAGE + 1)]:
        path.write_bytes(whole[:length])
        with guest(path) as layer:
            if layer is None:
                assert length <= pages
                continue
            exercise(vol, layer)
            there = min(64 * PAGE, max(0, length - pages))
            padded = memory[:there] + bytes(64 * PAGE - there)
            assert layer.read(0, 64 * PAGE, pad=True) == padded
            assert layer.is_valid(0, 64 * PAGE) == (there == 64 * PAGE)
            if there:
                assert layer.is_valid(0, there)


@pytest.mark.slow
def test_a_hostile_name_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    blocks = [
        {"name": "pc.ram", "size": 16 * PAGE, "pattern": "random"},
        {"name": "pc.rom\x1b]0;owned\x07\x1b[31m", "size": 16 * PAGE, "pattern": "random"},
    ]
    image = tmp_path / "image"
    image.write_bytes(made(blocks=blocks, align=PAGE, machine="pc-i440fx-10.0")[: 30 * PAGE])
    done = run_vol("-f", image, "layerwriter", "--list", folder=tmp_path)
    assert "FixedRamLayer" in done.stdout
    assert "not whole" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.slow
def test_a_broken_image_is_told_of_and_left_to_volatility(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(made(machine="no-such-machine"))
    done = run_vol("-f", image, "layerwriter", "--list", folder=tmp_path)
    assert "cannot be read: no memory map: no rules for the machine" in done.stderr
    assert "Traceback" not in done.stderr


# -- volatility-path -------------------------------------------------------------------------------


def test_the_folder_is_printed_alone_on_its_line() -> None:
    app = typer.Typer()
    app.command()(flattened(volatility_path))
    done = CliRunner().invoke(app)
    assert done.exit_code == 0
    assert done.stdout == f"{plugin_folder()}\n"
    assert (Path(done.stdout.strip()) / "fixedram_layer.py").is_file()
    assert plugin_folder().is_absolute()
    done = CliRunner().invoke(app, ["--json"])
    assert f'"path": "{plugin_folder()}"' in done.stdout
