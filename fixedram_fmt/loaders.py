"""Who loads images, as data: QEMU versions and the designs of the review, FORMAT 5 and 6.

Upstream: migration/ram.c ram_load_precopy(), migration/multifd.c multifd_recv_sync_main(), and the
discussion of the sync of receive channels that led to what was merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DEFAULT_LOADER", "LOADERS", "Loader", "Outcome", "SyncPoint", "loader_named"]


class Outcome(StrEnum):
    """What a loader does with an image; a hang counts as a crash, nobody gets a guest from it."""

    LOADS = "loads"
    REFUSES = "refuses"
    WRONG_MEMORY = "wrong-memory"
    CRASHES = "crashes"


class SyncPoint(StrEnum):
    """Where a loader waits for its receive channels."""

    MEM_SIZE = "mem-size"
    FLUSH = "flush"
    EOS = "eos"


@dataclass(frozen=True, slots=True)
class Loader:
    """One receiver: what it waits for and what it takes.

    released tells a real QEMU (or the code as merged) from a design of the review; major is the
    version whose checks it does.  syncs are the records at which it waits for the channels with
    multifd_flush_after_each_section off, syncs_property_on those with it on.
    """

    name: str
    text: str
    major: int
    released: bool
    syncs: frozenset[SyncPoint]
    syncs_property_on: frozenset[SyncPoint]
    #: Whether channels that have synced can sync again; otherwise they quit at the first.
    syncs_again: bool
    #: Whether MULTIFD_FLUSH is a valid flag with a fixed layout.
    takes_flush: bool
    #: Capabilities with which it reads a fixed layout.
    layouts: tuple[bytes, ...]


_MERGED = frozenset({SyncPoint.MEM_SIZE})
_FLUSH = frozenset({SyncPoint.FLUSH})
_EOS = frozenset({SyncPoint.EOS})
_REVIEWED = (b"fixed-ram", b"mapped-ram")


def _merged(name: str, text: str, major: int) -> Loader:
    return Loader(
        name, text, major, released=True, syncs=_MERGED, syncs_property_on=_MERGED,
        syncs_again=True, takes_flush=False, layouts=(b"mapped-ram",),
    )  # fmt: skip


def _reviewed(name: str, text: str, off: frozenset[SyncPoint], on: frozenset[SyncPoint]) -> Loader:
    return Loader(
        name, text, 10, released=False, syncs=off, syncs_property_on=on,
        syncs_again=name != "fixed-ram-v4", takes_flush=True, layouts=_REVIEWED,
    )  # fmt: skip


_ALL = (
    _merged("qemu-10.0", "QEMU 10.0", 10),
    _merged("qemu-11.1", "QEMU 11.1", 11),
    _merged("mapped-ram", "the design as merged: one sync behind the list of blocks", 10),
    _reviewed("fixed-ram-v4", "review version 4: syncs at MULTIFD_FLUSH, once", _FLUSH, _FLUSH),
    _reviewed("reentrant", "syncs at every MULTIFD_FLUSH, or at EOS", _FLUSH, _FLUSH | _EOS),
    _reviewed("per-ram-load", "syncs at the end of every ram_load()", _EOS, _EOS),
)

#: By name; the real QEMUs first.
LOADERS = {loader.name: loader for loader in _ALL}
DEFAULT_LOADER = "qemu-11.1"


def loader_named(name: str) -> Loader:
    """The loader of that name; KeyError if there is none."""
    return LOADERS[name]
