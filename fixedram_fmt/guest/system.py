"""What runs in a guest: told by VMCOREINFO, and by what the kernel has at the addresses in it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.guest.kernelmemory import kernel_memory, page_levels, physical_address
from fixedram_fmt.guest.printk import kernel_log
from fixedram_fmt.guest.vmcoreinfo import VmCoreInfo, find_vmcoreinfo
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.vmstate.overview.clock import clocks
from fixedram_fmt.vmstate.overview.cpus import architecture_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.guest.printk import LogLine
    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.block import Readable

__all__ = ["Guest", "GuestSystem", "guest_system"]

#: Byte orders of a kernel's notes, by architecture; both are tried where it may have either.
_ORDERS = {"s390x": ("big",), "ppc64": ("little", "big"), "ppc": ("big",), "m68k": ("big",)}
#: struct new_utsname: six texts of 65 bytes (include/uapi/linux/utsname.h).
_UTS_TEXT, _NODENAME, _VERSION = 65, 1, 3
#: How the kernel logs its command line (init/main.c, arch/x86/kernel/setup.c).
_COMMAND_LINES = ("Kernel command line: ", "Command line: ")
_LINUX = "Linux"


class GuestSystem(Result, frozen=True):
    """What runs in a guest; None where it is not known, and notes say why.

    kaslr_offset is how far the kernel moved its image, physical_base the physical address of its
    code (_stext).  saved_at is the guest's real-time clock (ISO
    8601), crashed_at when a kernel that panicked did.
    """

    path: str
    architecture: str | None = None
    system: str | None = None
    release: str | None = None
    version: str | None = None
    build_id: str | None = None
    kaslr_offset: Unsigned | None = None
    physical_base: Unsigned | None = None
    page_size: Unsigned | None = None
    page_levels: Unsigned | None = None
    cmdline: str | None = None
    hostname: str | None = None
    saved_at: str | None = None
    crashed_at: Unsigned | None = None
    notes: tuple[str, ...] = ()


class Guest:
    """The kernel in an image: its VMCOREINFO, its memory, its log."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.architecture = architecture_name(image.state)
        self.info = self._vmcoreinfo()
        self._memory: Readable | None = None
        if self.info is not None:
            self._memory = kernel_memory(
                self.info, self.architecture or "", image.physical_memory.filled(0)
            )

    def _vmcoreinfo(self) -> VmCoreInfo | None:
        for order in _ORDERS.get(self.architecture or "", ("little",)):
            text = find_vmcoreinfo(self.image, order)
            if text is not None:
                return VmCoreInfo.parse(text)
        return None

    def log(self) -> Iterator[LogLine]:
        """The kernel's log, the oldest line first.

        Raises UnsupportedError where no kernel is found or its tables are not known, FormatError
        and SourceError for a log that cannot be read.
        """
        if self.info is None:
            raise UnsupportedError(_no_kernel(self.image), hint="only Linux is known")
        if self._memory is None:
            raise UnsupportedError(
                f"the page tables of a {self.architecture} kernel are not read here",
                hint="x86-64, aarch64 and RISC-V are known",
            )
        yield from kernel_log(self.info, self._memory)

    def names(self) -> tuple[str | None, str | None]:
        """Host name and version of the kernel, out of init_uts_ns."""
        info, memory = self.info, self._memory
        symbol = info.symbol("init_uts_ns") if info else None
        offset = info.offset("uts_namespace.name") if info else None
        if memory is None or symbol is None or offset is None:
            return None, None
        found: list[str | None] = []
        for index in (_NODENAME, _VERSION):
            text = None
            with suppress(FixedRamError):
                raw = memory.read(symbol + offset + index * _UTS_TEXT, _UTS_TEXT)
                text = raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
            found.append(text or None)
        return found[0], found[1]


def guest_system(image: Image) -> GuestSystem:
    """What runs in the guest of an image; an image without a known kernel is told, not refused."""
    guest = Guest(image)
    info, architecture = guest.info, guest.architecture
    if info is None:
        return GuestSystem(
            path=image.source.name, architecture=architecture, saved_at=_saved_at(image),
            notes=(_no_kernel(image),),
        )  # fmt: skip
    hostname, version = guest.names()
    cmdline, notes = _command_line(guest)
    page = info.text("PAGESIZE") or ""
    crashed = info.text("CRASHTIME") or ""
    return GuestSystem(
        path=image.source.name,
        architecture=architecture,
        system=_LINUX,
        release=info.text("OSRELEASE"),
        version=version,
        build_id=info.text("BUILD-ID"),
        kaslr_offset=info.hexadecimal("KERNELOFFSET"),
        physical_base=_text_address(info, architecture or ""),
        page_size=int(page) if page.isdecimal() and len(page) < 8 else None,
        page_levels=page_levels(info, architecture or ""),
        cmdline=cmdline,
        hostname=hostname,
        saved_at=_saved_at(image),
        crashed_at=int(crashed) if crashed.isdecimal() and len(crashed) < 16 else None,
        notes=notes,
    )


def _command_line(guest: Guest) -> tuple[str | None, tuple[str, ...]]:
    """As the kernel logged it, while that is in the log; and why it is not known."""
    try:
        for line in guest.log():
            for head in _COMMAND_LINES:
                if line.text.startswith(head):
                    return line.text.removeprefix(head), ()
    except FixedRamError as error:
        return None, (f"the kernel's log cannot be read: {error}",)
    return None, ("the kernel's log no longer has its command line",)


def _text_address(info: VmCoreInfo, architecture: str) -> int | None:
    symbol = info.symbol("_stext")
    return None if symbol is None else physical_address(info, architecture, symbol)


def _saved_at(image: Image) -> str | None:
    found = next((one for one in clocks(image.state) if one.name == "RTC time"), None)
    return str(found.text or found.value) if found else None


def _no_kernel(image: Image) -> str:
    if not image.physical_memory.size:
        return "where memory lies in the guest is not known, so no kernel can be looked for"
    return "no kernel was found: memory has no VMCOREINFO, which Linux has since 2.6.24"
