"""All real images there are, samples and shared ones, by name; unpacked once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conftest import SAMPLES, SHARED, absent, sample_entries, shared_entries, unpack

if TYPE_CHECKING:
    from pathlib import Path

_SHARED = {f"shared/{entry['name']}": entry for entry in shared_entries()}
_SAMPLES = {f"sample/{entry['name']}": entry for entry in sample_entries()}
if _SHARED:
    for _name in ("libvirt-fx-raw", "libvirt-fx-sparse"):
        _SHARED[f"shared/{_name}"] = {"file": f"{_name}.save.zst"}

ENTRIES: dict[str, dict[str, Any]] = {**_SAMPLES, **_SHARED}


#: Whole images with a fixed layout.
MAPPED = [
    name
    for name, entry in ENTRIES.items()
    if "mapped-ram" in entry.get("capabilities", ()) and entry["migration"] == "completed"
]


def location_of(name: str, folder: Path) -> str:
    """PATH, or PATH@OFFSET where nothing else tells; folder is the fixture unpacked_dir."""
    entry = ENTRIES[name]
    packed = (SHARED if name in _SHARED else SAMPLES) / entry["file"]
    # Shared ones lie there under the name that other tests give them too.
    prefix, _, plain = name.partition("/")
    path = unpack(packed, folder / f"{prefix}-{plain}")
    offset = 0 if plain.startswith("libvirt") else entry.get("stream_offset", 0)
    return f"{path}@{offset}" if offset else str(path)


def unpacked_case(name: str, folder: Path) -> Path:
    """A file of ../shared/cases; folder is the fixture unpacked_dir."""
    packed = SHARED.parent / "cases" / f"{name}.xz"
    if not packed.exists():
        absent(f"../shared/cases/{packed.name}")
    return unpack(packed, folder / f"case-{name}")


def without_description(source: Path, offset: int, target: Path) -> Path:
    """A copy of an image cut off right before its description, which begins at offset."""
    import os
    import shutil

    shutil.copyfile(source, target)
    os.truncate(target, offset)
    return target
