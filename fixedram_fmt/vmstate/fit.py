"""Makes a description fit a body that was saved at another time, or by a machine's twin.

Which subsections a device sends depends on its state, and each names itself in the stream; fields
do not.  So subsections are taken from the body, their structures by name from wherever they are
described; a body that then does not end where it should is not this description's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.schema.vmdesc import Field
from fixedram_fmt.vmstate.structure import Structure, subsection_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixedram_fmt.vmstate.budget import Budget

__all__ = ["fitted", "misfit"]

_SUBSECTION = bytes([SectionType.SUBSECTION])
#: Reading a header takes as long as looking at so many fields.
_HEADER_STEPS = 32


def misfit(structure: Structure, body: bytes) -> str:
    """Why a body is not what structure describes; empty where size and headers agree."""
    if structure.size != len(body):
        return f"the description gives it {structure.size} bytes, it has {len(body)}"
    for offset, child in structure.headers():
        header = subsection_header(child)
        if body[offset : offset + len(header)] != header:
            return (
                f"no subsection {child.vmsd_name!r} (version {child.version}) at {offset:#x} of it"
            )
    return ""


def fitted(
    structure: Structure,
    body: bytes,
    known: Mapping[str, Sequence[Structure]],
    budget: Budget,
) -> Structure | None:
    """structure with the subsections that body really has; None where that does not come out even.

    known has the structures of subsections by name, as descriptions give them.  budget is the
    image's: what all fitting may take.
    """
    try:
        fitter = _Fitter(body, known, budget)
        found, stop = fitter.fit(structure, 0)
    except (FormatError, RecursionError):
        return None
    return found if stop == len(body) else None


class _Fitter:
    def __init__(
        self, body: bytes, known: Mapping[str, Sequence[Structure]], budget: Budget
    ) -> None:
        self._body = body
        self._known = known
        self._budget = budget

    def fit(self, structure: Structure, at: int) -> tuple[Structure, int]:
        """The structure as it lies at offset at (itself, if nothing differs), and where it ends."""
        self._budget.step(len(structure.fields))
        stop = at
        fields: list[Field] = []
        nested: list[Structure | None] = []
        for field, child in zip(structure.fields, structure.nested, strict=True):
            if child is None:
                fields.append(field)
                nested.append(None)
                stop += field.size * field.count
            else:
                more, children, stop = self._elements(field, child, stop)
                fields += more
                nested += children
        subsections, stop = self._subsections(structure, stop)
        if fields == [*structure.fields] and subsections == [
            child.structure for child in structure.subsections
        ]:
            return structure, stop
        self._budget.make(len(fields) + len(subsections))
        found = Structure(structure.vmsd_name, structure.version, fields, nested, subsections)
        return found, stop

    def _elements(
        self, field: Field, child: Structure, at: int
    ) -> tuple[list[Field], list[Structure | None], int]:
        """A field of structures: as it is, or its elements one by one where they differ now."""
        stop = at
        for number in range(field.count):
            element, stop = self.fit(child, stop)
            if element is not child:
                return self._apart(field, child, number, at, (element, stop))
        return [field], [child], stop

    def _apart(
        self, field: Field, child: Structure, same: int, at: int, first: tuple[Structure, int]
    ) -> tuple[list[Field], list[Structure | None], int]:
        """Elements one by one: so many as the description has them, first, and the rest."""
        self._budget.make(field.count)
        sizes = [field.size] * same
        found: list[Structure | None] = [child] * same
        start = at + same * field.size
        element, stop = first
        while True:
            sizes.append(stop - start)
            found.append(element)
            if len(found) == field.count:
                break
            start = stop
            element, stop = self.fit(child, start)
        array = field.array_len is not None
        fields = [
            Field(
                name=field.name,
                type=field.type,
                size=size,
                index=number if array else field.index,
            )
            for number, size in enumerate(sizes)
        ]
        return fields, found, stop

    def _subsections(self, structure: Structure, at: int) -> tuple[list[Structure], int]:
        own = {child.structure.vmsd_name: child.structure for child in structure.subsections}
        found: list[Structure] = []
        while self._body[at : at + 1] == _SUBSECTION:
            self._budget.step(_HEADER_STEPS)
            try:
                header, length = stream.SUBSECTION.parse(self._body[at : at + 512], offset=at)
            except FormatError:
                break
            name = text(c_string(header.idstr))
            # vmstate_subsection_load(): one that is not this structure's belongs to the one around.
            if not name.startswith(structure.vmsd_name):
                break
            choices = [own[name]] if name in own else list(self._known.get(name, ()))
            choices = [child for child in choices if child.version == header.version_id]
            if not choices:
                break
            child, at = self.fit(choices[0], at + length)
            found.append(child)
        return found, at
