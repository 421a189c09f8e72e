"""The containers that are known by their first bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.compressed import Compressed
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.container.qcow2state import QcowState
from fixedram_fmt.container.xen import XenSave

if TYPE_CHECKING:
    from fixedram_fmt.container.wrapper import Recognized

__all__ = ["HEAD", "WRAPPERS", "wrapper_of"]

#: Bytes by which one is recognised.
HEAD = 32

#: The first that says "mine" is asked.
WRAPPERS: list[type[Recognized]] = [Compressed, LibvirtSave, QcowState, XenSave]


def wrapper_of(head: bytes) -> type[Recognized] | None:
    """What bytes that begin with head are; None for none of these."""
    return next((wrapper for wrapper in WRAPPERS if wrapper.recognizes(head)), None)
