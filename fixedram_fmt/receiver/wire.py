"""Two layouts of one device, compared as the bytes that they are on the wire.

Names change between versions, and fields move into structures of their own, while the bytes stay:
what counts is the sizes of the fields in their order.  Upstream: migration/vmstate.c
vmstate_load_state(), which reads the receiver's fields one after the other, whatever was sent.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.vmstate.structure import fixed_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.structure import Structure

__all__ = [
    "Difference",
    "Effort",
    "Leaf",
    "SentSubsection",
    "contradicts",
    "differences",
    "fields_length",
    "is_same",
    "leaves",
    "subsections",
]

#: Leaves of a device that are looked at one by one; a CPU has some six hundred.
_LEAVES_CEILING = 1 << 15
#: Characters of their paths together.
_PATHS_CEILING = 1 << 22
#: For all devices of an image: structures and leaves that are looked at (elements of an array may
#: have no fields), and pairs of leaves that are aligned.  255 vCPUs have 150,000 leaves.
_STEPS_CEILING, _PAIRS_CEILING = 1 << 19, 1 << 22
#: Leaves that are aligned by name, which takes their square in time; of more only the first whose
#: length differs is told.
_ALIGNED_CEILING = 1 << 11


@dataclass(slots=True)
class Effort:
    """What comparing the devices of one image may still take."""

    steps: int = _STEPS_CEILING
    pairs: int = _PAIRS_CEILING


class Leaf(NamedTuple):
    """A field without fields of its own; number elements of size bytes each, start in the body."""

    path: str
    name: str
    type: str
    size: int
    number: int
    start: int
    vmsd: str

    @property
    def length(self) -> int:
        """Its bytes on the wire."""
        return self.size * self.number


class SentSubsection(NamedTuple):
    """A subsection: where its header and what follows that lie in the body, and whose it is."""

    path: str
    vmsd: str
    start: int
    body: int
    structure: Structure


class Difference(NamedTuple):
    """Where two layouts part: what only one has, or both with another length."""

    sent: Leaf | None
    own: Leaf | None


def is_same(a: Structure, b: Structure) -> bool:
    """Whether two structures are the same field by field, subsections included."""
    known: set[tuple[int, int]] = set()
    pending = [(a, b)]
    while pending:
        one, other = pending.pop()
        if one is other or (id(one), id(other)) in known:
            continue
        known.add((id(one), id(other)))
        if one.size != other.size or len(one.fields) != len(other.fields):
            return False
        if len(one.subsections) != len(other.subsections):
            return False
        for x, y in zip(one.fields, other.fields, strict=True):
            if (x.name, x.type, x.size, x.array_len) != (y.name, y.type, y.size, y.array_len):
                return False
        for left, right in zip(one.nested, other.nested, strict=True):
            if (left is None) is not (right is None):
                return False
            if left is not None and right is not None:
                pending.append((left, right))
        for child, twin in zip(one.subsections, other.subsections, strict=True):
            if child.structure.vmsd_name != twin.structure.vmsd_name:
                return False
            pending.append((child.structure, twin.structure))
    return True


def leaves(structure: Structure, effort: Effort | None = None) -> list[Leaf] | None:
    """The fields of a structure as they lie on the wire, without subsections; None: too many."""
    found: list[Leaf] = []
    length = 0
    effort = effort or Effort()
    for steps, one in enumerate(_walk(structure)):
        effort.steps -= 1
        if isinstance(one, Leaf):
            found.append(one)
            length += len(one.path)
        if len(found) > _LEAVES_CEILING or length > _PATHS_CEILING:
            return None
        if steps > 2 * _LEAVES_CEILING or effort.steps < 0:
            return None
    return found


def contradicts(structure: Structure) -> bool:
    """Whether a number or a structure in it has a size that is not that of its type or fields.

    Such a description is wrong of itself.  What does not add up to its size has no nested structure
    (vmstate/description.py).
    """
    known: set[int] = set()
    pending = [structure]
    while pending:
        one = pending.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        for field, nested in zip(one.fields, one.nested, strict=True):
            if nested is not None:
                pending.append(nested)
            elif field.type == "struct" or fixed_size(field.type) not in (None, field.size):
                return True
        pending += [child.structure for child in one.subsections]
    return False


def fields_length(structure: Structure) -> int:
    """Bytes of all fields of a structure, without its subsections and those inside it."""
    if not structure.has_headers:
        return structure.size
    known: dict[int, int] = {}
    return _fields_length(structure, known)


def _fields_length(structure: Structure, known: dict[int, int]) -> int:
    found = known.get(id(structure))
    if found is None:
        pairs = zip(structure.fields, structure.nested, strict=True)
        found = known[id(structure)] = sum(
            field.count * (field.size if nested is None else _fields_length(nested, known))
            for field, nested in pairs
        )
    return found


def subsections(structure: Structure, effort: Effort | None = None) -> Iterator[SentSubsection]:
    """Every subsection in a structure, outer before inner."""
    effort = effort or Effort()
    if structure.has_headers:
        for one in islice(_walk(structure, into_subsections=True), _LEAVES_CEILING):
            effort.steps -= 1
            if effort.steps < 0:
                return
            if isinstance(one, SentSubsection):
                yield one


def _walk(
    structure: Structure, *, into_subsections: bool = False
) -> Iterator[Leaf | SentSubsection | None]:
    """Leaves and subsections in their order; None for each structure that is gone into."""
    pending: list[Iterator[Leaf | SentSubsection | tuple[Structure, str, int]]]
    pending = [_inside(structure, "", 0)]
    while pending:
        one = next(pending[-1], None)
        if one is None:
            pending.pop()
        elif isinstance(one, SentSubsection):
            yield one
            if into_subsections:
                pending.append(_inside(one.structure, one.path, one.body))
        elif isinstance(one, Leaf):
            yield one
        else:
            yield None
            pending.append(_inside(*one))


def _inside(
    structure: Structure, path: str, start: int
) -> Iterator[Leaf | SentSubsection | tuple[Structure, str, int]]:
    prefix = f"{path}/" if path else ""
    numbers: dict[str, int] = {}
    for field, nested, at in zip(
        structure.fields, structure.nested, structure.offsets, strict=True
    ):
        name = prefix + field.name
        if field.name in structure.lists:
            numbers[name] = number = numbers.get(name, -1) + 1
            name = f"{name}[{number}]"
        if nested is None:
            yield _leaf(structure, field, name, start + at)
            continue
        for one in range(field.count):
            inner = name if field.array_len is None else f"{name}[{one}]"
            yield nested, inner, start + at + one * field.size
    for header, body, child in structure.subsections:
        name = prefix + child.vmsd_name
        yield SentSubsection(name, structure.vmsd_name, start + header, start + body, child)


def _leaf(structure: Structure, field: Field, path: str, start: int) -> Leaf:
    return Leaf(path, field.name, field.type, field.size, field.count, start, structure.vmsd_name)


def differences(
    sent: Sequence[Leaf], own: Sequence[Leaf], effort: Effort | None = None
) -> list[Difference]:
    """What makes the wire of one longer or shorter than the other's; empty: as long."""
    if sum(leaf.length for leaf in sent) == sum(leaf.length for leaf in own):
        return []
    first = 0
    while first < min(len(sent), len(own)) and _key(sent[first]) == _key(own[first]):
        first += 1
    last = 0
    while last < min(len(sent), len(own)) - first and _key(sent[-1 - last]) == _key(own[-1 - last]):
        last += 1
    a, b = sent[first : len(sent) - last], own[first : len(own) - last]
    effort = effort or Effort()
    effort.pairs -= len(a) * len(b)
    if len(a) + len(b) > _ALIGNED_CEILING or effort.pairs < 0:
        return [_first(a, b)]
    return list(_aligned(a, b))


