"""What of a device's state QEMU compares with the receiver's, taken out of a body.

Most of it is named by the types of its description: `equal`, `le`, `pci config`.  What
virtio_save() writes by hand, and what post_load functions look at, stands in a table.

Upstream: migration/vmstate-types.c get_int32_equal(), get_int32_le() and their kin; hw/pci/pci.c
get_pci_config_device(), get_pci_irq_state(); target/arm/machine.c cpu_post_load();
hw/char/virtio-serial-bus.c virtio_serial_load_device().
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.receiver.content import Content
from fixedram_fmt.receiver.cpregs import fixed_registers
from fixedram_fmt.receiver.virtioblob import OUTPUTS_CEILING, outputs, virtio_contents
from fixedram_fmt.schema.pci import CONFIG_TYPE, IRQ_STATE_TYPE
from fixedram_fmt.vmstate.arm64 import INDEXES, VALUES
from fixedram_fmt.vmstate.structure import integer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["COUNT", "Allowance", "Content", "contents_of"]

#: What is told of arrays whose length the stream itself says: the number before them, under the
#: array's path and this.
COUNT = "#"
_TYPES = frozenset((CONFIG_TYPE, IRQ_STATE_TYPE, "virtio", "virtio-gpu"))
#: A device has no more of them than this: a pseries' has some hundred.
_CONTENTS_CEILING = 1 << 14
#: Of all devices together: 255 vCPUs have 150,000 fields, 1,000 contents and 2 MiB of those.
_FIELDS_CEILING, _ALL_CEILING, _BYTES_CEILING = 1 << 18, 1 << 16, 1 << 23
#: Characters of a path; the longest of a machine has some hundred.
_PATH_CEILING = 1 << 10
#: Bytes of one of them: cpregs of a CPU take 3 KiB.
_LENGTH_CEILING = 1 << 16
#: Fields of other types that post_load functions compare, by vmsd and field.
_BY_NAME = frozenset(
    (
        ("cpu", INDEXES), ("cpu", VALUES),
        ("hpet", "num_timers_save"), ("e1000e", "subsys"), ("e1000e", "subsys_ven"),
        *(("virtio-mem-device/sanity-checks", name)
          for name in ("addr", "region_size", "block_size", "node")),
    )
)  # fmt: skip
#: Special-purpose registers of a PowerPC CPU, which of them says what CPU it is, and what older CPU
#: the guest was told that it has.
_PPC_REGISTERS, _PVR, _PPC_MODE = ("cpu", "env.spr"), 287, ("cpu/compat", "compat_pvr")
#: No device: what is compared of it is judged by itself.
_CONFIGURATION = "configuration"
#: vmsds all of whose numbers are compared, by the start of their names.
_CAPS = "spapr/cap/"


@dataclass(slots=True)
class Allowance:
    """How much of an image is looked at for contents: fields, contents, and bytes of those."""

    fields: int = _FIELDS_CEILING
    contents: int = _ALL_CEILING
    bytes: int = _BYTES_CEILING


class _Place(NamedTuple):
    path: str
    type: str
    start: int
    size: int
    #: What a number has to be to count for the length of an array.
    number: int | None = None


def contents_of(device: DeviceState, left: Allowance | None = None) -> dict[str, Content]:
    """What is compared of a device, by path; empty for one that is not described.

    left is what all devices of an image share; what goes beyond it is no machine's, and left out.
    """
    found: dict[str, Content] = {}
    if device.structure is None or device.name == _CONFIGURATION:
        return found
    left = left or Allowance()
    for place in _places(device.structure, left):
        left.contents -= 1
        left.bytes -= min(place.size, _LENGTH_CEILING)
        if left.contents < 0 or left.bytes < 0:
            break
        with suppress(FixedRamError):
            found.update(_read(device, place))
    if VALUES in found:
        indexes, values = found.get(INDEXES), found[VALUES]
        kept = fixed_registers(indexes.raw if indexes else b"", values.raw)
        found[VALUES] = values._replace(raw=kept)
    return found


def _read(device: DeviceState, place: _Place) -> Iterator[tuple[str, Content]]:
    """What is compared at a place: its bytes, or some of what is inside a blob."""
    # Of these the end is looked at.
    skipped = max(0, place.size - OUTPUTS_CEILING) if place.type == "virtio-gpu" else 0
    start = place.start + skipped
    raw = device.read(start, min(place.size - skipped, _LENGTH_CEILING))
    if place.type in ("virtio", "virtio-gpu"):
        inside = virtio_contents(device, raw) if place.type == "virtio" else outputs(raw)
        for one in inside:
            path = f"{place.path}/{one.name}"
            yield path, Content(one.type, one.raw, device.offset + start + one.start)
    elif place.number is None or int.from_bytes(raw, "big") == place.number:
        yield place.path, Content(place.type, raw, device.offset + start)


def _places(structure: Structure, allowed: Allowance) -> Iterator[_Place]:
    """Where what is compared lies in a body, outer before inner."""
    pending: list[tuple[Structure, str, int]] = [(structure, "", 0)]
    left = _CONTENTS_CEILING
    known: dict[int, bool] = {}
    while pending and left > 0:
        inside, path, start = pending.pop()
        if not _has_any(inside, known) or len(path) > _PATH_CEILING:
            continue
        below: list[tuple[Structure, str, int]] = []
        for one in _fields(inside, path, start):
            yield from one.compared()
            goes_in = one.structure is not None and _has_any(one.structure, known)
            elements = [*one.nested(min(left, allowed.fields))] if goes_in else []
            left -= 1 + len(elements)
            allowed.fields -= 1 + len(elements)
            below += elements
            if left <= 0 or allowed.fields <= 0:
                return
        for _, at, child in inside.subsections:
            name = f"{path}/{child.vmsd_name}" if path else child.vmsd_name
            below.append((child, name, start + at))
        pending += reversed(below)


class _Field(NamedTuple):
    """A field of a structure: its path, where it begins, and the number that comes before it."""

    vmsd: str
    path: str
    field: Field
    start: int
    structure: Structure | None
    number_before: _Place | None

    def compared(self) -> Iterator[_Place]:
        """What is compared of it."""
        field, where = self.field, (self.vmsd, self.field.name)
        if self.number_before and (field.array_len is not None or field.type == "buffer"):
            length = field.array_len if field.array_len is not None else field.size
            yield self.number_before._replace(path=self.path + COUNT, type=COUNT, number=length)
        if where == _PPC_REGISTERS and field.count > _PVR:
            start = self.start + _PVR * field.size
            yield _Place(f"{self.path}[{_PVR}]", "pvr", start, field.size)
        elif where == _PPC_MODE:
            yield _Place(self.path, "compat", self.start, field.size)
        elif self.structure is None and _is_compared(self.vmsd, field):
            yield _Place(self.path, field.type, self.start, field.size * field.count)

    def nested(self, most: int) -> Iterator[tuple[Structure, str, int]]:
        """The structures it is made of, most of them at most."""
        field = self.field
        if self.structure is None:
            return
        for one in range(min(field.count, most)):
            path = self.path if field.array_len is None else f"{self.path}[{one}]"
            yield self.structure, path, self.start + one * field.size


def _fields(structure: Structure, path: str, start: int) -> Iterator[_Field]:
    numbers: dict[str, int] = {}
    before: _Place | None = None
    for field, nested, at in zip(
        structure.fields, structure.nested, structure.offsets, strict=True
    ):
        name = f"{path}/{field.name}" if path else field.name
        if field.name in structure.lists:
            numbers[name] = number = numbers.get(name, -1) + 1
            name = f"{name}[{number}]"
        yield _Field(structure.vmsd_name, name, field, start + at, nested, before)
        if nested is None and field.array_len is None and integer_of(field.type) is not None:
            before = _Place(name, field.type, start + at, field.size)


def _is_compared(vmsd: str, field: Field) -> bool:
    type_ = field.type
    if type_ in _TYPES or type_.endswith((" equal", " le")):
        return True
    if vmsd.startswith(_CAPS):
        return integer_of(type_) is not None
    return (vmsd, field.name) in _BY_NAME


def _has_any(structure: Structure, known: dict[int, bool]) -> bool:
    """Whether anything in a structure is compared, or may be an array that is counted."""
    found = known.get(id(structure))
    if found is None:
        fields = structure.fields
        inner = (*structure.nested, *(child.structure for child in structure.subsections))
        found = known[id(structure)] = any(
            field.array_len is not None
            or field.type == "buffer"
            or (structure.vmsd_name, field.name) == _PPC_MODE
            or _is_compared(structure.vmsd_name, field)
            for field in fields
        ) or any(child is not None and _has_any(child, known) for child in inner)
    return found
