"""The arguments of a VM, as something that can be changed between tries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.errors import SourceError
from fixedram_fmt.rehearsal.harmless import options_of
from fixedram_fmt.rehearsal.keyvalues import KeyValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

__all__ = ["Vm", "blank_file"]

#: The key of a first word without `=`.
_FIRST = {"machine": "type", "M": "type", "device": "driver", "m": "size", "smp": "cpus",
          "global": "", "cpu": "model"}  # fmt: skip


def blank_file(folder: Path, length: int) -> str:
    """A file of zeros in folder; its name.  SourceError where there is no room."""
    path = folder / f"zeros-{length}"
    try:
        with path.open("wb") as file:
            file.truncate(length)
    except OSError as error:
        raise SourceError(f"no file of {length} zeros: {error.strerror}") from error
    return str(path)


@dataclass(slots=True)
class Vm:
    """Options and values in their order; accel and capabilities are what the rehearsal adds.

    folder is where files may be made.
    """

    options: list[tuple[str, str | None]]
    accel: str
    folder: Path
    capabilities: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, words: Sequence[str], accel: str, folder: Path) -> Self:
        """What arguments say; UnsupportedError as harmless() raises it."""
        return cls(list(options_of(words)), accel, folder)

    @property
    def words(self) -> list[str]:
        """As arguments."""
        made = []
        for name, value in self.options:
            made += [f"-{name}"] if value is None else [f"-{name}", value]
        return made

    def values(self, *names: str) -> Iterator[tuple[int, KeyValues]]:
        """The values of these options, with their places."""
        for place, (name, value) in enumerate(self.options):
            if name in names and value is not None:
                yield place, KeyValues.of(value, _FIRST.get(name, ""))

    def replace(self, place: int, value: KeyValues) -> str:
        """Put another value there; the argument as it is now."""
        self.options[place] = (self.options[place][0], str(value))
        return f"-{self.options[place][0]} {value}"

    def set(self, name: str, key: str, value: str) -> str:
        """Set a key of an option's last value, or add the option; the argument as it is now."""
        found = list(self.values(name, "M") if name == "machine" else self.values(name))
        if not found:
            return self.add(name, value if _FIRST.get(name) == key else f"{key}={value}")
        place, members = found[-1]
        members.members[key] = value
        return self.replace(place, members)

    def add(self, name: str, value: str) -> str:
        """Add an option; the argument."""
        self.options.append((name, value))
        return f"-{name} {value}"

    def blank(self, length: int) -> str:
        """The name of a file of zeros of that length, for what the image fills when loaded."""
        return blank_file(self.folder, length)

    def remove(self, place: int) -> str:
        """Take an option away; what is said of that."""
        name, value = self.options.pop(place)
        return f"without -{name} {value}"
