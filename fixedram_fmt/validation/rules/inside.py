"""Area T, continued: what the receiver's devices would refuse inside their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.knowledge import known_versions
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.receiver.knownfit import unusual_fields
from fixedram_fmt.receiver.misfit import Kind
from fixedram_fmt.receiver.programs import has_machine
from fixedram_fmt.receiver.properties import advice
from fixedram_fmt.validation.causes import KNOWS, is_asked
from fixedram_fmt.validation.effects import Effect, Phase, refuses
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.receiving import Met
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_LOAD = "migration/vmstate.c vmstate_load_state()"
_MACHINES = "system/vl.c select_machine(); what each QEMU has: fixedram_fmt/knowledge"


def _no_machine(case: Case) -> Effect | None:
    return refuses("no-machine") if is_asked(case) else None


def _as_met(case: Case) -> Effect | None:
    """QEMU stops at the first thing that a device does not take; only that has a message."""
    holes = case.finding.holes
    if not is_asked(case):
        return None
    if "crash" in holes:
        return Effect(Outcome.CRASHES, text=str(holes["crash"]))
    return refuses(str(holes["says"])) if holes.get("says") else None


def _observed(survey: Survey, kind: Kind) -> Iterator[Observation]:
    for met in survey.misfits:
        if met.misfit.kind is kind:
            yield _observation(met)
    for version, misfits in survey.known_misfits.items():
        for met in misfits:
            if met.misfit.kind is kind:
                yield _observation(met, version)


def _observation(met: Met, version: str = "") -> Observation:
    """version: of the QEMU whose every VM refuses this."""
    misfit = met.misfit
    holes = dict(misfit.holes)
    if met.first:
        holes |= {"crash": misfit.crash} if misfit.crash else {"says": misfit.says}
    if version:
        holes[KNOWS] = version
    return Observation(
        f"{misfit.device.path}: {misfit.message}" + (f" (QEMU {version})" if version else ""),
        misfit.device.offset + misfit.start,
        f"{met.section}/body/{misfit.path}".rstrip("/"),
        misfit.found,
        misfit.expected,
        order=met.order,
        conditional=bool(version),
        fix=advice(misfit),
        holes=holes,
    )


@over_image("T18", Severity.ERROR, _MACHINES, effect=_no_machine, phase=Phase.LIBVIRT_START)
def unknown_machine(survey: Survey) -> Iterator[Observation]:
    """This QEMU has no machine of that type.

    Machine types come with a version of QEMU and are taken out again some years later. Without the
    type there is nothing to load the image into.

    Fix: restore it with a QEMU that has the machine type: one that is not older than the type, nor
    so new that the type is gone.
    """
    local = survey.destination.machine if survey.destination else None
    if local is not None and local != survey.image.machine:
        # The VM is of another type: T01 tells of that.
        return
    for version in known_versions():
        if has_machine(survey.image, version) is False:
            yield Observation(
                f"QEMU {version} has no machine of that type",
                survey.configuration.offset if survey.configuration else None,
                "configuration",
                shown((survey.image.machine or "").encode()),
                "a machine type of that QEMU",
                order=0,
                conditional=True,
                holes={KNOWS: version, "machine": survey.image.machine or ""},
            )


@over_image("T19", Severity.ERROR, _LOAD, effect=_as_met)
def unloadable_version(survey: Survey) -> Iterator[Observation]:
    """A device is of a version that this QEMU does not load.

    Each device has a version, and an oldest one that it still loads. What came later, or was given
    up, is refused.

    Fix: restore it with the QEMU that saved, or one between.
    """
    yield from _observed(survey, Kind.VERSION)


@over_image("T12", Severity.ERROR, _LOAD, effect=_as_met)
def other_fields(survey: Survey) -> Iterator[Observation]:
    """A device has other fields than the receiver's, or longer ones.

    A device's state is a row of fields without names. Where the receiver has one more, or an array
    is longer there, it reads what follows in the wrong places, up to where the footer should be:
    Missing section footer.

    Fix: start the destination with the same device, the same properties and machine type.
    """
    yield from _observed(survey, Kind.FIELDS)


@over_image("T13", Severity.ERROR, "hw/pci/pci.c get_pci_config_device()", effect=_as_met)
def other_config(survey: Survey) -> Iterator[Observation]:
    """A PCI device's configuration space is another than the receiver's.

    QEMU compares what a driver cannot write: identity, kinds of BARs, and the chain of
    capabilities. One byte that differs is refused.

    Fix: start the destination with the same device and the same properties.
    """
    yield from _observed(survey, Kind.CONFIG)


@over_image("T14", Severity.ERROR, "migration/vmstate-types.c get_int32_equal()", effect=_as_met)
def other_value(survey: Survey) -> Iterator[Observation]:
    """A value that is to be the receiver's own is another, or larger.

    Numbers of ports, queues, disks or registers that the configuration decides on are sent to be
    compared. QEMU refuses those that differ.

    Fix: start the destination with the same device and the same properties.
    """
    yield from _observed(survey, Kind.VALUE)


@over_image("T15", Severity.ERROR, "migration/vmstate.c vmstate_subsection_load()", effect=_as_met)
def unknown_subsection(survey: Survey) -> Iterator[Observation]:
    """A device has a subsection that the receiver's does not know, or another version of it.

    Subsections are optional for the sender alone: who receives one must know it.

    Fix: use a QEMU that is at least as new as the one that saved, and the same device.
    """
    yield from _observed(survey, Kind.SUBSECTION)


@over_image("T16", Severity.ERROR, "target/arm/machine.c cpu_post_load()", effect=_as_met)
def unknown_register(survey: Survey) -> Iterator[Observation]:
    """A CPU has a system register that the receiver's has not, or an identity of its own.

    A CPU's registers are a list of numbers and values. QEMU refuses numbers that it does not know,
    and values that cannot be written, such as those that say what CPU it is.

    Fix: the same -cpu, and where the list has grown the version of QEMU that saved.
    """
    yield from _observed(survey, Kind.REGISTER)


@over_image("T17", Severity.ERROR, "migration/vmstate.c vmstate_post_load()", effect=_as_met)
def refused_state(survey: Survey) -> Iterator[Observation]:
    """A device refuses its state once it is loaded, or dies of it.

    Some compare what no field tells: ports that are plugged in, capabilities of a machine, models
    of CPUs. Where a part of a device was never set up, QEMU ends with an assertion.

    Fix: start the destination with the same device and the same properties.
    """
    yield from _observed(survey, Kind.STATE)


@over_image("T20", Severity.WARNING, "hw/i386/pc.c pc_compat_6_2[]")
def unusual_field(survey: Survey) -> Iterator[Observation]:
    """A device was saved with a property that VMs of its machine type do not have by themselves.

    Such a property adds a field, or takes one out. A VM that is started without it reads the rest
    of the device in the wrong places and refuses it: Missing section footer.

    Fix: give the destination the same property, or its own save with --like.
    """
    if survey.destination is not None and survey.destination.description is not None:
        return
    for misfit in unusual_fields(survey.image):
        yield Observation(
            f"{misfit.device.path}: {misfit.message}",
            misfit.device.offset + misfit.start,
            "",
            misfit.found,
            misfit.expected,
            fix=advice(misfit),
        )
