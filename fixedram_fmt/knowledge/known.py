"""What one version of QEMU has, asked by name: machines, and structures of device state."""

from __future__ import annotations

from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from fixedram_fmt.knowledge.machinelist import family_of
from fixedram_fmt.knowledge.packed import (
    DATA,
    devices_path,
    machines_path,
    read_devices,
    read_machine_lists,
)
from fixedram_fmt.knowledge.vmstates import by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.knowledge.machinelist import Machine
    from fixedram_fmt.knowledge.packed import Devices, DumpOf, Machines
    from fixedram_fmt.knowledge.vmstates import KnownVmstate

__all__ = ["Known", "known_in", "known_versions"]


class Known:
    """A version of QEMU; architectures are named as in qemu-system-ARCH.

    Machines are read when one is asked for, devices when their structures are.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self._by_name: dict[tuple[DumpOf, ...], Mapping[str, tuple[KnownVmstate, ...]]] = {}

    # -- machines

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those whose machines are known, which are not all that QEMU has."""
        return tuple(self._machines)

    def machines(self, arch: str) -> dict[str, Machine] | None:
        """Machines of an architecture by name, aliases too; None: nothing is known of it."""
        machines = self._machines.get(arch)
        return None if machines is None else dict(machines)

    def architectures_of(self, machine_name: str) -> tuple[str, ...]:
        """The architectures that have a machine of that name, or an alias."""
        return tuple(arch for arch, machines in self._machines.items() if machine_name in machines)

    def machine(self, name: str, arch: str) -> Machine | None:
        """The machine that QEMU makes for a name, which may be an alias; None: there is none."""
        machines = self._machines.get(arch, {})
        found = machines.get(name)
        return found if found is None or found.alias_of is None else machines.get(found.alias_of)

    def has_machine(self, name: str, arch: str | None = None) -> bool | None:
        """Whether -machine takes a name or an alias, on any architecture where none is given.

        None where that is not known: nothing is known of the architecture, or none is given and the
        machine may be one of an architecture that is not known.  That it cannot be where other
        versions of the machine are known.
        """
        if arch is not None:
            return self.machine(name, arch) is not None if arch in self._machines else None
        if self.architectures_of(name):
            return True
        family = family_of(name)
        return False if family is not None and family in self._families else None

    # -- device state

    @property
    def dumped(self) -> tuple[str, ...]:
        """The architectures whose devices are known."""
        return tuple(dict.fromkeys(dump.arch for dump in self._devices.dumps))

    def vmstates(
        self, arch: str | None, machine: str | None = None
    ) -> Mapping[str, tuple[KnownVmstate, ...]]:
        """Structures of devices by vmsd name; several where devices share the name and differ.

        They are of the first of these that is known: the machine on the architecture, all of the
        architecture, architectures that have the machine, all architectures.  Only what devices
        name as theirs is there (`dc->vmsd`), not what boards and CPUs register by hand.
        """
        dumps = self._dumps_for(arch, machine)
        if dumps not in self._by_name:
            structures = self._devices.structures
            numbers = sorted({number for dump in dumps for number in dump.structures})
            found = by_name(structures[number] for number in numbers)
            self._by_name[dumps] = MappingProxyType(found)
        return self._by_name[dumps]

    def _dumps_for(self, arch: str | None, machine: str | None) -> tuple[DumpOf, ...]:
        dumps = self._devices.dumps
        of_arch = tuple(dump for dump in dumps if dump.arch == arch)
        if of_arch and machine is not None and arch is not None:
            made = self.machine(machine, arch)
            name = machine if made is None else made.name
            of_machine = tuple(dump for dump in of_arch if name in dump.machines)
            return of_machine or of_arch
        having = self.architectures_of(machine) if machine is not None else ()
        return of_arch or tuple(dump for dump in dumps if dump.arch in having) or dumps

    @cached_property
    def _machines(self) -> Machines:
        return read_machine_lists(machines_path(self.version).read_bytes())

    @cached_property
    def _families(self) -> frozenset[str]:
        names = {name for machines in self._machines.values() for name in machines}
        return frozenset(family for name in names if (family := family_of(name)) is not None)

    @cached_property
    def _devices(self) -> Devices:
        return read_devices(devices_path(self.version).read_bytes())


@cache
def known_versions() -> tuple[str, ...]:
    """Versions of which there is data, the oldest first: `10.0`."""
    start, end = machines_path("*").name.split("*")
    found = [path.name.removeprefix(start).removesuffix(end) for path in DATA.glob(f"*{end}")]
    return tuple(sorted(found, key=lambda version: [int(part) for part in version.split(".")]))


def known_in(version: str) -> Known | None:
    """What is known of a version (`10.0`); None: nothing."""
    return _known(version) if version in known_versions() else None


@cache
def _known(version: str) -> Known:
    return Known(version)
