"""What the promises on speed are worth here: each figure beside a yardstick of the same run.

Absolute times mean nothing on shared machines, ratios do.  A figure is the median of several runs,
taken in turn with its yardstick.  Exit code 1 when a promise is broken.
"""

from __future__ import annotations

import lzma
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from fixedram_fmt import Image
from fixedram_fmt.bitmap import PageBitmap
from fixedram_fmt.multifd.loader import load
from fixedram_fmt.multifd.targets import Memory
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.stream import SectionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
FIXEDRAM = [sys.executable, "-m", "fixedram_cli"]
RUNS = 7
PAGE = 4096
MIB = 1 << 20


@dataclass(frozen=True)
class Figure:
    """Something timed against a yardstick; promise is the ratio that must not be exceeded."""

    name: str
    yardstick: str
    seconds: float
    yardstick_seconds: float
    promise: float | None

    @property
    def ratio(self) -> float:
        """How many times the yardstick it takes."""
        return self.seconds / self.yardstick_seconds

    @property
    def kept(self) -> bool:
        """Whether the promise holds in this run."""
        return self.promise is None or self.ratio <= self.promise


def timed(act: Callable[[], object]) -> float:
    """Seconds that act takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def compare(
    name: str,
    act: Callable[[], object],
    yardstick: str,
    other: Callable[[], object],
    promise: float | None = None,
    fresh: Path | None = None,
) -> Figure:
    """The median of act over that of other; fresh is a file to take away before each run."""

    def cleared(act: Callable[[], object]) -> float:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        return timed(act)

    act(), other()  # page cache and bytecode are warm for both
    pairs = [(cleared(act), cleared(other)) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(name, yardstick, ours, theirs, promise)


def command(*words: str | Path) -> Callable[[], object]:
    def run() -> None:
        subprocess.run(
            [str(word) for word in words], check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    return run


_TAIL = b"".join([
    ram.RAM_RECORD.build(ram.RamRecord(int(ram.RamSaveFlag.EOS))),
    stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 2)),
    stream.EOF.build(stream.Eof(SectionType.EOF)),
])  # fmt: skip


def write_stream(path: Path, pages: int) -> None:
    """An ordinary stream of pages PAGE records in a row."""
    head = b"".join([
        stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3)),
        stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc-q35-10.0")),
        stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 2, b"ram", 0, 4)),
        ram.RAM_RECORD.build(ram.RamRecord(pages * PAGE | ram.RamSaveFlag.MEM_SIZE)),
        ram.BLOCK_ENTRY.build(ram.BlockEntry(b"pc.ram", pages * PAGE)),
    ])  # fmt: skip
    content = os.urandom(PAGE)
    with path.open("wb") as file:
        file.write(head)
        for page in range(pages):
            flags = ram.RamSaveFlag.PAGE | (ram.RamSaveFlag.CONTINUE if page else 0)
            file.write(ram.RAM_RECORD.build(ram.RamRecord(page * PAGE | flags)))
            if not page:
                file.write(ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram")))
            file.write(content)
        file.write(_TAIL)


def naive_runs(bits: bytes, pages: int) -> Iterator[tuple[int, int, int]]:
    """The runs by looking at one bit after the other."""
    start, before = 0, bits[0] & 1
    for page in range(pages):
        bit = bits[page // 8] >> page % 8 & 1
        if bit != before:
            yield start, page, before
            start, before = page, bit
    yield start, pages, before


def start_up(folder: Path) -> list[Figure]:
    small = folder / "small.img"
    small.write_bytes(lzma.decompress((ROOT / "samples" / "pc-once.img.xz").read_bytes()))
    bare = command(sys.executable, "-c", "pass")
    what = "python -c pass"
    return [
        compare("fixedram --version", command(*FIXEDRAM, "--version"), what, bare, 10),
        compare("info SMALL", command(*FIXEDRAM, "info", small), what, bare, 25),
        compare("info SMALL --json", command(*FIXEDRAM, "info", small, "--json"), what, bare, 25),
        compare("dump SMALL --json", command(*FIXEDRAM, "dump", small, "--json"), what, bare),
        compare("validate SMALL", command(*FIXEDRAM, "validate", small), what, bare),
    ]


def sizes(folder: Path) -> list[Figure]:
    huge, stale, old = folder / "huge.img", folder / "stale.img", folder / "old.img"
    dense = folder / "dense.img"
    synth = [*FIXEDRAM, "synth", "-o"]
    command(*synth, huge, "--block", "pc.ram=1T:random:0.00001")()
    # No page present, every page full of old bytes: --deep has to look at all of them.
    command(*synth, stale, "--block", "pc.ram=2G", "--fault", "bitmaps-empty")()
    command(*synth, dense, "--block", "pc.ram=2G")()
    write_stream(old, 1 << 17)
    bare = command(sys.executable, "-c", "pass")
    cat = {path: command("sh", "-c", f"cat {path} > /dev/null") for path in (stale, old, dense)}
    return [
        compare("info, 1 TiB guest", command(*FIXEDRAM, "info", huge), "python -c pass", bare),
        compare("info, 2 GiB of pages", command(*FIXEDRAM, "info", stale), "python -c pass", bare),
        compare(
            "dump --deep, 2 GiB of stale pages", command(*FIXEDRAM, "dump", stale, "--deep"),
            "cat", cat[stale], 3,
        ),
        compare(
            "validate, 1 TiB guest", command(*FIXEDRAM, "validate", huge), "python -c pass", bare
        ),
        compare(
            "validate --deep, dense 2 GiB", command(*FIXEDRAM, "validate", dense, "--deep"),
            "cat", cat[dense], 3,
        ),
        compare("info, ordinary stream 512 MiB", command(*FIXEDRAM, "info", old), "cat", cat[old]),
    ]  # fmt: skip


def writing(folder: Path) -> list[Figure]:
    """synth and copy against dd and cp of as many bytes, on the same file system."""
    dense, out, content = folder / "dense.img", folder / "out.img", folder / "content"
    synth = [*FIXEDRAM, "synth", "-o"]
    command(*synth, dense, "--block", "pc.ram=2G")()
    command("dd", f"if={dense}", f"of={content}", "bs=1M", "skip=1", "count=2048")()
    sparse = folder / "sparse.img"
    command(*synth, sparse, "--block", "pc.ram=64G:random:0.001", "--rounds", "3")()
    bare = command(sys.executable, "-c", "pass")
    cp = {path: command("cp", "--sparse=auto", path, out) for path in (dense, sparse)}
    copy = [*FIXEDRAM, "copy", "-o", out]
    tebibyte = command(*synth, out, "--block", "pc.ram=1T:random:0.00001")
    dd = command("dd", f"if={content}", f"of={out}", "bs=1M")
    return [
        compare("synth, dense 2 GiB", command(*synth, out, "--block", "pc.ram=2G"), "dd bs=1M", dd,
                1.5, out),
        compare("synth, 1 TiB, 0.001 % present", tebibyte, "python -c pass", bare, None, out),
        compare("copy, dense 2 GiB", command(*copy, dense), "cp", cp[dense], 1.3, out),
        compare("copy, sparse 64 GiB", command(*copy, sparse), "cp", cp[sparse], None, out),
        compare("copy --drop-stale, sparse", command(*copy, sparse, "--drop-stale"), "cp",
                cp[sparse], None, out),
    ]  # fmt: skip


def bitmaps() -> list[Figure]:
    pages = 1 << 20
    result = []
    for name, bits, promise in (
        ("random bits", os.urandom(pages // 8), None),
        ("few runs", (b"\xff" * 4096 + bytes(4096)) * (pages // 65536), 0.05),
    ):
        bitmap = PageBitmap.from_bytes(bits, pages)
        if list(bitmap.runs()) != list(naive_runs(bits, pages)):
            sys.exit("the runs are wrong, so their speed does not matter")
        naive = partial(lambda b: deque(naive_runs(b, pages), maxlen=0), bits)
        runs = partial(lambda b: deque(b.runs(), maxlen=0), bitmap)
        result += [
            compare(f"runs of 1 Mi pages, {name}", runs, "naive loop", naive, promise),
            compare(f"count of 1 Mi pages, {name}", bitmap.count, "naive loop", naive, 0.02),
        ]
    return result


# -- load ------------------------------------------------------------------------------------------


def told(
    name: str,
    act: Callable[[], float],
    yardstick: str,
    other: Callable[[], float],
    promise: float | None = None,
) -> Figure:
    """As compare, for acts that take their own time: both return seconds."""
    act(), other()
    pairs = [(act(), other()) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(name, yardstick, ours, theirs, promise)


def loaded(path: Path, channels: int) -> float:
    """Seconds that load() takes, the guest's memory being there as it is in QEMU."""
    with Image.open(path) as image, Memory(image) as memory:
        return load(image, memory, channels=channels).seconds


