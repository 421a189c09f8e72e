"""What the state of one image may cost, all its devices together.

A few bytes of a description can stand for millions of values, and a few thousand devices can each
stay below a limit of their own.  So values, the text of their paths and the steps of fitting are
counted over the image; a device that is over the rest is kept as bytes, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.structure import Structure

__all__ = ["Budget"]

#: Values that all devices of an image may have, elements of arrays counted as in Structure.weight;
#: 255 vCPUs have 120,000, a table of a pseries' IOMMU 33,000.
_WEIGHT_CEILING = 1 << 21
#: Characters that the paths of all these values may have.
_PATHS_CEILING = 1 << 28
#: Fields that fitting looks at: each is a step.
_STEPS_CEILING = 1 << 20
#: Fields and structures that fitting makes anew, and that stay.
_MADE_CEILING = 1 << 17


class Budget:
    """What is left for the devices of one image."""

    def __init__(self) -> None:
        self._weight: float = _WEIGHT_CEILING
        self._paths = _PATHS_CEILING
        self._steps = _STEPS_CEILING
        self._made = _MADE_CEILING

    def take(self, structure: Structure, path: str) -> None:
        """Account for the values of a device; FormatError where there is no room for them."""
        values = structure.values
        paths = structure.path_length + values * len(path)
        if structure.weight > self._weight or paths > self._paths:
            raise FormatError(
                f"its {values} values are more than is decoded of one image", path=path
            )
        self._weight -= structure.weight
        self._paths -= paths

    def step(self, fields: int) -> None:
        """Account for a look at so many fields of a structure; FormatError at the end."""
        self._steps -= 1 + fields
        if self._steps < 0:
            raise FormatError("fitting the descriptions of this image takes too many steps")

    def make(self, fields: int) -> None:
        """Account for a new structure with so many fields; FormatError at the end."""
        self._made -= 1 + fields
        if self._made < 0:
            raise FormatError("the descriptions of this image differ in too many places")
