"""Makes the files of data/: python -m fixedram_fmt.knowledge.make [PROGRAM...]

Asks the programs (qemu-system-ARCH as found on PATH, where none is named) for their machines and
their devices.  --from FOLDER takes what they have answered elsewhere:

    qemu-system-ARCH -machine help > FOLDER/machines-VERSION-ARCH.txt
    qemu-system-ARCH -machine MACHINE -dump-vmstate FOLDER/vmstate-VERSION-ARCH-MACHINE.json

where .json may be .json.xz.  The same answers make the same files.
"""

from __future__ import annotations

import argparse
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt.knowledge.dumps import read_dump
from fixedram_fmt.knowledge.machinelist import read_machines
from fixedram_fmt.knowledge.packed import (
    DATA,
    devices_path,
    machines_path,
    packed_devices,
    packed_machines,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fixedram_fmt.knowledge.machinelist import Machine
    from fixedram_fmt.knowledge.vmstates import KnownVmstate

#: Whose machines are asked for, and with which of them their devices: one of each family.
_ASKED: dict[str, tuple[str, ...]] = {
    "aarch64": ("virt",),
    "arm": ("virt",),
    "i386": (),  # x86_64 has the same
    "loongarch64": ("virt",),
    "m68k": ("virt",),
    "ppc": ("g3beige",),
    "ppc64": ("pseries",),
    "riscv32": (),
    "riscv64": ("virt",),
    "s390x": ("s390-ccw-virtio",),
    "x86_64": ("pc", "q35", "isapc", "microvm"),
}
#: Seconds that a program may take for an answer; it takes 0.1.
_PATIENCE = 60
_PROGRAM = "qemu-system-"
_VERSION = re.compile(r"QEMU emulator version (\d+\.\d+)")


class _Answers:
    """What the programs of one version say."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Machine]] = {}
        self.dumps: list[tuple[str, str, tuple[KnownVmstate, ...]]] = []

    def add_machines(self, arch: str, text: str) -> None:
        self.machines[arch] = read_machines(text)

    def add_dump(self, arch: str, text: bytes) -> None:
        dump = read_dump(text)
        vmstates = tuple(one for same in dump.vmstates.values() for one in same)
        self.dumps.append((arch, dump.machine, vmstates))


def _from_folder(folder: Path, version: str) -> _Answers:
    answers = _Answers()
    for path in sorted(folder.glob(f"machines-{version}-*.txt")):
        answers.add_machines(path.stem.split("-", 2)[2], path.read_text())
    for path in sorted(folder.glob(f"vmstate-{version}-*-*.json*")):
        data = path.read_bytes()
        text = lzma.decompress(data) if path.suffix == ".xz" else data
        answers.add_dump(path.name.split("-", 3)[2], text)
    if not answers.machines or not answers.dumps:
        sys.exit(f"{folder} has no answers of QEMU {version}")
    return answers


def _from_programs(programs: Sequence[str]) -> tuple[str, _Answers]:
    versions, answers = set(), _Answers()
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            arch = Path(program).name.removeprefix(_PROGRAM)
            match = _VERSION.match(_said(program, "--version", cwd=folder))
            if match is None:
                sys.exit(f"{program} does not say which version it is")
            versions.add(match[1])
            answers.add_machines(arch, _said(program, "-machine", "help", cwd=folder))
            for machine in _ASKED.get(arch, ()):
                _said(program, "-machine", machine, "-dump-vmstate", "dump", cwd=folder)
                answers.add_dump(arch, Path(folder, "dump").read_bytes())
    if len(versions) != 1 or not answers.dumps:
        sys.exit(f"versions {sorted(versions)} with {len(answers.dumps)} dumps, not those of one")
    return versions.pop(), answers


def _said(program: str, *arguments: str, cwd: str) -> str:
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
        cwd=cwd,
    )
    return done.stdout


def _on_path() -> list[str]:
    found = (shutil.which(f"{_PROGRAM}{arch}") for arch in _ASKED)
    return [program for program in found if program is not None]


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _files(version: str, answers: _Answers, folder: Path) -> Iterator[tuple[Path, bytes]]:
    yield machines_path(version, folder), packed_machines(answers.machines)
    yield devices_path(version, folder), packed_devices(answers.dumps)


def main(arguments: Iterable[str] | None = None) -> None:
    """Write the two files of a version, and say how large they are."""
    parser = argparse.ArgumentParser(
        prog="python -m fixedram_fmt.knowledge.make",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="qemu-system-ARCH")
    parser.add_argument("--from", dest="folder", type=Path, help="answers in files instead")
    parser.add_argument("--version", help="with --from: which of those there, as in 11.1")
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="folder (default: data/)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if (options.folder is None) != (options.version is None):
        parser.error("--from and --version go together")
    if options.folder is not None:
        version = options.version
        answers = _from_folder(options.folder, version)
    else:
        version, answers = _from_programs(options.programs or _on_path())
    for path, data in _files(version, answers, options.output):
        _write(path, data)
        print(f"{path}: {len(data)} bytes")


if __name__ == "__main__":
    main()