def _first(a: Sequence[Leaf], b: Sequence[Leaf]) -> Difference:
    """The first place where the lengths differ; taken together they do."""
    pairs = (Difference(*pair) for pair in zip_longest(a, b))
    return next(one for one in pairs if _length(one.sent) != _length(one.own))


def _length(leaf: Leaf | None) -> int:
    return 0 if leaf is None else leaf.length


def _key(leaf: Leaf) -> tuple[str, int]:
    return leaf.name, leaf.length


def _aligned(a: Sequence[Leaf], b: Sequence[Leaf]) -> Iterator[Difference]:
    matcher = SequenceMatcher(None, [*map(_key, a)], [*map(_key, b)], autojunk=False)
    for what, start_a, stop_a, start_b, stop_b in matcher.get_opcodes():
        if what == "equal":
            continue
        ones, others = list(a[start_a:stop_a]), list(b[start_b:stop_b])
        if sum(x.length for x in ones) == sum(x.length for x in others):
            continue
        names: dict[str, deque[Leaf]] = defaultdict(deque)
        for leaf in others:
            names[leaf.name].append(leaf)
        for leaf in ones:
            twin = names[leaf.name].popleft() if names[leaf.name] else None
            if twin is None or twin.length != leaf.length:
                yield Difference(leaf, twin)
        for leaf in others:
            if names[leaf.name] and names[leaf.name][0] is leaf:
                yield Difference(None, names[leaf.name].popleft())
