"""The files that every program is given, and what is known of them."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sample_files import HERE, read_manifest, sample_path, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FILES", "Given", "Span", "prepare"]

#: What the guest of the libvirt saves wrote to [1 MiB, 2.5 MiB), as other saves of it have it too.
_PATTERN = "37fe5a87e6805522"


@dataclass(frozen=True, slots=True)
class Span:
    """Guest-physical [start, end) in bytes, and how the SHA-256 of its content begins."""

    start: int
    end: int
    sha256: str

    def is_in(self, content: Iterable[bytes]) -> bool:
        """Whether these pieces, which together are the span's bytes, are what it held."""
        digest = hashlib.sha256()
        for piece in content:
            digest.update(piece)
        return digest.hexdigest().startswith(self.sha256)


@dataclass(frozen=True, slots=True)
class Given:
    """One file: what it is, the sample it is made of, and where its RAM and a register are."""

    key: str
    what: str
    sample: str
    cut: int | None = None  # only this many bytes of it
    core: bool = False  # not the image but an ELF core that fixedram makes of it
    block: str = "pc.ram"  # guest-physical 0 is the block's byte 0
    register: str = "env.eip"
    machine: str | None = None  # made by the QEMU on this machine, with this machine type

    @property
    def offset(self) -> int:
        """Where the stream begins in the file, where somebody has to say it."""
        place = int(read_manifest()[self.sample]["stream_offset"])
        return 0 if self.sample.startswith("libvirt") else place

    @property
    def donor(self) -> Path:
        """A sound image of the same machine, whose description fits."""
        return sample_path(read_manifest()["pc-once"])


FILES = (
    Given("mapped", "mapped-ram", "pc-once"),
    Given("live", "mapped-ram of a running guest, multifd", "pc-live-multifd-flush"),
    Given("offset", "mapped-ram at an offset in the file", "pc-offset"),
    Given("sparse", "libvirt save, format sparse", "libvirt-fx-sparse"),
    Given("no-vmdesc", "mapped-ram without a description", "pc-no-vmdesc"),
    Given("cut", "mapped-ram, cut off among the devices", "pc-once", cut=0x1E02800),
    Given("s390x", "mapped-ram of an s390x guest", "s390x-virtio", None, False, "s390.ram",
          "env.psw.addr"),
    Given("stream", "ordinary stream (`file:`)", "legacy-stream"),
    Given("older", "ordinary stream, machine type 9.2 or older", "legacy-stream",
          machine="pc-i440fx-9.2"),
    Given("xbzrle", "ordinary stream with XBZRLE", "legacy-xbzrle"),
    Given("raw", "libvirt save, format raw", "libvirt-fx-raw"),
    Given("core", "ELF core made by `fixedram extract`", "pc-once", core=True),
)  # fmt: skip


def spans(given: Given) -> list[Span]:
    """What QEMU's monitor dumped of the guest's memory when the file was written."""
    known = read_manifest()[given.sample]["guest_physical_sha256"]
    found = [Span(one["start"], one["end"], one["sha256"]) for one in known]
    return found or [Span(1 << 20, 5 << 19, _PATTERN)]


def prepare(given: Given, folder: Path, fixedram: list[str]) -> Path:
    """Makes the file in folder; its path."""
    source = sample_path(read_manifest()[given.sample])
    path = folder / f"{given.key}.img"
    if given.machine:
        save(given.machine, path, folder)
    elif given.core:
        subprocess.run([*fixedram, "extract", source, "--format", "elf", "-o", path], check=True,
                       capture_output=True)  # fmt: skip
    elif given.cut is None:
        unpack(source, path)
    else:
        with lzma.open(source) as packed:
            path.write_bytes(packed.read(given.cut))
    return path


def save(machine: str, path: Path, folder: Path) -> None:
    """An ordinary stream of the samples' guest, whose memory the legacy-stream has too."""
    from qemu_vm import DEBUGCON_ARGS, QemuVM, find_qemu

    binary = find_qemu("x86_64")
    if binary is None:
        raise SystemExit(f"{path.stem}: there is no qemu-system-x86_64 (.ci/install-qemu)")
    program = folder / "x86-once.bin"
    unpack(HERE / "guest" / "x86-once.bin.xz", program)
    with QemuVM(binary) as vm:
        machine_is = ("-machine", machine, "-m", "24", "-bios", str(program), *DEBUGCON_ARGS)
        vm.start(("-S", "-accel", "tcg", "-rtc", "base=2020-01-01T00:00:00,clock=vm", *machine_is))
        vm.cont()
        vm.wait_output(b"pattern done\n")
        vm.stop()
        if vm.migrate_to_file(path) != "completed":
            raise SystemExit(f"{path.stem}: QEMU did not save")
