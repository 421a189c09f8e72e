"""How hosts store the longs of a bitmap: byte order and length, and the way between them."""

from __future__ import annotations

from array import array
from enum import Enum

__all__ = ["HostLong", "swapped"]


class HostLong(Enum):
    """How the saving host stores an unsigned long: bytes, and array typecode to swap, if any."""

    LITTLE_64 = ("little", 8)
    BIG_64 = ("big", 8)
    LITTLE_32 = ("little-32", 4)
    BIG_32 = ("big-32", 4)

    @classmethod
    def from_label(cls, label: str) -> HostLong:
        """The member that users call label; KeyError if there is none."""
        return {member.label: member for member in cls}[label]

    @property
    def label(self) -> str:
        """What users call it: little, big, little-32, big-32."""
        return self.value[0]

    @property
    def size(self) -> int:
        """Bytes of one long."""
        return self.value[1]

    @property
    def big_endian(self) -> bool:
        """Whether the most significant byte comes first."""
        return self in (HostLong.BIG_64, HostLong.BIG_32)


def swapped(data: bytes, host_long: HostLong) -> bytes:
    """data between little-endian order and that of host_long, which is its own inverse."""
    if not host_long.big_endian:
        return data
    longs = array("Q" if host_long.size == 8 else "I")
    longs.frombytes(data)
    longs.byteswap()
    return longs.tobytes()
