"""load against one channel, cp and a real QEMU."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt import Image
from fixedram_fmt.multifd.loader import load
from fixedram_fmt.multifd.targets import Memory
from measure import FIXEDRAM, ROOT, Figure, command, timed, told

if TYPE_CHECKING:
    from collections.abc import Callable


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
