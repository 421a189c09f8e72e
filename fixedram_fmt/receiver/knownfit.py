"""Devices of an image against what a QEMU is known to have, without a VM of it.

What is known (-dump-vmstate) does not tell which fields of a device are there under which
conditions, nor lengths that the configuration decides on: only what no configuration can make fit
is a misfit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.receiver import wire
from fixedram_fmt.receiver.misfit import Kind, Misfit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fixedram_fmt.image import Image
    from fixedram_fmt.knowledge.vmstates import KnownField, KnownVmstate
    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

    Known = Mapping[str, tuple[KnownVmstate, ...]]

__all__ = ["known_misfits", "unusual_fields"]

#: Sums of bytes that conditional fields can have, of one structure; more are taken for any.
_SUMS_CEILING = 1 << 12


def known_misfits(image: Image, known: Known) -> Iterator[Misfit]:
    """What no VM of that QEMU would take, in the order of the stream."""
    for device in image.state.devices:
        candidates = [one for one in known.get(_vmsd(device), ()) if one.fields]
        if candidates:
            yield from _in_device(device, candidates)


#: Fields that a property leaves out, by vmsd, and from which pc machine on they are there.
#: Upstream: hw/i386/pc.c pc_compat_6_2[]
_USUAL = {"piix4_pm": ("acpi_pci_hotplug.acpi_index", (7, 0))}
_PC = re.compile(r"pc-i440fx-(\d+)\.(\d+)", re.ASCII)


def unusual_fields(image: Image) -> Iterator[Misfit]:
    """What a VM with the usual properties of the image's machine type would refuse."""
    version = _PC.fullmatch(image.machine or "")
    if version is None:
        return
    for device in image.state.devices:
        yield from _unusual(device, (int(version[1]), int(version[2])))


def _unusual(device: DeviceState, version: tuple[int, int]) -> Iterator[Misfit]:
    usual = _USUAL.get(_vmsd(device))
    if usual is None or device.structure is None:
        return
    name, since = usual
    is_there = any(field.name == name for field in device.structure.fields)
    expected = version >= since
    if is_there is not expected:
        words = ("in the image", "no such field") if is_there else ("no such field", "one")
        message = f"a VM of this machine type usually {'has' if expected else 'lacks'} {name!r}"
        yield Misfit(Kind.FIELDS, device, device.size, name, message, *words, "footer", item=name)


def _vmsd(device: DeviceState) -> str:
    structure = device.structure
    return (structure.vmsd_name if structure else "") or device.name.rpartition("/")[2]


def _in_device(device: DeviceState, candidates: Sequence[KnownVmstate]) -> Iterator[Misfit]:
    newest = max(one.version_id for one in candidates)
    oldest = min(one.minimum_version_id for one in candidates)
    version = device.version_id
    if version > newest:
        yield _version(device, version, f"at most {newest}", "section-version", newest)
        return
    if version < oldest:
        yield _version(device, version, f"at least {oldest}", "version-old", oldest)
        return
    sent = device.structure
    # A description that is wrong of itself tells nothing of the device.
    if sent is None or wire.contradicts(sent):
        return
    unknown = [_unknown_subsections(device, sent, one) for one in candidates]
    if all(unknown):
        yield from min(unknown, key=len)
    yield from _layouts(device, sent, candidates)


def _version(device: DeviceState, version: int, expected: str, says: str, local: int) -> Misfit:
    holes: dict[str, int | str] = {
        "vmsd": _vmsd(device),
        "version": version,
        "local_version": local,
    }
    return Misfit(
        Kind.VERSION, device, 0, "", "a version that it does not load", f"version {version}",
        expected, says, holes, "version",
    )  # fmt: skip


# -- subsections ----------------------------------------------------------------------------------


def _subsections(known: KnownVmstate) -> dict[str, list[KnownVmstate]]:
    """All subsections of a structure, and of those inside it, by name."""
    found: dict[str, list[KnownVmstate]] = {}
    pending = [known]
    while pending:
        one = pending.pop()
        for child in one.subsections:
            found.setdefault(child.name, []).append(child)
            pending.append(child)
        pending += [field.structure for field in one.fields if field.structure is not None]
    return found


def _unknown_subsections(device: DeviceState, sent: Structure, known: KnownVmstate) -> list[Misfit]:
    there = _subsections(known) if sent.has_headers else {}
    found = []
    for one in wire.subsections(sent):
        name, version = one.structure.vmsd_name, one.structure.version
        choices = there.get(name)
        if choices is None:
            found.append(_subsection(device, one, ("in the image", "no such subsection")))
        elif not any(x.minimum_version_id <= version <= x.version_id for x in choices):
            newest = max(x.version_id for x in choices)
            local = newest if version > newest else min(x.minimum_version_id for x in choices)
            says = "version-new" if version > newest else "version-old"
            holes: dict[str, int | str] = {"vmsd": name, "version": version, "local_version": local}
            words = f"version {version}", f"version {local}"
            found.append(_subsection(device, one, words, says, holes))
    return found