def loaded_by_qemu(binary: str, path: Path, gibibytes: int) -> float:
    """Seconds from QEMU's migrate-incoming to the event that says it is complete."""
    from qemu_vm import QemuVM

    with QemuVM(binary, timeout=120) as vm:
        vm.start(("-S", "-accel", "tcg", "-machine", "pc", "-m", f"{gibibytes}G",
                  "-incoming", "defer"))  # fmt: skip
        vm.set_capabilities("mapped-ram", "multifd")
        vm.set_parameters({"multifd-channels": 2})
        start = time.perf_counter()
        if vm.incoming_from_file(path) != "completed":
            sys.exit("QEMU does not load the image, so its speed does not matter")
        return time.perf_counter() - start


def copied(path: Path, target: Path) -> float:
    """Seconds that cp takes to a file that is not there yet."""
    target.unlink(missing_ok=True)
    return timed(command("cp", path, target))


def in_memory(gibibytes: int) -> Path | None:
    """A folder in memory with that much room, if there is one."""
    shm = Path("/dev/shm")
    roomy = shm.is_mount() and shutil.disk_usage(shm).free > (gibibytes + 1) << 30
    return shm if roomy else None


def drivable_qemu() -> str | None:
    """Path of a QEMU that can be asked to load, if there is one."""
    sys.path.insert(0, str(ROOT / "samples"))
    from qemu_vm import find_qemu

    try:
        import qemu.qmp  # noqa: F401
    except ImportError:
        return None
    return find_qemu("x86_64")


