"""A Linux guest: the kernel of .ci/install-linux, and an initrd that says when it is up."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from qemu_vm import missing

__all__ = ["INIT_SAYS", "initrd", "kernel_of_linux"]

#: Where .ci/install-linux puts a kernel; one in /boot will do too.
_FETCHED = Path(os.environ.get("FIXEDRAM_LINUX", "/var/tmp/fixedram-linux"))
#: write(1, "init is up\n", 11), then pause() for ever.
_INIT = bytes.fromhex("b801000000 bf01000000 488d3510000000 ba0b000000 0f05 b822000000 0f05 ebf7")
#: What init says.
INIT_SAYS = b"init is up"


def _init_program() -> bytes:
    """An ELF program of one segment."""
    base, start = 0x400000, 64 + 56
    code = _INIT + INIT_SAYS + b"\n"
    size = start + len(code)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def _cpio(files: list[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """An archive of the form that the kernel unpacks: names, modes, contents, device numbers."""
    out = b""
    for number, (name, mode, content, device) in enumerate(
        [*files, ("TRAILER!!!", 0, b"", (0, 0))]
    ):
        values = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        entry = b"070701" + b"".join(b"%08x" % value for value in values) + name.encode() + b"\0"
        entry += bytes(-len(entry) % 4) + content
        out += entry + bytes(-len(entry) % 4)
    return out


def initrd() -> bytes:
    """An initrd whose init says INIT_SAYS on the console and waits."""
    return _cpio(
        [
            ("dev", 0o40755, b"", (0, 0)),
            ("dev/console", 0o20600, b"", (5, 1)),
            ("init", 0o100755, _init_program(), (0, 0)),
        ]
    )


def kernel_of_linux() -> str:
    """Path of the kernel; skips (or fails) the running test when there is none."""
    kernels = [*_FETCHED.glob("boot/vmlinuz-*"), *Path("/boot").glob("vmlinuz-*-amd64")]
    kernel = next((str(path) for path in kernels if os.access(path, os.R_OK)), None)
    if kernel is None:
        missing("there is no Linux kernel: .ci/install-linux fetches one")
    return kernel
