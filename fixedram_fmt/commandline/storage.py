"""Disks on SCSI and IDE buses: SCSI disks have sections of their own, IDE drives a part of one.

Upstream: QEMU hw/scsi/scsi-bus.c scsibus_get_dev_path(); hw/ide/core.c vmstate_ide_drive,
ide_set_signature(), whose cylinder registers tell what a drive is until the guest uses it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["contribute"]

_SCSI = re.compile(
    r"(?:(?P<prefix>.+)/)?(?P<channel>[0-9]{1,5}):(?P<id>[0-9]{1,5}):(?P<lun>[0-9]{1,5})/scsi-disk"
)
#: Controllers whose first bus is one of SCSI.
_SCSI_CONTROLLERS = frozenset({
    "virtio-scsi-pci", "vhost-scsi-pci", "lsi53c895a", "lsi53c810", "megasas", "megasas-gen2",
    "mptsas1068", "pvscsi", "am53c974", "dc390", "virtio-scsi-device",
})  # fmt: skip
#: What only a drive with a tray has set.
_TRAY = ("media_changed", "media_event", "eject_request", "tray_open", "tray_locked")
_AHCI_PORTS = 6
#: lcyl and hcyl after a reset: a disk, a CD drive; 0xff each where there is no drive.
_SIGNATURES = {(0x00, 0x00): "ide-hd", (0x14, 0xEB): "ide-cd"}


def contribute(evidence: Evidence, draft: Draft) -> None:
    """A -device for each disk of SCSI, and for each IDE drive that is there."""
    for way, controller in draft.placed.items():
        if controller.driver in _SCSI_CONTROLLERS:
            draft.scsi_buses.setdefault(way, f"{controller.id}.0")
    _scsi(evidence, draft)
    for drive in _drives(evidence, draft):
        _ide(evidence, draft, drive)


def _scsi(evidence: Evidence, draft: Draft) -> None:
    for name, instance in evidence.sections:
        match = _SCSI.fullmatch(name)
        if match is None or (name, instance) in draft.claimed:
            continue
        prefix = match["prefix"] or ""
        bus = draft.scsi_buses.get(prefix)
        if prefix and bus is None:
            continue
        is_cd = any(evidence.get(name, field, instance) for field in _TRAY)
        if not is_cd:
            draft.doubt(f"whether {name} is a disk or a CD drive is not told: a disk")
        added = draft.device(
            "scsi-cd" if is_cd else "scsi-hd",
            {
                "bus": bus,
                "channel": int(match["channel"]),
                "scsi-id": int(match["id"]),
                "lun": int(match["lun"]),
                "drive": None if is_cd else draft.disk(None, name),
            },
        )
        if added:
            draft.claim(name, instance)


# -- IDE -------------------------------------------------------------------------------------------


class _Drive(NamedTuple):
    """Where a drive's state is, and the place that it has: bus and unit."""

    section: str
    instance: int
    path: str
    bus: str
    unit: int


def _drives(evidence: Evidence, draft: Draft) -> Iterator[_Drive]:
    """The places of all drives of the controllers, whether there is one or not."""
    for way, controller in draft.placed.items():
        # The buses of one that the board makes are called `ide.0`.
        if controller.driver == "ich9-ahci":
            for port in range(_AHCI_PORTS):
                path = f"ahci/dev[{port}]/port.ifs[0]"
                yield _Drive(f"{way}/ich9_ahci", 0, path, f"{controller.id}.{port}", 0)
        elif controller.driver in ("piix3-ide", "piix4-ide"):
            for number in range(4):
                bus, unit = divmod(number, 2)
                path = f"bus[{bus}].ifs[{unit}]"
                yield _Drive(f"{way}/ide", 0, path, f"{controller.id}.{bus}", unit)
    for instance in evidence.instances("isa-ide")[:2]:
        for unit in range(2):
            yield _Drive("isa-ide", instance, f"bus.ifs[{unit}]", f"ide.{instance}", unit)


def _ide(evidence: Evidence, draft: Draft, drive: _Drive) -> None:
    def number(field: str) -> int | None:
        return evidence.number(drive.section, f"{drive.path}/{field}", drive.instance)

    low, high = number("lcyl"), number("hcyl")
    driver = _SIGNATURES.get((low, high)) if low is not None and high is not None else None
    place = f"{drive.section} (bus {drive.bus}, unit {drive.unit})"
    if driver is None:
        if not number("identify_set"):
            return
        driver = "ide-hd"
        draft.doubt(f"whether the drive of {place} is a disk or a CD drive is not told: a disk")
    node = draft.disk(None, place) if driver == "ide-hd" else None
    draft.device(driver, {"bus": drive.bus, "unit": drive.unit, "drive": node})