def available(what: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(what))


def loading(folder: Path) -> list[Figure]:
    """load of a dense image that is in the page cache, against cp into memory and a real QEMU."""
    # In memory at once: the image in the page cache, a copy of it, the guest; and some room.
    gibibytes = max(1, min(4, available("MemAvailable") // 5 >> 30))
    image = folder / "load.img"
    command(*FIXEDRAM, "synth", "-o", image, "--machine", "pc", "--multifd",
            "--block", f"pc.ram={gibibytes}G")()  # fmt: skip
    two, one = partial(loaded, image, 2), partial(loaded, image, 1)
    yardsticks: list[tuple[str, Callable[[], float]]] = []
    with tempfile.TemporaryDirectory(prefix="fixedram-bench-", dir=in_memory(gibibytes)) as name:
        if in_memory(gibibytes):
            yardsticks.append(("cp to /dev/shm", partial(copied, image, Path(name) / "x")))
        if binary := drivable_qemu():
            qemu = partial(loaded_by_qemu, binary, image, gibibytes)
            yardsticks.append(("QEMU, 2 channels", qemu))
        what = f"dense {gibibytes} GiB, 2 channels"
        whole = partial(timed, command(*FIXEDRAM, "load", image))
        figures = [told(f"load(), {what}", two, "1 channel", one, 0.95)]
        for yardstick, other in yardsticks:
            figures += [
                told(f"load(), {what}", two, yardstick, other, 1.0),
                # With the interpreter's start and what validate costs.
                told(f"load, {what}", whole, yardstick, other),
            ]
    image.unlink()
    return figures


def main() -> int:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="fixedram-bench-") as name:
        folder = Path(name)
        figures = [*start_up(folder), *bitmaps(), *sizes(folder), *writing(folder),
                   *loading(folder)]  # fmt: skip
    table = Table("what", "ratio", "promise", "yardstick", box=None, header_style="bold")
    for figure in figures:
        promise = "" if figure.promise is None else f"<= {figure.promise:g}"
        style = "" if figure.kept else "red"
        table.add_row(figure.name, f"{figure.ratio:.3g}", promise, figure.yardstick, style=style)
    Console().print(table)
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
