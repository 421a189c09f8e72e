"""Area T, continued: what the receiver's devices would refuse inside their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.receiver.misfit import Kind
from fixedram_fmt.receiver.properties import advice
from fixedram_fmt.validation.effects import Effect, refuses
from fixedram_fmt.validation.rule import Observation, Severity, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_LOAD = "migration/vmstate.c vmstate_load_state()"


def _as_met(case: Case) -> Effect | None:
    """QEMU stops at the first thing that a device does not take; only that has a message."""
    holes = case.finding.holes
    if "crash" in holes:
        return Effect(Outcome.CRASHES, text=str(holes["crash"]))
    return refuses(str(holes["says"])) if "says" in holes else None


def _observed(survey: Survey, kind: Kind) -> Iterator[Observation]:
    for met in survey.misfits:
        misfit = met.misfit
        if misfit.kind is not kind:
            continue
        holes = dict(misfit.holes)
        if met.first:
            holes |= {"crash": misfit.crash} if misfit.crash else {"says": misfit.says}
        yield Observation(
            f"{misfit.device.path}: {misfit.message}",
            misfit.device.offset + misfit.start,
            f"{met.section}/body/{misfit.path}",
            misfit.found,
            misfit.expected,
            order=met.order,
            fix=advice(misfit),
            holes=holes,
        )


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
