"""A Linux guest of libvirt that checks its own memory, saved and restored by virsh.

The guest fills memory with a pattern and says all the time, on a serial line that goes to a file,
whether it is as it was filled (support/linux_guest.py).  It is saved while it stands still, so that
all its saves have the same memory; what QEMU dumps of it after a restore has to be that to the bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.loaders import Outcome
from qemu_vm import require_qemu
from support.linux_guest import RIGHT, WRONG, checking_initrd, kernel_of_linux
from support.virsh import driver, end_guests, outcome_of, virsh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FORMATS", "LinuxGuest", "Restored", "linux_guest"]

#: Formats of save_image_format that libvirt 9.0 knows.
FORMATS = ("raw", "gzip", "bzip2", "xz", "lzop")
#: What the kernel says first.
BOOTS = b"Linux version"
_MEMORY = 96 << 20
_DOMAIN = """\
<domain type='qemu'>
  <name>fx</name>
  <uuid>3f0c2b1e-7f52-4a58-9f3e-5a0b7c1d2e11</uuid>
  <memory unit='bytes'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-9.2'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{root}/initrd</initrd>
    <cmdline>console=ttyS0 panic=-1 nokaslr</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>{qemu}</emulator>
    <serial type='file'><source path='{root}/serial' append='on'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""
#: Seconds; xz takes ten on a machine that is free.
_TIME_LIMIT = 180


@dataclass(frozen=True)
class Restored:
    """What virsh restore did: its outcome, what it said, the SHA-256 of memory, None without it."""

    outcome: Outcome
    text: str
    memory: str | None


@dataclass(frozen=True)
class LinuxGuest:
    """The guest's driver, its first save (raw), and the SHA-256 of its memory then."""

    root: Path
    raw: Path
    memory: str

    def virsh(self, commands: str, **options: int) -> str:
        """What virsh says; guests stay."""
        return virsh(self.root, commands, _TIME_LIMIT, **options)[1]

    def saved_as(self, form: str) -> Path:
        """The same guest, saved by virsh in another format."""
        path = self.root / f"{form}.save"
        if form == "raw":
            return self.raw
        if not path.exists():
            text = self.save(path, form)
            assert "saved to" in text, text
        return path

    def save(self, path: Path, form: str) -> str:
        """What virsh says when it saves the guest in a format."""
        with self.saves_as(form):
            text = virsh(self.root, self.saving(path))[1]
        end_guests(self.root)
        return text

    def saving(self, path: Path) -> str:
        """The commands that restore the guest and save it again."""
        return f"restore --paused {self.raw}; save fx {path}"

    @contextmanager
    def saves_as(self, form: str) -> Iterator[None]:
        """Within it the driver saves in a format."""
        conf = self.root / "etc" / "qemu.conf"
        before = conf.read_text()
        conf.write_text(f'{before}save_image_format = "{form}"\n')
        try:
            yield
        finally:
            conf.write_text(before)

    def restore(self, path: Path, name: str = "fx") -> Restored:
        """What virsh restore does with a save; a guest that is restored has to go on, and is right.

        Memory is dumped before it goes on.
        """
        dump = self.root / "memory"
        dump.unlink(missing_ok=True)
        said = self.said(RIGHT)
        code, text = virsh(
            self.root,
            f"restore --paused {path}; qemu-monitor-command {name} '{_pmemsave(dump)}';"
            f" resume {name}",
            _TIME_LIMIT,
        )
        outcome = outcome_of(code, text)
        if outcome is Outcome.LOADS:
            self.wait_right(said)
        end_guests(self.root)
        return Restored(outcome, text, _sha256(dump) if dump.exists() else None)

    def said(self, what: bytes) -> int:
        """How often the guest has said so."""
        return (self.root / "serial").read_bytes().count(what)

    def wait_right(self, said: int) -> None:
        """Waits until the guest has twice more said that its memory is right."""
        deadline = time.monotonic() + _TIME_LIMIT
        while self.said(RIGHT) < said + 2:
            assert time.monotonic() < deadline, "the guest does not go on"
            assert not self.said(WRONG)
            time.sleep(0.02)


@contextmanager
def linux_guest() -> Iterator[LinuxGuest]:
    """The guest, booted and saved."""
    kernel = kernel_of_linux()
    with driver() as root:
        (root / "initrd").write_bytes(checking_initrd())
        (root / "serial").touch()
        xml = _DOMAIN.format(memory=_MEMORY, kernel=kernel, root=root, qemu=require_qemu("x86_64"))
        (root / "fx.xml").write_text(xml)
        text = virsh(root, f"version; create {root}/fx.xml")[1]
        if "QEMU 9.0" not in text:
            pytest.skip("this is another libvirt than 9.0")
        raw, dump = root / "raw.save", root / "memory"
        guest = LinuxGuest(root, raw, "")
        guest.wait_right(0)
        text = guest.virsh(
            f"suspend fx; qemu-monitor-command fx '{_pmemsave(dump)}'; save fx {raw}"
        )
        assert "saved to" in text, text
        yield LinuxGuest(root, raw, _sha256(dump))


def _pmemsave(path: Path) -> str:
    arguments = {"val": 0, "size": _MEMORY, "filename": str(path)}
    return json.dumps({"execute": "pmemsave", "arguments": arguments})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
