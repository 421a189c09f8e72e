"""Structures of device state as a QEMU knows them before there is any image.

Upstream: QEMU include/migration/vmstate.h VMStateDescription and VMStateField, as far as
-dump-vmstate tells of them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KnownField", "KnownVmstate", "by_name"]


class KnownField(msgspec.Struct, frozen=True):
    """A field that is sent from version_id of its structure on.

    conditional: a function of QEMU decides whether it is there (field_exists).  count is the number
    of elements of an array of fixed length, None of anything else, arrays of variable length too.
    size is that of one element in bytes, 0 where QEMU finds it out as it runs and where structure
    tells, which may also be that of each entry of a list.  Checks without bytes (VMSTATE_VALIDATE)
    are in no dump.
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

    def described_fields(self) -> dict[str, KnownField]:
        """Fields by the names that an image's description gives them.

        Those that share a name are numbered there: `config[0]`, `config[1]` (QEMU
        migration/vmstate.c vmfield_name_num()).
        """
        total = Counter(field.name for field in self.fields)
        seen: Counter[str] = Counter()
        found = {}
        for field in self.fields:
            unique = total[field.name] == 1
            found[field.name if unique else f"{field.name}[{seen[field.name]}]"] = field
            seen[field.name] += 1
        return found


def by_name(vmstates: Iterable[KnownVmstate]) -> dict[str, tuple[KnownVmstate, ...]]:
    """Structures by their vmsd name, equal ones once; the order is theirs."""
    found: dict[str, dict[KnownVmstate, None]] = {}
    for one in vmstates:
        found.setdefault(one.name, {})[one] = None
    return {name: tuple(different) for name, different in found.items()}
