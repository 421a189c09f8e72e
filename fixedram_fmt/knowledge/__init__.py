"""What each QEMU has: its machines, and the structures in which its devices keep their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.knowledge.dumps import Dump, is_dump, read_dump
    from fixedram_fmt.knowledge.known import Known, known_in, known_versions
    from fixedram_fmt.knowledge.machinelist import Machine
    from fixedram_fmt.knowledge.vmstates import KnownField, KnownVmstate

__all__ = [
    "Dump", "Known", "KnownField", "KnownVmstate", "Machine", "is_dump", "known_in",
    "known_versions", "read_dump",
]  # fmt: skip

__getattr__ = importer(
    __name__,
    {
        **dict.fromkeys(("Dump", "is_dump", "read_dump"), "dumps"),
        **dict.fromkeys(("Known", "known_in", "known_versions"), "known"),
        "Machine": "machinelist",
        **dict.fromkeys(("KnownField", "KnownVmstate"), "vmstates"),
    },
)
