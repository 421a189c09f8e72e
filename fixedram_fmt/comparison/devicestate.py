"""The device state of two images, value by value; only what differs is decoded.

Devices are matched by name and instance, values by path.  Bytes that are equal are not looked at
again, whatever their description says; elements of arrays are found by comparing the bytes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fixedram_fmt.comparison.result import Change, StateDiff, ValueDiff
from fixedram_fmt.comparison.structurediff import numbered
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.vmstate.structure import BODY_CEILING
from fixedram_fmt.vmstate.values import Value, children, element

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.paths import Pattern
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState

    _Sides = tuple[Value | None, Value | None]

__all__ = ["compare_states", "state_diff", "states_of"]

#: Where counting stops: a hostile image has millions of values.
_CEILING = 1 << 16
_PIECE = 1 << 20
#: A value of up to so many bytes is kept whole, of a longer one a row where it begins to differ.
_KEPT = 4096
_ROW = 16
#: Compared as a part of the structure.
_CONFIGURATION = -1


def states_of(a: Image, b: Image) -> tuple[MachineState, MachineState]:
    """The states of both; one without a description is read by the other's."""
    from fixedram_fmt.vmstate.description import Description
    from fixedram_fmt.vmstate.machine import machine_state

    states = []
    for image, other in ((a, b), (b, a)):
        state = image.state
        if image.vmdesc is None and other.vmdesc is not None:
            try:
                donor = Description.of_image(other)
            except FixedRamError:
                donor = None
            if donor is not None:
                state = machine_state(image, donor=donor)
        states.append(state)
    return states[0], states[1]


def state_diff(
    a: MachineState, b: MachineState, ignore: Sequence[Pattern] = (), limit: int | None = None
) -> StateDiff:
    """compare_states() counted, as many values kept as limit says."""
    walk = _Walk(ignore)
    found = islice(walk.machines(a, b), _CEILING + 1)
    values: list[ValueDiff] = []
    devices = set()
    total = 0
    for one, device in found:
        total += 1
        devices.add(device)
        if limit is None or len(values) < limit:
            values.append(one)
    more = total > _CEILING
    return StateDiff(min(total, _CEILING), len(devices), walk.ignored, more, tuple(values))


def compare_states(
    a: MachineState, b: MachineState, ignore: Sequence[Pattern] = ()
) -> Iterator[ValueDiff]:
    """Every value that differs, in the order of A's stream, then what only B has."""
    for one, _ in _Walk(ignore).machines(a, b):
        yield one


class _Walk:
    """Goes through two machines side by side; ignored counts what differed and did not count."""

    def __init__(self, ignore: Sequence[Pattern]) -> None:
        self._ignore = tuple(ignore)
        self.ignored = 0

    def machines(self, a: MachineState, b: MachineState) -> Iterator[tuple[ValueDiff, str]]:
        """Differences, each with its device's path.

        Devices that only one has are told as structure, with all that is in them.
        """
        in_a, in_b = (
            numbered(
                (one for one in state.devices if one.section_id != _CONFIGURATION),
                lambda device: (device.name, device.instance_id),
            )
            for state in (a, b)
        )
        for key, one in in_a.items():
            other = in_b.get(key)
            if other is not None:
                for found in self._devices(one, other):
                    yield found, one.path

    def _devices(self, a: DeviceState, b: DeviceState) -> Iterator[ValueDiff]:
        first, number = _bytes_differing(a, b)
        if a.size == b.size and not number:
            return
        if self._is_ignored(a.root):
            return
        undecoded = a.structure is None or b.structure is None
        if undecoded or max(a.size, b.size) > BODY_CEILING:
            note = f"{number:,} bytes differ, from byte {first:#x} on"
            if a.size != b.size:
                note = f"{a.size:,} bytes, {b.size:,} bytes; {note}"
            yield ValueDiff(
                a.path, "bytes", Change.CHANGED, size=a.size,
                offset_a=a.offset + first, offset_b=b.offset + first, note=note,
            )  # fmt: skip
            return
        yield from self._values(a.root, b.root)

    def _values(self, a: Value, b: Value) -> Iterator[ValueDiff]:
        """Depth first, without recursion: descriptions nest deep."""
        pending: list[Iterator[_Sides]] = [iter([(a, b)])]
        while pending:
            pair = next(pending[-1], None)
            if pair is None:
                pending.pop()
                continue
            one, other = pair
            told = one if one is not None else other
            if told is None or _equal(one, other) or self._is_ignored(told):
                continue
            if one is None or other is None:
                yield _only(told, Change.ONLY_B if one is None else Change.ONLY_A)
            elif one.is_array and other.is_array and one.parts is None and other.parts is None:
                pending.append(_elements(one, other))
                if one.size != other.size and _counts(one) != _counts(other):
                    yield _lengths(one, other)
            elif one.is_leaf or other.is_leaf:
                yield _changed(one, other)
            else:
                pending.append(_members(one, other))

    def _is_ignored(self, value: Value) -> bool:
        if not self._ignore:
            return False
        device = value.device
        below = value.path[len(device.path) :]
        names = [value.path, *(name + below for name in device.names)]
        if any(pattern.matches(*names) for pattern in self._ignore):
            self.ignored += 1
            return True
        return False


