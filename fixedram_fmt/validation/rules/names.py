"""What may be said of names: they are data, and may be anything."""

from __future__ import annotations

from fixedram_fmt.schema.base import text

__all__ = ["is_safe_path", "shown"]

_SHOWN = 60


def is_safe_path(name: bytes) -> bool:
    """Whether files named after a name would stay in their folder.

    QEMU's own names have slashes (`/rom@etc/acpi/tables`); steps out of the folder they have not.
    """
    return b".." not in name.split(b"/") and b"\0" not in name


def shown(name: bytes) -> str:
    """A name for a message: quoted, cut short when it is long."""
    whole = text(name)
    return repr(whole if len(whole) <= _SHOWN else whole[:_SHOWN] + "...")
