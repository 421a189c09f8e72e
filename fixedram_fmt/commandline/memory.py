"""-m, the backends of the machine's RAM, and memory that is plugged in.

Upstream: QEMU hw/mem/pc-dimm.c, hw/acpi/memory_hotplug.c vmstate_memhp_sts (an element a slot),
hw/core/numa.c numa_init_memdev_container().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.commandline.draft import is_id
from fixedram_fmt.memory.blockroles import MAIN_NAMES, roles_of
from fixedram_fmt.memory.ranges import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence
    from fixedram_fmt.memory.blockroles import Roles

__all__ = ["add_backend", "add_memory", "size_text"]

#: ACPI_MAX_RAM_SLOTS
_SLOTS_CEILING = 256
#: Where a machine keeps the state of its DIMM slots: the section, and the array in it.
_SLOT_STATES = (
    ("ICH9LPC", "pm/ich9_pm/memhp/acpi_memory_hotplug/devs"),
    ("piix4_pm", "piix4_pm/memhp/acpi_memory_hotplug/devs"),
    ("acpi-ged", "acpi-ged/memhp/memhp_state/devs"),
)
_ENABLED = "is_enabled"


def size_text(length: int) -> str:
    """A length in bytes as QEMU takes it, with the largest unit that divides it."""
    for unit, suffix in ((GIB, "G"), (MIB, "M"), (KIB, "K")):
        if length and length % unit == 0:
            return f"{length // unit}{suffix}"
    return f"{length}B"


def add_backend(draft: Draft, block: RamBlock, *, shared: bool = False) -> bool:
    """A memory backend whose block gets the name and length of block; False: it can have none."""
    return add_named_backend(draft, block.name, block.used_length, shared=shared)


def add_named_backend(draft: Draft, name: str, length: int, *, shared: bool = False) -> bool:
    """The same by name and length."""
    if not is_id(name) or not length:
        draft.doubt(f"no memory backend can be called {name!r}: its block is left out")
        return False
    properties: dict[str, str | int] = {"id": name, "size": size_text(length)}
    if shared:
        properties["share"] = "on"
    draft.object("memory-backend-ram", properties)
    return True


def add_memory(
    evidence: Evidence,
    draft: Draft,
    *,
    fits: Sequence[int] = (),
    taken: frozenset[str] = frozenset(),
) -> Roles:
    """-m and the backends; fits as roles_of() takes it, taken names blocks of other devices."""
    blocks = [block for block in evidence.image.blocks if block.name not in taken]
    roles = roles_of(blocks, fits)
    if roles.guess:
        draft.doubt(roles.guess)
    _main(draft, roles)
    slots = _slots(evidence)
    options: dict[str, str | int] = {"size": size_text(roles.length)} if roles.length else {}
    dimms = sum(block.used_length for block in roles.spare)
    early = [name for name, _ in evidence.sections if name.endswith("/virtio-mem-device-early")]
    more = sum(evidence.number(name, "tmp/region_size") or 0 for name in early)
    count = max(len(slots), len(roles.spare))
    if count or more:
        # Each device begins at a multiple of a GiB at worst.
        most = roles.length + dimms + more + (count + len(early)) * GIB
        options |= {"slots": min(count, _SLOTS_CEILING), "maxmem": size_text(-(-most // GIB) * GIB)}
        draft.doubt("maxmem= is not in the image: it is as large as is needed")
    text = ",".join(f"{name}={value}" for name, value in options.items() if value != 0)
    draft.memory = text.removeprefix("size=") or None
    _dimms(draft, roles, slots)
    return roles


def _main(draft: Draft, roles: Roles) -> None:
    """Backends for RAM that has not the name QEMU itself gives it."""
    if len(roles.main) == 1 and roles.main[0].name not in MAIN_NAMES:
        if add_backend(draft, roles.main[0]):
            draft.machine["memory-backend"] = roles.main[0].name
    elif len(roles.main) > 1:
        for node, block in enumerate(roles.main):
            if add_backend(draft, block):
                draft.others.append(("-numa", f"node,nodeid={node},memdev={block.name}"))
        draft.doubt("which CPUs are in which NUMA node is not in the image")


def _slots(evidence: Evidence) -> list[bool]:
    """Whether there is a DIMM that the guest was told of, for each slot."""
    for name, _ in evidence.sections:
        vmsd = name.rpartition("/")[2]
        for owner, path in _SLOT_STATES:
            if vmsd == owner:
                found: Any = evidence.get(name, path)
                if isinstance(found, list):
                    return [isinstance(one, dict) and bool(one.get(_ENABLED)) for one in found]
    return []


def _dimms(draft: Draft, roles: Roles, slots: list[bool]) -> None:
    """Backends that are no part of the machine's RAM, in slots that the guest was told of.

    One without a slot is an NVDIMM: ACPI tells the guest of those in another way.
    """
    enabled = [number for number, one in enumerate(slots) if one]
    free = [number for number, one in enumerate(slots) if not one]
    plain = len(enabled) if slots else len(roles.spare)
    for number, block in enumerate(roles.spare):
        if not add_backend(draft, block):
            continue
        is_dimm = number < plain
        places = enabled if is_dimm else free
        place = number if is_dimm else number - plain
        properties: dict[str, str | int | None] = {
            "id": draft.new_id("dimm"),
            "memdev": block.name,
            "slot": places[place] if place < len(places) else None,
        }
        if not is_dimm:
            draft.machine["nvdimm"] = "on"
        draft.device("pc-dimm" if is_dimm else "nvdimm", properties)
    if roles.spare:
        draft.doubt("the addresses of DIMMs and NVDIMMs are not in the image: QEMU chooses them")