def _subsection(
    device: DeviceState,
    one: wire.SentSubsection,
    words: tuple[str, str],
    says: str = "subsection",
    holes: Mapping[str, int | str] | None = None,
) -> Misfit:
    name = one.structure.vmsd_name
    message = f"subsection {name!r}"
    return Misfit(
        Kind.SUBSECTION, device, one.start, one.path, message, *words, says, holes or {}, name
    )


# -- fields ---------------------------------------------------------------------------------------


def _layouts(device: DeviceState, sent: Structure, known: Sequence[KnownVmstate]) -> list[Misfit]:
    """Why a device's fields are not as long as those of any structure that is known."""
    length = wire.fields_length(sent)
    found = []
    for one in known:
        lengths = _lengths(one, sent, device.version_id, {})
        if lengths is None or length in lengths:
            return []
        found.append(_other_length(device, sent, one))
    return found[:1]


#: What was worked out of structures inside: many are alike.
_Memo = dict[tuple[int, int], "frozenset[int] | None"]


def _lengths(
    known: KnownVmstate, sent: Structure | None, version: int, memo: _Memo
) -> frozenset[int] | None:
    """Bytes that a structure can have on the wire, without subsections; None: any number.

    sent is what the image has in its place.  A field that is missing there may be an array without
    elements.
    """
    found = frozenset([0])
    numbers = _by_name(sent) if sent else {}
    for name, field in known.described_fields().items():
        if field.version_id > version:
            continue
        sizes = _sizes(field, numbers.get(name) or numbers.get(field.name, []), memo)
        if sizes is None:
            return None
        found = frozenset(total + size for total in found for size in sizes)
        if len(found) > _SUMS_CEILING:
            return None
    return found


_Sent = tuple["Field", "Structure | None"]


def _by_name(sent: Structure) -> dict[str, list[_Sent]]:
    """Fields with what is inside them; elements that were sent apart share their name."""
    found: dict[str, list[_Sent]] = {}
    for field, nested in zip(sent.fields, sent.nested, strict=True):
        found.setdefault(field.name, []).append((field, nested))
    return found


def _sizes(field: KnownField, sent: list[_Sent], memo: _Memo) -> frozenset[int] | None:
    """Bytes that a field can have."""
    optional = field.conditional or field.count is None
    if field.structure is not None:
        sizes = _structures(field.structure, field.count, sent, memo)
    elif field.size == 0:
        # QEMU finds out as it runs; so it is as long as it was sent.
        sizes = frozenset([sum(one.size * one.count for one, _ in sent)]) if sent else None
    else:
        own = sum(one.count for one, _ in sent) if sent else 1
        sizes = frozenset([field.size * (own if field.count is None else field.count)])
    if sizes is None or (not sent and optional):
        return None if sizes is None else sizes | {0}
    return sizes | {0} if field.conditional else sizes


def _structures(
    known: KnownVmstate, count: int | None, sent: list[_Sent], memo: _Memo
) -> frozenset[int] | None:
    """Bytes that structures in a row can have, as many as were sent where that is not fixed."""
    # A structure inside has no version on the wire: it is the receiver's.
    version = known.version_id
    numbers = [(one.count, nested) for one, nested in sent] or [(1, None)]
    if count is not None and sum(number for number, _ in numbers) != count:
        numbers = [(count, numbers[0][1])]
    found = frozenset([0])
    for number, nested in numbers:
        key = id(known), id(nested)
        if key not in memo:
            memo[key] = _lengths(known, nested, version, memo)
        inner = memo[key]
        if inner is None or (len(inner) > 1 and number > 1):
            return None
        found = frozenset(total + number * size for total in found for size in inner)
        if len(found) > _SUMS_CEILING:
            return None
    return found


def _other_length(device: DeviceState, sent: Structure, known: KnownVmstate) -> Misfit:
    there, names = known.described_fields(), dict.fromkeys(field.name for field in sent.fields)
    bare = {field.name for field in there.values()}
    extra = [name for name in names if name not in there and name not in bare]
    missing = [
        name
        for name, field in there.items()
        if name not in names and field.name not in names and not field.conditional
    ]
    name = next(iter((*extra, *missing)), "")
    if extra:
        words = "in the image", "no such field"
    elif missing:
        words = "no such field", "in every VM of that QEMU"
    else:
        words = f"{sent.size} bytes", "another length"
    message = f"field {name!r}" if name else "fields of another length"
    return Misfit(
        Kind.FIELDS, device, device.size, name, message, *words,
        "footer", item=name,
    )  # fmt: skip
