"""The derived command line, as data."""

from __future__ import annotations

import shlex

from fixedram_fmt.results import Result

__all__ = ["CommandLine"]


class CommandLine(Result, frozen=True):
    """A QEMU that receives an image: program first, -incoming last.

    incoming are the arguments at the end of argv that make it load the image; uncertain says, a
    sentence each, which parts the image does not tell or only in part, and what to look at.
    firmware: bytes of a file for -bios that is not QEMU's own; any file of that length is right,
    the image has its content.  vm_uncertain leaves out that, and what concerns incoming.
    """

    hidden = frozenset({"incoming", "firmware", "vm_uncertain"})

    argv: tuple[str, ...]
    uncertain: tuple[str, ...]
    incoming: tuple[str, ...] = ()
    firmware: int | None = None
    vm_uncertain: tuple[str, ...] = ()

    @property
    def vm(self) -> tuple[str, ...]:
        """The arguments of the VM alone: without the program and without what loads the image."""
        return self.argv[1 : len(self.argv) - len(self.incoming)]

    def __str__(self) -> str:
        """For a shell: an option a line, with what belongs to it."""
        lines: list[list[str]] = []
        for word in self.argv:
            if not lines or word.startswith("-"):
                lines.append([])
            lines[-1].append(word)
        return " \\\n    ".join(shlex.join(line) for line in lines)
