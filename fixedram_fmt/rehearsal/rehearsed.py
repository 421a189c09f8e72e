"""What came of a rehearsal, as data."""

from __future__ import annotations

from typing import Literal

from fixedram_fmt.diagnosis import Cause
from fixedram_fmt.results import Hex, Result, Unsigned

__all__ = [
    "Adapted",
    "ChangedArgument",
    "MemoryCompared",
    "MemoryDifference",
    "Rehearsal",
    "RehearsalPlan",
    "RehearsedBlock",
    "StartedQemu",
    "Status",
]  # fmt: skip

Status = Literal["completed", "failed", "crashed", "timeout", "not-started"]


class StartedQemu(Result, frozen=True):
    """The QEMU that was started last, all its arguments; version is None where it did not say."""

    version: str | None
    argv: tuple[str, ...]


class ChangedArgument(Result, frozen=True):
    """An argument that was not given to QEMU as it is: what stood there, what stands there now.

    instead is empty where it was left out.
    """

    argument: str
    instead: str
    why: str


class RehearsalPlan(Result, frozen=True):
    """What would be started: argv is whole but for the descriptors of the image and the monitor.

    changed are arguments that were made harmless, uncertain what the image does not tell of its VM.
    """

    hidden = frozenset({"words"})

    argv: tuple[str, ...]
    changed: tuple[ChangedArgument, ...]
    uncertain: tuple[str, ...]
    words: tuple[str, ...] = ()


class Adapted(Result, frozen=True):
    """What QEMU said, and what was changed for the next try."""

    message: str
    change: str


class MemoryDifference(Result, frozen=True):
    """The first byte that differs: offset in the block, guest-physical address, bytes from there.

    expected is what the image has, found what QEMU has.
    """

    block: str
    offset: Unsigned
    address: Unsigned
    expected: Hex
    found: Hex


class RehearsedBlock(Result, frozen=True):
    """A block, its used_length and how many of its bytes were compared; aliases count each."""

    name: str
    length: Unsigned
    compared: Unsigned
    equal: bool


class MemoryCompared(Result, frozen=True):
    """compared are bytes that were compared, total those that the guest's address space shows.

    notes say what could not be compared, or was not.  finished is false where some of it was to be
    compared and could not be read: no room for it, no time.
    """

    compared: Unsigned
    total: Unsigned
    blocks: tuple[RehearsedBlock, ...]
    difference: MemoryDifference | None
    notes: tuple[str, ...]
    finished: bool = True

    @property
    def equal(self) -> bool | None:
        """Whether QEMU has what the image has; None where not all that was to be was compared."""
        if self.difference is not None:
            return False
        return True if self.compared and self.finished else None


class Rehearsal(Result, frozen=True, kw_only=True):
    """How a real QEMU took an image.

    status: completed; failed (QEMU refused it); crashed (QEMU ended by itself); timeout;
    not-started (QEMU did not take the command line).  seconds are those of all tries.
    memory_equal is None where nothing was compared, or not all that was to be.  messages are QEMU's
    lines of the last try without its name, causes what they mean.  changed are arguments that were
    made harmless, adapted what --adapt changed, uncertain what the image does not tell of its VM.
    exit_code is that of a QEMU that ended by itself, negative where a signal did it.
    """

    path: str
    qemu: StartedQemu
    status: Status
    seconds: float
    memory_equal: bool | None
    memory: MemoryCompared | None
    messages: tuple[str, ...]
    causes: tuple[Cause, ...]
    adapted: tuple[Adapted, ...] = ()
    changed: tuple[ChangedArgument, ...] = ()
    uncertain: tuple[str, ...] = ()
    exit_code: int | None = None

    @property
    def restores(self) -> bool:
        """Whether the image was loaded, its memory looked at, and no byte seen to be another."""
        seen = self.memory is None or self.memory.finished
        return self.status == "completed" and self.memory_equal is not False and seen
