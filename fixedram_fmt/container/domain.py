"""A libvirt domain's XML, as far as it decides whether a save can be restored into it.

virsh restore starts QEMU by the XML in the file, so that XML is the destination.  Upstream: libvirt
src/conf/domain_conf.c virDomainDefParseXML(), virDomainParseMemory().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.documents import DOCUMENT_CEILING, xml_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

__all__ = ["Domain", "DomainError", "domain_of", "main_memory", "well_formed"]

#: virScaleInteger(): units of <memory>; KiB where none is named.
_UNITS = {
    "b": 1, "byte": 1, "bytes": 1, "kb": 10**3, "k": 1 << 10, "kib": 1 << 10, "mb": 10**6,
    "m": 1 << 20, "mib": 1 << 20, "gb": 10**9, "g": 1 << 30, "gib": 1 << 30, "tb": 10**12,
    "t": 1 << 40, "tib": 1 << 40,
}  # fmt: skip

#: Names that boards give their main memory; elsewhere it is the longest block.
_MAIN = frozenset(
    ("pc.ram", "mach-virt.ram", "s390.ram", "ppc_spapr.ram", "riscv_virt_board.ram",
     "loongarch.ram")
)  # fmt: skip


class DomainError(FixedRamError):
    """This is no domain that libvirt would start; message is libvirt's where it has one."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What a domain's XML says of the machine; None where it does not say.

    memory is that of the machine without memory devices, in bytes; vcpus are those that are
    plugged in.
    """

    name: str | None
    machine: str | None
    memory: int | None
    vcpus: int | None


def domain_of(xml: bytes) -> Domain:
    """The domain that xml describes; DomainError where libvirt would not take it."""
    root = well_formed(xml)
    if root.tag != "domain":
        raise DomainError(f"XML error: expecting root element of 'domain', not '{root.tag[:60]}'")
    os_type = root.find("os/type")
    if os_type is None or not (os_type.text or "").strip():
        raise DomainError("XML error: an os <type> must be specified")
    devices = root.find("devices/memory") is not None or root.find("cpu/numa") is not None
    name = root.findtext("name")
    return Domain(
        name=name.strip() if name else None,
        machine=os_type.get("machine"),
        memory=None if devices else _memory(root.find("memory")),
        vcpus=_vcpus(root.find("vcpu")),
    )


def main_memory(lengths: Mapping[str, int]) -> int:
    """Length of the block that <memory> stands for, by the names and lengths of all blocks."""
    named = [length for name, length in lengths.items() if name in _MAIN]
    return max(named or lengths.values(), default=0)


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


def _memory(element: Element | None) -> int | None:
    scale = _UNITS.get((element.get("unit") or "KiB").lower()) if element is not None else None
    number = _number(element.text if element is not None else None)
    return number * scale if number is not None and scale else None


def _vcpus(element: Element | None) -> int | None:
    if element is None:
        return 1
    return _number(element.get("current") or element.text)


def _number(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
