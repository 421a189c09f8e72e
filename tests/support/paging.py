"""Page tables for small guests, and what QEMU makes of their addresses (HMP gva2gpa)."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.memory import PhysicalMemory
from fixedram_fmt.memory.paging import registers_of, translate
from qemu_vm import QemuVM, require_qemu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ADDRESSES", "MIB", "Tables", "ask", "compare", "gva2gpa", "save"]

MIB = 1 << 20
ADDRESSES = 400


class Tables:
    """Page tables of size-byte entries in one piece of memory at base, linked at random."""

    def __init__(self, base: int, entry: int, chance: random.Random) -> None:
        self.base, self.entry, self.chance = base, entry, chance
        self.data = bytearray()

    def table(self, entries: int, align: int) -> int:
        """A new empty table; its address."""
        self.data += bytes(-len(self.data) % align)
        at = self.base + len(self.data)
        self.data += bytes(entries * self.entry)
        return at

    def set(self, table: int, index: int, value: int) -> None:
        at = table - self.base + index * self.entry
        self.data[at : at + self.entry] = value.to_bytes(self.entry, "little")


def ask(
    tmp_path: Path,
    arch: str,
    arguments: Sequence[str],
    where: tuple[int, int],
    ready: str,
    addresses: Sequence[int],
) -> dict[int, int | None]:
    """Run `code` until its registers show ready; QEMU's answers, and the image saved."""
    with QemuVM(require_qemu(arch), cwd=tmp_path) as vm:
        vm.start(
            ("-S", "-accel", "tcg", *arguments, "-m", "64",
             "-device", f"loader,file=code,addr={where[0]},cpu-num=0,force-raw=on",
             "-device", f"loader,file=tables,addr={where[1]},force-raw=on")
        )  # fmt: skip
        vm.cont()
        for _ in range(200):
            if ready in vm.hmp("info registers"):
                break
            time.sleep(0.02)
        else:
            pytest.fail("the guest did not get that far")
        vm.stop()
        truth = {address: gva2gpa(vm, address) for address in addresses}
        save(vm, tmp_path / "image")
    return truth


def gva2gpa(vm: QemuVM, address: int) -> int | None:
    """What QEMU makes of a virtual address; None: unmapped."""
    answer = vm.hmp(f"gva2gpa {address:#x}")
    match = re.search(r"gpa: (?:0x)?([0-9a-f]+)", answer)
    assert match or "nmapped" in answer, answer
    return int(match[1], 16) if match else None


def save(vm: QemuVM, path: Path) -> None:
    vm.set_capabilities("mapped-ram")
    assert vm.migrate_to_file(path) == "completed"


def compare(path: Path, truth: dict[int, int | None]) -> None:
    with Image.open(path) as image:
        registers, memory = registers_of(image.state), PhysicalMemory(image)
        found = {address: translate(memory, registers, address) for address in truth}
    wrong = [
        f"{address:#x}: QEMU {gpa if gpa is None else hex(gpa)}, {found[address]}"
        for address, gpa in truth.items()
        if found[address].physical != gpa
    ]
    assert wrong == []
    mapped = sum(gpa is not None for gpa in truth.values())
    assert len(truth) > mapped > len(truth) // 20
    for answer in found.values():
        assert (answer.physical is None) == bool(answer.fault)
        assert len(answer.steps) <= 5