def _bytes_differing(a: DeviceState, b: DeviceState) -> tuple[int, int]:
    """The first byte that differs, and how many do; where only one has bytes all of them do."""
    import numpy as np

    common = min(a.size, b.size)
    first, number = -1, max(a.size, b.size) - common
    for start in range(0, common, _PIECE):
        length = min(_PIECE, common - start)
        one, other = a.read(start, length), b.read(start, length)
        if one == other:
            continue
        odd = np.flatnonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8))
        number += odd.size
        first = start + int(odd[0]) if first < 0 else first
    return (common if first < 0 else first), number


def _equal(a: Value | None, b: Value | None) -> bool:
    return a is not None and b is not None and a.size == b.size and a.raw == b.raw


def _members(a: Value, b: Value) -> Iterator[_Sides]:
    """Values inside two structures (or split arrays), matched by name; then what only b has."""
    in_a, in_b = (
        numbered(children(value), lambda child: child.path[len(value.path) :])  # noqa: B023
        for value in (a, b)
    )
    for name, one in in_a.items():
        yield one, in_b.get(name)
    for name, other in in_b.items():
        if name not in in_a:
            yield None, other


def _counts(array: Value) -> int:
    return array.field.count if array.field is not None else 0


def _elements(a: Value, b: Value) -> Iterator[_Sides]:
    """The elements of two arrays that differ, found by their bytes."""
    import numpy as np

    common = min(_counts(a), _counts(b))
    sizes = [array.field.size if array.field is not None else 0 for array in (a, b)]
    if sizes[0] != sizes[1] or not sizes[0]:
        which: Any = range(common)
    else:
        length = common * sizes[0]
        one, other = (np.frombuffer(value.raw[:length], np.uint8) for value in (a, b))
        which = np.flatnonzero((one != other).reshape(common, -1).any(axis=1))
    for number in which:
        yield element(a, int(number)), element(b, int(number))


def _decoded(value: Value) -> Any:
    try:
        return value.value
    except FixedRamError as error:
        return f"({error.message})"


def _changed(a: Value, b: Value) -> ValueDiff:
    one, other = _decoded(a), _decoded(b)
    note, first = "", 0
    if isinstance(one, bytes) and isinstance(other, bytes) and max(a.size, b.size) > _ROW:
        odd = [at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y]
        first = odd[0] // _ROW * _ROW if odd else min(a.size, b.size)
        number = len(odd) + abs(a.size - b.size)
        note = f"{number:,} of {max(a.size, b.size):,} bytes differ"
        if max(a.size, b.size) > _KEPT:
            one, other = one[first : first + _ROW], other[first : first + _ROW]
            note += f", here from byte {first:#x} on"
    return ValueDiff(
        a.path, a.type, Change.CHANGED, one, other, a.offset, b.offset, note or None, a.size
    )


def _lengths(a: Value, b: Value) -> ValueDiff:
    note = f"{_counts(a):,} elements, {_counts(b):,} elements"
    return ValueDiff(
        a.path, a.type, Change.CHANGED,
        size=a.size, offset_a=a.offset, offset_b=b.offset, note=note,
    )  # fmt: skip


def _only(value: Value, change: Change) -> ValueDiff:
    """A value of one image; of a structure only that it is there."""
    short = value.is_leaf and value.size <= _KEPT
    content = _decoded(value) if short else None
    note = "" if short else f"{value.type}, {value.size:,} bytes"
    in_a = change is Change.ONLY_A
    return ValueDiff(
        value.path,
        value.type,
        change,
        content if in_a else None,
        None if in_a else content,
        value.offset if in_a else None,
        None if in_a else value.offset,
        note or None,
        value.size,
    )
