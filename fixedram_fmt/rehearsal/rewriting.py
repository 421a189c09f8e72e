"""What is known while arguments are rewritten, and what is told of that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.rehearsal.rehearsed import ChangedArgument

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Rewriting"]


@dataclass(slots=True)
class Rewriting:
    """Where relative names lead from, where QEMU may write, and what was found on the way.

    shared_blocks are names of blocks whose memory is not in the image; nodes are files of block
    nodes by the nodes' names.
    """

    folder: Path
    base: Path
    shared_blocks: frozenset[str] = frozenset()
    changes: list[ChangedArgument] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def tell(self, argument: str, instead: str, why: str) -> None:
        """Note a change."""
        self.changes.append(ChangedArgument(argument, instead, why))

    def doubt(self, sentence: str) -> None:
        """Note what is not certain, once."""
        if sentence not in self.doubts:
            self.doubts.append(sentence)

    def count(self, what: str) -> int:
        """0, 1, 2 ... for each kind of thing."""
        self._counts[what] += 1
        return self._counts[what] - 1

    def absolute(self, name: str) -> str:
        """A name as it is seen from the folder of the caller."""
        return str(self.base / name)

    def found(self, name: str) -> str:
        """The absolute name of a file that is there, or the name: QEMU looks in its own folders."""
        try:
            there = bool(name) and (self.base / name).exists()
        except (OSError, ValueError):
            there = False
        return self.absolute(name) if there else name
