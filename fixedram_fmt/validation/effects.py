"""What a finding makes a loader do: FORMAT 9, 13; held against real QEMU by interop tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome

if TYPE_CHECKING:
    from fixedram_fmt.validation.message import Holes

__all__ = ["IN_CHANNELS", "Effect", "Phase", "crashes", "refuses", "wrong"]

#: What a fault of the receive channels looks like.
IN_CHANNELS = "the channels' error path dies or hangs on the way to its message"


class Phase(IntEnum):
    """Which check it is that a finding meets, in the order in which a loader makes them.

    It decides between findings at one record; in one phase the order is that of areas and numbers.
    """

    #: virsh restore, before it starts QEMU.
    LIBVIRT_HEADER = auto()
    LIBVIRT_XML = auto()
    LIBVIRT_FORMAT = auto()
    LIBVIRT_START = auto()
    #: What is checked while a record is read.
    RECORD = auto()
    #: How the stream would have to come, once the configuration has been compared.
    CHANNELS = auto()
    #: migration/ram.c parse_ramblocks(), parse_ramblock(), parse_ramblock_mapped_ram().
    BLOCK_NAME = auto()
    BLOCK_ENTRY = auto()
    BLOCK_HEADER = auto()
    BITMAP_ALLOCATION = auto()
    ALIGNMENT = auto()
    BITMAP = auto()
    PAGE_RANGE = auto()
    PAGE_READ = auto()
    #: What the stream goes on with after a block, after the list, and where an offset leads.
    AFTER_BLOCK = auto()
    AFTER_LIST = auto()
    OFFSET_RANGE = auto()
    AFTER_PAGES = auto()
    #: No check at all: memory is another's, or is left as it is.
    MEMORY = auto()
    #: What QEMU finds after virsh restore has started it by the XML.
    RESTORED = auto()


@dataclass(frozen=True, slots=True)
class Effect:
    """What a loader does without channels, and with multifd where that differs.

    says is the key of QEMU's message, holes what the finding itself does not fill in; text is what
    happens where QEMU has no word for it.
    """

    outcome: Outcome
    says: str = ""
    holes: Holes = field(default_factory=dict)
    text: str = ""
    multifd: Outcome | None = None


def refuses(says: str, **holes: int | str) -> Effect:
    """The loader stops with a message of the table."""
    return Effect(Outcome.REFUSES, says, holes)


def wrong(text: str) -> Effect:
    """The loader goes on, and the guest's memory or state is not what it was."""
    return Effect(Outcome.WRONG_MEMORY, text=text)


def crashes(text: str) -> Effect:
    """The loader dies or hangs without a message of its own."""
    return Effect(Outcome.CRASHES, text=text)
