"""Disks that hold nothing: each is replaced by one of the same size that is no file.

QEMU loads no contents of disks, so that a device does not notice.  The size counts where it is in
the state (flash chips are RAM blocks of that size).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from fixedram_fmt.rehearsal.keyvalues import KeyValues

if TYPE_CHECKING:
    from fixedram_fmt.rehearsal.rewriting import Rewriting

__all__ = ["blockdev", "drive", "medium", "size_of"]

_QCOW2 = b"QFI\xfb"
#: null-co's own size where none is given.
_UNKNOWN = 1 << 30
#: What fits a drive of 3.5 inches, where the size of its medium is not known.
_FLOPPY = 2880 * 512
_NULL = frozenset({"null-co", "null-aio"})
_WHY = "no disk is opened: an empty one of the same size stands in for it"
_KEPT = ("if", "id", "index", "bus", "unit", "media", "node-name", "werror", "rerror", "readonly",
         "read-only", "auto-read-only")  # fmt: skip
#: Options that are a drive, with what they say of it besides its file.
_MEDIA: dict[str, dict[str, Any]] = {
    "hda": {"index": 0, "media": "disk"},
    "hdb": {"index": 1, "media": "disk"},
    "hdc": {"index": 2, "media": "disk"},
    "hdd": {"index": 3, "media": "disk"},
    "cdrom": {"index": 2, "media": "cdrom"},
    "fda": {"if": "floppy", "index": 0},
    "fdb": {"if": "floppy", "index": 1},
    "sd": {"if": "sd"},
    "mtdblock": {"if": "mtd"},
    "pflash": {"if": "pflash"},
}


def size_of(path: str, *, raw: bool = False) -> int | None:
    """Bytes of the disk in a file: what a qcow2's header says; None where that is not known."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            return None
        head = os.pread(fd, 32, 0)
        if head.startswith(_QCOW2) and len(head) == 32 and not raw:
            return int.from_bytes(head[24:32], "big")
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return None
    finally:
        os.close(fd)


def drive(rewriting: Rewriting, value: str) -> list[str]:
    """-drive: what it says of the place stays, what it says of the file does not."""
    given = KeyValues.of(value, "file")
    path = given.get("file", "filename", "file.filename")
    driver = given.get("driver", "format")
    if driver in _NULL or (path is None and driver is None):
        return ["-drive", value]
    flavour = given.get("if") or given.get("media") or ""
    made = {**given.only(*_KEPT), **_empty(rewriting, path, flavour, raw=driver == "raw")}
    text = str(KeyValues(made, ""))
    rewriting.tell(f"-drive {value}", f"-drive {text}", _WHY)
    return ["-drive", text]


def medium(rewriting: Rewriting, option: str, value: str) -> list[str]:
    """-hda FILE and the like, as the -drive that they are."""
    place = _MEDIA[option]
    made = {**place, **_empty(rewriting, value, str(place.get("if", "")), raw=False)}
    text = str(KeyValues(made, ""))
    rewriting.tell(f"-{option} {value}", f"-drive {text}", _WHY)
    return ["-drive", text]


def blockdev(rewriting: Rewriting, value: str) -> list[str]:
    """-blockdev: the node's name stays; one above others has the size of what its file says."""
    given = KeyValues.of(value, "driver")
    driver, node = given.get("driver"), given.get("node-name") or ""
    if driver in _NULL:
        return ["-blockdev", value]
    inner = given.members.get("file")
    nested = KeyValues(inner, "") if isinstance(inner, dict) else given
    path = nested.get("filename", "file.filename")
    below = given.get("file")
    if path is None and below in rewriting.nodes:
        path = rewriting.nodes[below]
    if path is not None:
        rewriting.nodes[node] = path
    # A protocol node below shows bytes, a format above it the disk.
    raw = driver in {"raw", "file", "host_device", "host_cdrom"}
    made = {
        "driver": "null-co",
        **given.only("node-name", "read-only", "auto-read-only"),
        **_empty(rewriting, path, "", raw=raw),
    }
    text = str(KeyValues(made, "driver", as_json=given.as_json))
    rewriting.tell(f"-blockdev {value}", f"-blockdev {text}", _WHY)
    return ["-blockdev", text]


def _empty(rewriting: Rewriting, path: str | None, flavour: str, *, raw: bool) -> dict[str, Any]:
    size = size_of(rewriting.absolute(path), raw=raw) if path else None
    if size is None:
        size = _FLOPPY if flavour == "floppy" else _UNKNOWN
        if path is not None:
            rewriting.doubt(f"the size of the disk {path!r} is not known, {size} is taken")
    return {"driver": "null-co", "size": size, "read-zeroes": True}
