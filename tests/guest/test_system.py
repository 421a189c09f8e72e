"""What is told of guests: without a kernel, and of VMCOREINFO that is odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import SAMPLES, run_cli, unpack
from fixedram_fmt.guest.kernelmemory import kernel_memory, page_levels, physical_address
from fixedram_fmt.guest.vmcoreinfo import VmCoreInfo
from fixedram_fmt.memory.block import AddressError, Readable


class Nothing(Readable):
    """Memory without a byte."""

    size = 0

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        raise AddressError("nothing is here")


def test_lines_are_values_by_their_names() -> None:
    info = VmCoreInfo.parse(
        b"OSRELEASE=6.1\nKERNELOFFSET=35000000\nNUMBER(a)=-2\nNUMBER(b)=0x10\n"
        b"SIZE(s)=9\nOFFSET(s.m)=4\nSYMBOL(x)=ffffffff81000000\nno line\n=\n"
    )
    assert info.text("OSRELEASE") == "6.1"
    assert info.hexadecimal("KERNELOFFSET") == 0x35000000
    assert (info.number("a"), info.number("b")) == (2**64 - 2, 16)
    assert (info.size("s"), info.offset("s.m"), info.symbol("x")) == (9, 4, 0xFFFFFFFF81000000)


@pytest.mark.parametrize("value", ["", "x", "1" * 5000, "0x", "1_0x", "\x1b[2J", "nan"])
def test_numbers_that_are_none_are_not_known(value: str) -> None:
    info = VmCoreInfo({"SYMBOL(x)": value, "NUMBER(x)": value, "SIZE(x)": value})
    assert (info.symbol("x"), info.number("x"), info.size("x")) == (None, None, None)


def test_addresses_of_the_image_lie_where_the_kernel_says() -> None:
    info = VmCoreInfo({"NUMBER(phys_base)": "16777216"})
    assert physical_address(info, "x86", 0xFFFFFFFF81000000) == 0x2000000
    info = VmCoreInfo({"NUMBER(phys_base)": "-16777216"})
    assert physical_address(info, "x86", 0xFFFFFFFF81000000) == 0
    info = VmCoreInfo({"NUMBER(kimage_voffset)": "0xffff800000000000"})
    assert physical_address(info, "aarch64", 0xFFFF800040200000) == 0x40200000
    assert physical_address(info, "s390x", 0) is None


@pytest.mark.parametrize(
    ("values", "architecture", "levels"),
    [
        ({"NUMBER(pgtable_l5_enabled)": "1"}, "x86", 5),
        ({"NUMBER(pgtable_l5_enabled)": "0"}, "x86", 4),
        ({"NUMBER(VA_BITS)": "48", "PAGESIZE": "4096"}, "aarch64", 4),
        ({"NUMBER(VA_BITS)": "39", "PAGESIZE": "4096"}, "riscv", 3),
        ({"NUMBER(VA_BITS)": "42", "PAGESIZE": "65536"}, "aarch64", 2),
        ({"NUMBER(VA_BITS)": "48", "PAGESIZE": "0"}, "aarch64", None),
        ({}, "x86", None),
        ({}, "s390x", None),
    ],
)
def test_levels_of_page_tables(
    values: dict[str, str], architecture: str, levels: int | None
) -> None:
    assert page_levels(VmCoreInfo(values), architecture) == levels


@pytest.mark.parametrize("architecture", ["x86", "aarch64", "riscv", "s390x", ""])
def test_memory_of_a_kernel_that_tells_too_little_is_not_read(architecture: str) -> None:
    assert kernel_memory(VmCoreInfo({}), architecture, Nothing()) is None


def test_a_guest_without_a_kernel_is_told(unpacked_dir: Path) -> None:
    image = unpack(SAMPLES / "pc-live.img.xz", unpacked_dir / "pc-live")
    done = run_cli("guest", image)
    assert done.code == 1
    assert "no kernel was found" in done.out
    found = run_cli("guest", image, "--json").json
    assert (found["system"], found["architecture"], found["path"]) == (None, "x86", str(image))
    assert {"release", "build_id", "kaslr_offset", "cmdline", "saved_at"} <= found.keys()
    dmesg = run_cli("guest", image, "--dmesg")
    assert dmesg.code == 2
    assert "no kernel was found" in dmesg.note
