"""Domain XML, a piece at a time."""

from __future__ import annotations

from fixedram_fmt.container.domain import Domain, domain_of


def domain(inner: str = "", machine: str = "pc-q35-9.2") -> Domain:
    xml = f"<domain><os><type arch='x86_64' machine='{machine}'>hvm</type></os>{inner}</domain>"
    return domain_of(xml.encode())


def pci(bus: int | str, slot: int | str, function: int = 0) -> str:
    return f"<address type='pci' domain='0x0000' bus='{bus}' slot='{slot}' function='{function}'/>"


def network(address: str = "", model: str = "virtio") -> str:
    return f"<interface type='user'><model type='{model}'/>{address}</interface>"
