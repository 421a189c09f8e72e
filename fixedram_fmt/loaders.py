"""Who loads images, as data: QEMU versions and the designs of the review, FORMAT 8 and 9.

Upstream: migration/ram.c ram_load_precopy(), migration/multifd.c multifd_recv_sync_main(), and the
discussion of the sync of receive channels that led to what was merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

__all__ = [
    "DEFAULT_LIBVIRT", "DEFAULT_LOADER", "LOADERS", "Libvirt", "Loader", "LoaderName", "Outcome",
    "SyncPoint", "known_qemus", "loader_named", "qemu_versions",
]  # fmt: skip


class Outcome(StrEnum):
    """What a loader does with an image; a hang counts as a crash."""

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
class Libvirt:
    """What a libvirt takes: formats up to last_format (virQEMUSaveFormat).

    raw_through_fd: it hands QEMU a raw save as a file descriptor, which QEMU 11 refuses for files.
    unknown_format is what it says of a format beyond the last; qemu the version of QEMU that it was
    tried with, if that was one: libvirt starts whichever is installed.
    """

    last_format: int
    raw_through_fd: bool = False
    unknown_format: str = "unsupported save image format: {found}"
    qemu: str = ""


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
    #: Whether its last line holds what led to the error; otherwise each cause has its own line.
    joins_messages: bool
    #: Capabilities with which it reads a fixed layout.
    layouts: tuple[bytes, ...]
    #: The libvirt that starts QEMU by the XML in the file; None: QEMU is given the stream.
    libvirt: Libvirt | None = None

    @property
    def is_qemu(self) -> bool:
        """Whether it is a QEMU that was released, given the file itself."""
        return self.name.startswith("qemu-")

    @property
    def is_design(self) -> bool:
        """Whether it is a way to wait for channels rather than a program that someone runs."""
        return not self.is_qemu and self.libvirt is None

    @property
    def knows(self) -> str:
        """The version whose machines and devices it has, for `known_in`: `10.0`.

        A QEMU's is its own, a libvirt's that of its QEMU, that of designs the newest QEMU of their
        major version; empty: there is none, or it may be any.
        """
        if self.libvirt is not None:
            return self.libvirt.qemu
        qemus = [self] if self.is_qemu else [one for one in LOADERS.values() if one.is_qemu]
        same = [one.name.removeprefix("qemu-") for one in qemus if one.major == self.major]
        return same[-1] if same else ""


_MERGED = frozenset({SyncPoint.MEM_SIZE})
_FLUSH = frozenset({SyncPoint.FLUSH})
_EOS = frozenset({SyncPoint.EOS})
_REVIEWED = (b"fixed-ram", b"mapped-ram")
_LIBVIRT_9 = Libvirt(4, unknown_format="Invalid compressed save format {found}")


def _merged(name: str, text: str, major: int, libvirt: Libvirt | None = None) -> Loader:
    return Loader(
        name, text, major, released=True, syncs=_MERGED, syncs_property_on=_MERGED,
        syncs_again=True, takes_flush=False, joins_messages=major >= 11, layouts=(b"mapped-ram",),
        libvirt=libvirt,
    )  # fmt: skip


def _reviewed(name: str, text: str, off: frozenset[SyncPoint], on: frozenset[SyncPoint]) -> Loader:
    return Loader(
        name, text, 10, released=False, syncs=off, syncs_property_on=on,
        syncs_again=name != "fixed-ram-v4", takes_flush=True,
        joins_messages=False, layouts=_REVIEWED,
    )  # fmt: skip


_ALL = (
    _merged("qemu-10.0", "QEMU 10.0", 10),
    _merged("qemu-11.1", "QEMU 11.1", 11),
    _merged("libvirt-9.0", "virsh restore of libvirt 9.0", 10, _LIBVIRT_9),
    _merged("libvirt-11.3", "virsh restore of libvirt 11.3", 10, Libvirt(6, raw_through_fd=True)),
    _merged("libvirt-12.8", "virsh restore of libvirt 12.8", 11, Libvirt(6, qemu="11.1")),
    _merged("mapped-ram", "the design as merged: one sync after the list of blocks", 10),
    _reviewed("fixed-ram-v4", "review version 4: syncs at MULTIFD_FLUSH, once", _FLUSH, _FLUSH),
    _reviewed("reentrant", "syncs at every MULTIFD_FLUSH, or at EOS", _FLUSH, _FLUSH | _EOS),
    _reviewed("per-ram-load", "syncs at the end of every ram_load()", _EOS, _EOS),
)

#: By name; the real QEMUs first, older ones before newer ones.
LOADERS = {loader.name: loader for loader in _ALL}
#: A name of theirs, in results.
LoaderName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LOADERS)})]
#: The newest QEMU; the newest libvirt, which is asked about a libvirt save.
DEFAULT_LOADER = [loader.name for loader in _ALL if loader.is_qemu][-1]
DEFAULT_LIBVIRT = [loader.name for loader in _ALL if loader.libvirt][-1]


def qemu_versions() -> list[int]:
    """The major versions of QEMU that are known, the oldest first."""
    return sorted({loader.major for loader in LOADERS.values() if loader.is_qemu})


def known_qemus() -> str:
    """The same for a sentence: `QEMU 10 or 11`."""
    *others, newest = map(str, qemu_versions())
    return f"QEMU {', '.join(others)} or {newest}" if others else f"QEMU {newest}"


def loader_named(name: str) -> Loader:
    """The loader of that name; KeyError if there is none."""
    return LOADERS[name]
