"""Area C, of what is no save by libvirt: disk images, and saves of Xen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.qcow2state import QcowState
from fixedram_fmt.container.xen import XenSave
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema.qcow2 import IncompatibleFeature
from fixedram_fmt.validation.effects import Effect, Phase, refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_stop, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validation.survey import Survey


@at_stop(
    "C23",
    Severity.ERROR,
    "QEMU docs/interop/qcow2.rst; block/qcow2.c qcow2_do_open(), qcow2-snapshot.c",
    "qcow2-header",
    "qcow2-snapshots",
    "qcow2-l1",
    effect=Effect(Outcome.REFUSES, text="the disk is not opened"),
    phase=Phase.LIBVIRT_HEADER,
)
def qcow2_tables_cannot_be(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A qcow2 image has a table that cannot be.

    The state of a VM in a snapshot is found by the header, the snapshot table and the snapshot's
    own L1 and L2 tables. QEMU does not open an image in which one of them is too long, misplaced or
    outside the file, nor one with clusters of a size it does not know.

    Fix: work on a copy, and let qemu-img check -r all repair it; states of VMs may be lost by that.
    """
    yield Observation.of(error)


@over_image(
    "C24",
    Severity.ERROR,
    "Xen docs/specs/libxl-migration-stream.pandoc; QEMU migration/savevm.c",
    effect=refuses("magic"),
    phase=Phase.LIBVIRT_HEADER,
)
def save_of_xen(survey: Survey) -> Iterator[Observation]:
    """This is a save of Xen, which no QEMU loads by itself.

    QEMU's stream in it is what xen-save-devices-state wrote: devices without memory, which Xen
    keeps in records of its own. Only Xen's toolstack restores the whole.

    Fix: restore it with xl restore (or virsh -c xen:///system restore) on a Xen host.
    """
    save = survey.image.container.find(XenSave)
    if save is not None:
        magic = save.outer.source.read_upto(save.outer.offset, 4)
        yield Observation(
            "a save of Xen: no QEMU loads it", None, "container", save.writer, "a migration stream",
            order=0, holes={"magic": int.from_bytes(magic, "big")},
        )  # fmt: skip


@over_image("C25", Severity.WARNING, "QEMU block/snapshot.c, block/qcow2-snapshot.c")
def loadvm_takes_another_snapshot(survey: Survey) -> Iterator[Observation]:
    """QEMU's loadvm does not take this snapshot by its name.

    bdrv_snapshot_find() looks whether there is a snapshot of that name, and qcow2_snapshot_goto()
    then takes the one that has the name as its id, before the first that has it as its name.
    Another state is loaded without a word, and the disk is set back to it.

    Fix: take this one out with fixedram copy, and load that with -incoming.
    """
    found = survey.image.container.find(QcowState)
    if found is None or found.snapshot is None:
        return
    one, taken = found.snapshot, found.disk.taken_by_loadvm(found.snapshot.name)
    if one.offset != taken.offset:
        yield Observation(
            "loadvm takes another snapshot", None,
            f"qcow2/snapshots[{one.id}]", f"{taken.name[:60]!r} with the id {taken.id[:60]}",
            f"{one.name[:60]!r} with the id {one.id[:60]}",
        )  # fmt: skip


@over_image(
    "C26",
    Severity.ERROR,
    "QEMU block/qcow2.c qcow2_do_open()",
    effect=Effect(Outcome.REFUSES, text="qcow2: Image is corrupt; cannot be opened read/write"),
    phase=Phase.LIBVIRT_HEADER,
)
def marked_as_corrupt(survey: Survey) -> Iterator[Observation]:
    """The qcow2 image is marked as corrupt.

    QEMU sets the bit when it finds metadata that would be overwritten, and opens such an image no
    more for writing: -loadvm fails before it looks for the snapshot. The state in it may be sound.

    Fix: fixedram copy takes the state out for -incoming; qemu-img check -r all mends a copy of the
    image.
    """
    found = survey.image.container.find(QcowState)
    if found is not None and found.disk.head.features & IncompatibleFeature.CORRUPT:
        yield Observation(
            "the image is marked as corrupt", None, "qcow2/header/incompatible_features",
            f"{int(found.disk.head.features):#x}", "without CORRUPT (0x2)", order=0,
        )  # fmt: skip
