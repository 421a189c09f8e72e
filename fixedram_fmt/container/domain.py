"""A libvirt domain's XML, as far as it decides whether a save can be restored into it.

virsh restore starts QEMU by the XML in the file, so that XML is the destination.  Upstream: libvirt
src/conf/domain_conf.c virDomainDefParseXML(), virDomainParseMemory().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.container.domaindevices import DomainDevice, devices_of
from fixedram_fmt.container.domainmemory import (
    MaxMemory,
    MemoryDevice,
    max_memory_of,
    memory_devices_of,
)
from fixedram_fmt.container.xmlvalues import decimal, flag, scaled, size
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.documents import DOCUMENT_CEILING, xml_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

__all__ = [
    "Domain", "DomainCpu", "DomainDevice", "DomainError", "DomainFeatures", "MaxMemory",
    "MemoryDevice", "domain_of", "is_main_memory", "main_memory", "well_formed",
]  # fmt: skip

#: Names that boards give their main memory; elsewhere it is the longest block.
_MAIN = frozenset(
    ("pc.ram", "mach-virt.ram", "s390.ram", "ppc_spapr.ram", "riscv_virt_board.ram",
     "loongarch.ram")
)  # fmt: skip


class DomainError(FixedRamError):
    """This is no domain that libvirt would start; message is libvirt's where it has one."""


@dataclass(frozen=True, slots=True)
class DomainCpu:
    """<cpu>: how the guest's CPU is chosen."""

    mode: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class DomainFeatures:
    """What changes the state of the board itself; None where the XML leaves it to libvirt."""

    acpi: bool
    smm: bool | None
    vmport: bool | None
    hpet: bool | None


@dataclass(frozen=True, slots=True)
class Domain:
    """What a domain's XML says of the machine; None where it does not say.

    total_memory is that of <memory>, in bytes; memory is without the memory devices, numa_cells how
    it is split.  vcpus are those that are plugged in, max_vcpus those that may be.  Strings are the
    file's.
    """

    name: str | None
    machine: str | None
    memory: int | None
    vcpus: int | None
    max_vcpus: int | None = None
    total_memory: int | None = None
    max_memory: MaxMemory | None = None
    memory_devices: tuple[MemoryDevice, ...] = ()
    numa_cells: tuple[int | None, ...] = ()
    arch: str | None = None
    emulator: str | None = None
    cpu: DomainCpu | None = None
    loader: str | None = None
    has_nvram: bool = False
    features: DomainFeatures = DomainFeatures(acpi=False, smm=None, vmport=None, hpet=None)
    #: Whether there is a <devices>: an XML without one says nothing of them.
    tells_devices: bool = False
    devices: tuple[DomainDevice, ...] = ()

    @property
    def tpm(self) -> DomainDevice | None:
        """The first <tpm>."""
        return next((one for one in self.devices if one.kind == "tpm"), None)


def domain_of(xml: bytes) -> Domain:
    """The domain that xml describes; DomainError where libvirt would not take it."""
    root = well_formed(xml)
    if root.tag != "domain":
        raise DomainError(f"XML error: expecting root element of 'domain', not '{root.tag[:60]}'")
    os_type = root.find("os/type")
    if os_type is None or not (os_type.text or "").strip():
        raise DomainError("XML error: an os <type> must be specified")
    devices = root.find("devices")
    dimms = tuple(memory_devices_of(devices))
    cells = tuple(
        scaled(cell.get("memory"), cell.get("unit")) for cell in root.iterfind("cpu/numa/cell")
    )
    vcpu = root.find("vcpu")
    return Domain(
        name=_text(root, "name"),
        machine=os_type.get("machine"),
        memory=_memory(root, cells, dimms),
        vcpus=1 if vcpu is None else decimal(vcpu.get("current") or vcpu.text),
        max_vcpus=1 if vcpu is None else decimal(vcpu.text),
        total_memory=size(root.find("memory")),
        max_memory=max_memory_of(root),
        memory_devices=dimms,
        numa_cells=cells,
        arch=os_type.get("arch"),
        emulator=_text(root, "devices/emulator"),
        cpu=_cpu(root.find("cpu")),
        loader=_text(root, "os/loader"),
        has_nvram=root.find("os/nvram") is not None,
        features=_features(root),
        tells_devices=devices is not None,
        devices=tuple(devices_of(devices)),
    )


def main_memory(lengths: Mapping[str, int]) -> int:
    """Length of the block that <memory> stands for, by the names and lengths of all blocks."""
    named = [length for name, length in lengths.items() if name in _MAIN]
    return max(named or lengths.values(), default=0)


def is_main_memory(name: str) -> bool:
    """Whether a board gives this name to its main memory."""
    return name in _MAIN


def well_formed(xml: bytes) -> Element:
    """The root element; DomainError for what no XML parser takes."""
    if len(xml) > DOCUMENT_CEILING:
        raise DomainError(f"the XML is longer than {DOCUMENT_CEILING >> 20} MiB")
    if not xml.strip():
        raise DomainError("(domain_definition): Document is empty")
    try:
        return xml_document(xml)
    except ValueError as error:
        raise DomainError(f"(domain_definition): {error}") from error


def _memory(
    root: Element, cells: tuple[int | None, ...], devices: tuple[MemoryDevice, ...]
) -> int | None:
    """virDomainDefGetMemoryInitial(): the cells, or <memory> without the memory devices."""
    sizes = list(cells or (one.size for one in devices))
    known = [one for one in sizes if one is not None]
    if len(known) < len(sizes):
        return None
    total = sum(known) if cells else size(root.find("memory"))
    if total is None or cells:
        return total
    return total - sum(known) if total > sum(known) else None


def _text(root: Element, where: str) -> str | None:
    text = root.findtext(where)
    return text.strip() if text else None


def _cpu(cpu: Element | None) -> DomainCpu | None:
    return DomainCpu(cpu.get("mode"), _text(cpu, "model")) if cpu is not None else None


def _features(root: Element) -> DomainFeatures:
    timers = root.iterfind("clock/timer")
    hpet = next((one for one in timers if one.get("name") == "hpet"), None)
    return DomainFeatures(
        acpi=root.find("features/acpi") is not None,
        smm=_switch(root.find("features/smm")),
        vmport=_switch(root.find("features/vmport")),
        hpet=flag(hpet.get("present")) if hpet is not None else None,
    )


def _switch(element: Element | None) -> bool | None:
    """A feature that is on unless its state says off."""
    return flag(element.get("state", "on")) if element is not None else None
