"""The files of data/: two of each version, JSON in xz.

Machines are in one of their own, so that who asks for a machine reads no devices.  Structures are
a table in which each stands once, however many devices, machines and architectures have it, after
those that it is made of.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.knowledge.machinelist import Machine
from fixedram_fmt.knowledge.vmstates import KnownField, KnownVmstate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "DATA", "Devices", "DumpOf", "Machines", "devices_path", "machines_path", "packed_devices",
    "packed_machines", "read_devices", "read_machine_lists",
]  # fmt: skip

#: With the dictionary of a preset, reading these few bytes would take 64 MiB.
_FILTERS = [
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 20},
]

DATA = Path(__file__).parent / "data"

#: Machines by name, by architecture.
Machines = dict[str, dict[str, Machine]]


class DumpOf(msgspec.Struct, frozen=True, array_like=True):
    """Places in the table of the structures of an architecture, as dumped with these machines."""

    arch: str
    machines: tuple[str, ...]
    structures: tuple[int, ...]


class Devices(msgspec.Struct, frozen=True):
    """Structures of devices, and which dump has which."""

    structures: tuple[KnownVmstate, ...]
    dumps: tuple[DumpOf, ...]


def machines_path(version: str, folder: Path = DATA) -> Path:
    """Where the machines of a version are."""
    return folder / f"qemu-{version}.machines.xz"


def devices_path(version: str, folder: Path = DATA) -> Path:
    """Where the devices of a version are."""
    return folder / f"qemu-{version}.devices.xz"


# -- reading ------------------------------------------------------------------------------------


class _Field(msgspec.Struct, array_like=True, gc=False):
    """Most have a name and a size; structure is a place in the table."""

    name: str
    size: int
    version_id: int = 0
    conditional: bool = False
    count: int | None = None
    structure: int | None = None


class _Structure(msgspec.Struct, array_like=True):
    name: str
    version_id: int
    minimum_version_id: int
    fields: tuple[_Field, ...] = ()
    subsections: tuple[int, ...] = ()


class _Packed(msgspec.Struct):
    structures: tuple[_Structure, ...]
    dumps: tuple[DumpOf, ...]


def read_machine_lists(data: bytes) -> Machines:
    """The machines in a file of them."""
    lists = msgspec.json.decode(lzma.decompress(data), type=dict[str, tuple[Machine, ...]])
    return {arch: {one.name: one for one in machines} for arch, machines in lists.items()}


def read_devices(data: bytes) -> Devices:
    """The structures in a file of them, equal ones one object."""
    packed = msgspec.json.decode(lzma.decompress(data), type=_Packed)
    made: list[KnownVmstate] = []
    for one in packed.structures:
        fields = [
            KnownField(
                field.name,
                field.version_id,
                field.conditional,
                field.count,
                field.size,
                None if field.structure is None else made[field.structure],
            )
            for field in one.fields
        ]
        inner = tuple([made[number] for number in one.subsections])
        made.append(
            KnownVmstate(one.name, one.version_id, one.minimum_version_id, tuple(fields), inner)
        )
    return Devices(tuple(made), packed.dumps)


# -- writing ------------------------------------------------------------------------------------


class _Table:
    """Rows of structures, each once; the same structures in the same order make the same rows."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self._numbers: dict[KnownVmstate, int] = {}

    def number(self, vmstate: KnownVmstate) -> int:
        """Where a structure is in the table, in which it is put where it is new."""
        if (known := self._numbers.get(vmstate)) is not None:
            return known
        fields = [self._field(field) for field in vmstate.fields]
        subsections = [self.number(one) for one in vmstate.subsections]
        head = [vmstate.name, vmstate.version_id, vmstate.minimum_version_id]
        self.rows.append(_trimmed([*head, fields, subsections], ([], [])))
        self._numbers[vmstate] = len(self.rows) - 1
        return self._numbers[vmstate]

    def _field(self, field: KnownField) -> list[Any]:
        inner = None if field.structure is None else self.number(field.structure)
        row = [field.name, field.size, field.version_id, field.conditional, field.count, inner]
        return _trimmed(row, (0, False, None, None))


def packed_machines(machines: Mapping[str, Mapping[str, Machine]]) -> bytes:
    """A file of the machines of each architecture."""
    rows = {
        arch: [
            _trimmed([one.name, one.alias_of, one.deprecated], (None, False))
            for _, one in sorted(by_name.items())
        ]
        for arch, by_name in sorted(machines.items())
    }
    return _compressed(rows)


def packed_devices(dumps: Iterable[tuple[str, str, Iterable[KnownVmstate]]]) -> bytes:
    """A file of (architecture, machine, structures of devices), whatever their order."""
    table = _Table()
    machines: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for arch, machine, vmstates in sorted(dumps, key=lambda dump: dump[:2]):
        numbers = {table.number(one) for one in sorted(vmstates, key=_order)}
        machines.setdefault((arch, tuple(sorted(numbers))), []).append(machine)
    rows = [[arch, names, numbers] for (arch, numbers), names in machines.items()]
    return _compressed({"structures": table.rows, "dumps": rows})


def _order(vmstate: KnownVmstate) -> tuple[str, str]:
    """QEMU lists its classes in the order of a hash table, which differs from run to run."""
    return vmstate.name, repr(vmstate)


def _trimmed(row: list[Any], defaults: tuple[Any, ...]) -> list[Any]:
    """A row without the values at its end that are the defaults of its last columns."""
    first = len(row) - len(defaults)
    while len(row) > first and row[-1] == defaults[len(row) - 1 - first]:
        row = row[:-1]
    return row


def _compressed(document: Any) -> bytes:
    text = msgspec.json.encode(document)
    return lzma.compress(text, filters=_FILTERS)
