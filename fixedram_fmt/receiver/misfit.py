"""One thing inside a device that the receiver would not take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["Kind", "Misfit"]


class Kind(StrEnum):
    """What does not fit."""

    VERSION = "version"
    FIELDS = "fields"
    CONFIG = "pci-config"
    VALUE = "value"
    SUBSECTION = "subsection"
    REGISTER = "register"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Misfit:
    """A difference inside a device that makes QEMU refuse it, or die of it.

    start is where it lies in the device's body, in bytes, at_end whether QEMU notices only when it
    has read all of that; path is inside the device, item what a table of properties knows it by.
    says is the key of QEMU's message (validation/messages.py), holes what stands in that; crash is
    how a QEMU dies that has no message.
    """

    kind: Kind
    device: DeviceState
    start: int
    path: str
    message: str
    found: str
    expected: str
    says: str = ""
    holes: Mapping[str, int | str] = field(default_factory=dict)
    item: str = ""
    crash: str = ""
    at_end: bool = False

    @property
    def met(self) -> int:
        """How far QEMU has come in the body when it notices."""
        return self.device.size if self.at_end else self.start

    @property
    def vmsd(self) -> str:
        """The device's name without its place."""
        return self.device.name.rpartition("/")[2]
