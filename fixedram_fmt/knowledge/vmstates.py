"""Structures of device state as a QEMU knows them before there is any image.

Upstream: QEMU include/migration/vmstate.h VMStateDescription and VMStateField, as far as
-dump-vmstate tells of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KnownField", "KnownVmstate", "by_name"]


class KnownField(msgspec.Struct, frozen=True):
    """A field that is sent from version_id of its structure on.

    conditional: a function of QEMU decides whether it is there (field_exists).  count is the number
    of elements of an array of fixed length, None of anything else, arrays of variable length too; 0
    stands for a check without bytes (VMSTATE_VALIDATE).  size is that of one element in the memory
    of QEMU, in bytes, which the stream has of numbers and buffers, but not of timers and other
    things that functions send; 0 where QEMU finds it out as it runs, and where structure tells.
    """

    name: str
    version_id: int
    conditional: bool
    count: int | None
    size: int
    structure: KnownVmstate | None = None


class KnownVmstate(msgspec.Struct, frozen=True):
    """A structure by its vmsd name: it is sent as version_id, and read from minimum_version_id on.

    One without fields is a device that cannot be migrated, or has nothing to keep.  A subsection is
    there when its `needed` says so, which QEMU does not tell.
    """

    name: str
    version_id: int
    minimum_version_id: int
    fields: tuple[KnownField, ...] = ()
    subsections: tuple[KnownVmstate, ...] = ()


def by_name(vmstates: Iterable[KnownVmstate]) -> dict[str, tuple[KnownVmstate, ...]]:
    """Structures by their vmsd name, equal ones once; the order is theirs."""
    found: dict[str, dict[KnownVmstate, None]] = {}
    for one in vmstates:
        found.setdefault(one.name, {})[one] = None
    return {name: tuple(different) for name, different in found.items()}
