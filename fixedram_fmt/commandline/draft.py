"""A command line that is being made: its parts, and the sections that are accounted for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DISK_SIZE", "Draft", "Placed", "is_id", "is_sayable", "option"]

#: Upstream: QEMU util/id.c id_wellformed().
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
#: Of a disk whose size no state tells: QEMU asks none of a disk that it does not read.
DISK_SIZE = 1 << 30
#: More devices, or sentences, than any machine has are left out, and that is told.
_DEVICES_CEILING, _DOUBTS_CEILING = 4096, 256


@dataclass(frozen=True, slots=True)
class Placed:
    """A device that is on the command line: its name as in -device, and its id."""

    driver: str
    id: str


def is_id(name: str) -> bool:
    """Whether QEMU takes a name for an id of a device, a backend or a drive."""
    return _ID.fullmatch(name) is not None


def is_sayable(text: str) -> bool:
    """Whether a text can be a part of an argument: visible ASCII."""
    return bool(text) and text.isascii() and text.isprintable()


def option(head: str, properties: Mapping[str, str | int]) -> str:
    """`head,name=value,...` with the commas of values doubled, as QemuOpts takes them."""
    values = (f"{name}={str(value).replace(',', ',,')}" for name, value in properties.items())
    return ",".join([*([head] if head else []), *values])


@dataclass(slots=True)
class Draft:
    """Arguments by kind, in the order in which QEMU needs them; claimed are sections' names.

    machine are properties behind the type, devices whole -device values (buses before what sits
    on them), others are options with their values (-drive, -netdev, -chardev) that devices name.
    pci_root is the id of the bus on which devices of the first PCI segment sit.
    """

    program: str = ""
    machine_type: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    cpu: str | None = None
    smp: str | None = None
    memory: str | None = None
    pci_root: str | None = None
    objects: list[str] = field(default_factory=list)
    globals: list[str] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    claimed: set[tuple[str, int]] = field(default_factory=set)
    #: By the way to them (`0000:00:02.0`): what may have other devices on its buses.
    placed: dict[str, Placed] = field(default_factory=dict)
    #: PCI buses by the way to them (`0000:00:02.0`): their ids, None for QEMU's choice.
    pci_buses: dict[str, str | None] = field(default_factory=dict)
    #: Buses of SCSI by what their disks' sections begin with.
    scsi_buses: dict[str, str] = field(default_factory=dict)
    #: Address of the first bus of virtio-mmio, and the step from one to the next.
    mmio: tuple[int, int] | None = None
    #: Bytes of the file that -bios would need, where QEMU has none of that length.
    firmware: int | None = None
    #: Whether the VM has the devices that QEMU adds where it is not told otherwise.
    has_defaults: bool = False
    _numbers: dict[str, int] = field(default_factory=dict)
    _doubts_left_out: int = 0

    # -- sections

    def claim(self, name: str, instance_id: int = 0) -> None:
        """Say that an argument here (or the machine itself) brings this section."""
        self.claimed.add((name, instance_id))

    def claim_all(self, sections: Iterable[tuple[str, int]]) -> None:
        """The same of several."""
        self.claimed.update(sections)

    def doubt(self, sentence: str) -> None:
        """Tell a part that is not certain, once."""
        if sentence in self.uncertain:
            return
        if len(self.uncertain) < _DOUBTS_CEILING:
            self.uncertain.append(sentence)
        else:
            self._doubts_left_out += 1

    # -- parts

    def device(self, driver: str, properties: Mapping[str, str | int | None]) -> bool:
        """Add a -device; properties that are None are left out.  False: there is no room."""
        if len(self.devices) >= _DEVICES_CEILING:
            self.doubt(f"devices beyond the first {_DEVICES_CEILING} are left out")
            return False
        kept = {name: value for name, value in properties.items() if value is not None}
        self.devices.append(option(driver, kept))
        return True

    def set_global(self, driver: str, name: str, value: str | int) -> None:
        """Set a property of a device that the board makes."""
        self.globals.append(f"{driver}.{name}={value}")

    def object(self, kind: str, properties: Mapping[str, str | int]) -> None:
        """Add an -object."""
        self.objects.append(option(kind, properties))

    def new_id(self, stem: str) -> str:
        """An id that nothing else here has: `disk0`, `disk1`."""
        number = self._numbers.get(stem, 0)
        self._numbers[stem] = number + 1
        return f"{stem}{number}"

    def chardev(self) -> str:
        """A -chardev that takes what is written and gives nothing; its id."""
        name = self.new_id("char")
        self.others.append(("-chardev", option("null", {"id": name})))
        return name

    def audiodev(self) -> str:
        """An -audiodev without sound; its id."""
        name = self.new_id("audio")
        self.others.append(("-audiodev", option("none", {"id": name})))
        return name

    def user_netdev(self, instance: int) -> str:
        """A -netdev user, whose state is a section slirp; its id."""
        name = self.new_id("net")
        self.others.append(("-netdev", option("user", {"id": name})))
        self.claim("slirp", instance)
        return name

    def next_user_netdev(self, instances: Iterable[int]) -> str | None:
        """The same for the next of these that has none yet; None where all have."""
        for instance in instances:
            if ("slirp", instance) not in self.claimed:
                return self.user_netdev(instance)
        return None

    def board_nic(self, model: str | None, instances: Iterable[int]) -> None:
        """A -nic, which the board itself plugs in: with one of these slirp, if any is left.

        model None is the board's own, if it has one.
        """
        instance = next((one for one in instances if ("slirp", one) not in self.claimed), None)
        if instance is None:
            backend = f"hubport,hubid={self.new_id('hub').removeprefix('hub')}"
        else:
            backend = "user"
            self.claim("slirp", instance)
        self.others.append(("-nic", option(backend, {"model": model} if model else {})))

    def bmc(self) -> str:
        """A BMC for an interface of IPMI, whose state is a section of its own; its id."""
        name = self.new_id("bmc")
        self.device("ipmi-bmc-sim", {"id": name})
        self.claim("ipmi-bmc-sim", int(name.removeprefix("bmc")))
        return name

    def disk(self, size: int | None, whose: str, *, read_only: bool = False) -> str:
        """A disk of zeros in the place of the real one, size in bytes; its node name."""
        name = self.new_id("disk")
        node: dict[str, str | int] = {"driver": "null-co", "node-name": name}
        node |= {"size": size or DISK_SIZE, "read-zeroes": "on"}
        if read_only:
            node["read-only"] = "on"
        self.others.append(("-blockdev", option("", node)))
        words = "" if size else ", of a size that the image does not tell,"
        self.doubt(f"{name} is empty: the disk of {whose}{words} belongs there")
        return name

    # -- the whole

    def arguments(self) -> list[str]:
        """All of the VM, without the program."""
        machine = option(self.machine_type, self.machine)
        words = [] if self.has_defaults else ["-nodefaults"]
        words += ["-no-user-config", "-display", "none", "-vga", "none"]
        words += ["-machine", machine]
        for name, value in (("-cpu", self.cpu), ("-smp", self.smp), ("-m", self.memory)):
            words += [name, value] if value is not None else []
        for one in self.objects:
            words += ["-object", one]
        for one in self.globals:
            words += ["-global", one]
        for name, value in self.others:
            words += [name, value]
        for one in self.devices:
            words += ["-device", one]
        return words

    def sentences(self) -> tuple[str, ...]:
        """What is uncertain; the last says how much of it is not told one by one."""
        left = self._doubts_left_out
        more = [f"and {left} more parts that are uncertain"] if left else []
        return (*self.uncertain, *more)
