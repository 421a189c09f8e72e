"""Failures that a real virsh is brought to, and what it prints: the cases of provoked.toml.

What is printed is virsh's, after what its own driver says of its start; the domain's log is QEMU's
part of it, where QEMU was started at all.
"""

from __future__ import annotations

import gzip
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.provoked import TABLE, Expected
from support.provoked_edits import Edit, edited
from support.saves import built
from support.saves import edited as with_xml
from support.virsh import end_guests, virsh

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.virsh import Virsh

__all__ = ["DOMAIN", "LibvirtCase", "Printed", "libvirt_cases", "provoke_libvirt"]

#: The domain that is saved.
DOMAIN = """\
<domain type='qemu'>
  <name>fx</name>
  <uuid>6a1f3c5e-0b1d-4c52-9d0f-2f1b8f1c7a11</uuid>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-9.2'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>{qemu}</emulator>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""
#: More than the room that libvirt leaves behind the XML.
_LONG = f"<description>{'x' * 100_000}</description>"


@dataclass(frozen=True, kw_only=True)
class LibvirtCase(Expected):
    """One failure of virsh."""

    header: dict[str, Any] = field(default_factory=dict)
    xml: Sequence[Sequence[str]] = ()
    edits: Sequence[Edit] = ()
    packed_to: int = 0
    contents: str | None = None
    bare: bool = False
    other_xml: Sequence[Sequence[str]] = ()
    long_xml: bool = False
    commands: str = "restore {save}"


@dataclass(frozen=True)
class Printed:
    """What virsh printed, what the domain's log got, and the save."""

    text: str
    log: str
    save: Path


def libvirt_cases() -> dict[str, LibvirtCase]:
    """All of provoked.toml that virsh is asked."""
    table = tomllib.loads(TABLE.read_text("utf-8"))
    return {name: LibvirtCase(name=name, **one) for name, one in table["libvirt"].items()}


def provoke_libvirt(case: LibvirtCase, libvirt: Virsh) -> Printed:
    """Brings virsh to the failure."""
    root, save = libvirt.root, libvirt.root / "asked.save"
    save.write_bytes(_save(case, libvirt.save))
    other = root / "other.xml"
    xml = libvirt.save[92:].partition(b"\0")[0]
    text = xml.decode()
    for old, new in case.other_xml:
        assert old in text, old
        text = text.replace(old, new, 1)
    if case.long_xml:
        text = text.replace("<memory", f"{_LONG}<memory", 1)
    other.write_text(text)
    log = root / "log" / "qemu" / "fx.log"
    log.unlink(missing_ok=True)
    _, said = virsh(
        root, case.commands.format(save=save, other=other, root=root, fx=root / "fx.xml")
    )
    end_guests(root)
    virsh(root, "undefine --managed-save fx")
    return Printed(said, log.read_text(errors="backslashreplace") if log.exists() else "", save)


def _save(case: LibvirtCase, save: bytes) -> bytes:
    if case.contents is not None:
        return bytes.fromhex(case.contents)
    header = {key: one.encode() if isinstance(one, str) else one
              for key, one in case.header.items()}  # fmt: skip
    stream = int.from_bytes(save[20:24], "little") + 92
    data = save[:stream] + edited(save[stream:], case.edits)
    if case.xml:
        data = with_xml(data, case.xml)

    def packed(inside: bytes) -> bytes:
        return gzip.compress(inside)[: case.packed_to]

    if case.bare:
        return data[stream:]
    return built(data, stream=packed if case.packed_to else bytes, **header)
