"""The JSON of `-dump-vmstate`: all devices that a QEMU program has, and what they would send.

Upstream: QEMU migration/savevm.c dump_vmstate_json_to_file(), dump_vmstate_vmsd(),
dump_vmstate_vmsf().  Such a file may come from anywhere: its size, depth and number of parts are
held to a few times what the largest program has before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from fixedram_fmt.knowledge.vmstates import KnownField, KnownVmstate, by_name

__all__ = ["Dump", "is_dump", "read_dump"]

#: The key that no other document has; its object has the name of the machine.
_MACHINE = "vmschkmachine"

#: Bytes: aarch64 has 2.1 million, with 16,500 objects and arrays and 61,000 commas.
_TEXT_CEILING = 16 << 20
_CONTAINERS_CEILING = 100_000
_COMMAS_CEILING = 500_000
#: Structures in one another; QEMU's are 6 at most.
_DEPTH_CEILING = 32
#: Bytes of a vmsd name or a machine's, of which a stream has the length in one byte; of a field's,
#: which is an expression of C.
_NAME_CEILING = 255
_FIELD_NAME_CEILING = 1024

_Version = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
_Name = Annotated[str, msgspec.Meta(max_length=_NAME_CEILING)]
_FieldName = Annotated[str, msgspec.Meta(max_length=_FIELD_NAME_CEILING)]


class Dump(msgspec.Struct, frozen=True):
    """What one QEMU program has: the machine it was asked with, and structures by vmsd name.

    Devices are all of the program's, whatever the machine.
    """

    machine: str
    vmstates: Mapping[str, tuple[KnownVmstate, ...]]


class _Description(msgspec.Struct, gc=False):
    name: _Name
    version_id: _Version
    minimum_version_id: _Version
    fields: list[_Field] = msgspec.field(name="Fields", default_factory=list)
    subsections: list[_Description] = msgspec.field(name="Subsections", default_factory=list)


class _Field(msgspec.Struct, gc=False):
    field: _FieldName
    version_id: _Version
    field_exists: bool
    size: _Size
    num: _Count | None = None
    description: _Description | None = msgspec.field(name="Description", default=None)


class _Entry(msgspec.Struct, gc=False):
    """A device by its class, or the machine, which has no more than a name."""

    name: _Name = msgspec.field(name="Name")
    description: _Description | None = msgspec.field(name="Description", default=None)


def is_dump(document: object) -> bool:
    """Whether the value of a JSON document is that of -dump-vmstate."""
    return isinstance(document, dict) and _MACHINE in document


def read_dump(text: bytes) -> Dump:
    """A dump from its JSON; ValueError, which says why, for what is none."""
    if len(text) > _TEXT_CEILING:
        raise ValueError(f"it is longer than {_TEXT_CEILING >> 20} MiB")
    if (
        text.count(b"{") + text.count(b"[") > _CONTAINERS_CEILING
        or text.count(b",") > _COMMAS_CEILING
    ):
        raise ValueError("it has more parts than the -dump-vmstate of any QEMU")
    try:
        entries = msgspec.json.decode(text, type=dict[str, _Entry])
    except RecursionError as error:
        raise ValueError(f"its values are nested too deeply ({error})") from error
    if _MACHINE not in entries:
        raise ValueError(f"it is no -dump-vmstate: there is no {_MACHINE}")
    machine = entries.pop(_MACHINE).name
    return Dump(machine, by_name(_device(name, entry) for name, entry in entries.items()))


def _device(name: str, entry: _Entry) -> KnownVmstate:
    if entry.description is None:
        raise ValueError(f"the device {name[:_NAME_CEILING]!r} has no Description")
    return _vmstate(entry.description, 1)


def _vmstate(one: _Description, depth: int) -> KnownVmstate:
    if depth > _DEPTH_CEILING:
        raise ValueError(f"structures are nested more than {_DEPTH_CEILING} deep")
    return KnownVmstate(
        one.name,
        one.version_id,
        one.minimum_version_id,
        tuple([_field(field, depth) for field in one.fields]),
        tuple([_vmstate(subsection, depth + 1) for subsection in one.subsections]),
    )


def _field(one: _Field, depth: int) -> KnownField:
    inner = None if one.description is None else _vmstate(one.description, depth + 1)
    # That of a structure is what QEMU's memory has of it: it differs from build to build.
    size = one.size if inner is None else 0
    return KnownField(one.field, one.version_id, one.field_exists, one.num, size, inner)
