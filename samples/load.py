"""Loads a mapped-ram image of a 16 MiB `pc` into a real QEMU and compares memory: for the demo.

python samples/load.py IMAGE
"""

from __future__ import annotations

import hashlib
import sys

from fixedram_fmt import Image
from qemu_vm import QemuVM, find_qemu

_MIB = 1 << 20
_GUEST = ("-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "pc", "-m", "16")


def memory_of(path: str) -> bytes:
    """The memory of the first block, absent pages zero."""
    with Image.open(path) as image:
        block = image.blocks[0]
        return image.memory(block).read(0, block.used_length)


def main() -> int:
    binary = find_qemu("x86_64")
    if binary is None:
        print("(no qemu-system-x86_64 here: install it to see the image loaded)")
        return 0
    try:
        import qemu.qmp  # noqa: F401
    except ImportError:
        print("(the Python package qemu.qmp is not here)")
        return 0
    path = sys.argv[1]
    with QemuVM(binary) as vm:
        vm.start((*_GUEST, "-incoming", "defer"))
        vm.set_capabilities("mapped-ram", "multifd")
        status = vm.incoming_from_file(path)
        theirs = hashlib.sha256(vm.pmemsave(_MIB, 16 * _MIB)).hexdigest()
        version = vm.qemu_version
    ours = hashlib.sha256(memory_of(path)[_MIB:]).hexdigest()
    print(f"QEMU {version}: load {status}")
    print(f"  memory from 1 MiB on in QEMU       sha256 {theirs[:32]}...")
    print(f"  memory from 1 MiB on in the image  sha256 {ours[:32]}...")
    return 0 if status == "completed" and ours == theirs else 1


if __name__ == "__main__":
    sys.exit(main())
