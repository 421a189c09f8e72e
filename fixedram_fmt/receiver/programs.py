"""Which qemu-system-ARCH would load an image, by the fields of its vCPUs, and what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.knowledge import known_in, known_versions
from fixedram_fmt.vmstate.overview.cpus import architecture_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.image import Image
    from fixedram_fmt.knowledge.vmstates import KnownVmstate

__all__ = ["has_machine", "names_of_alias", "programs_for", "vmstates_of"]

#: Programs by the architecture that the vCPUs tell; the first whose devices are known counts.
_PROGRAMS = {
    "x86": ("x86_64", "i386"),
    "aarch64": ("aarch64",),
    "arm": ("arm", "aarch64"),
    "riscv": ("riscv64", "riscv32"),
    "s390x": ("s390x",),
    "ppc64": ("ppc64",),
    "ppc": ("ppc", "ppc64"),
    "loongarch": ("loongarch64",),
    "m68k": ("m68k",),
}


def programs_for(image: Image) -> tuple[str, ...]:
    """The ARCH of every qemu-system-ARCH that could load image; empty where that is not known."""
    return _PROGRAMS.get(architecture_name(image.state) or "", ())


def vmstates_of(image: Image, version: str) -> Mapping[str, tuple[KnownVmstate, ...]]:
    """Structures of devices that a QEMU has for image; empty where none is known.

    Programs of other architectures have devices of the same names with other states: they are no
    substitute.
    """
    known = known_in(version)
    programs = programs_for(image) if known else ()
    found = (known.vmstates(one) for one in programs if known and one in known.dumped)
    return next(found, {})


def names_of_alias(image: Image, machine: str) -> dict[str, str]:
    """The machine types that an alias stands for, by QEMU's version; empty where it is none."""
    programs = programs_for(image)
    found = {}
    for version in known_versions():
        known = known_in(version)
        for program in (programs or known.architectures_of(machine)) if known else ():
            made = known.machine(machine, program) if known else None
            if made is not None and made.name != machine:
                found[version] = made.name
                break
    return found


def has_machine(image: Image, version: str) -> bool | None:
    """Whether that QEMU has the machine of image; None where that is not known."""
    known, name = known_in(version), image.machine
    if known is None or name is None:
        return None
    programs = programs_for(image)
    answers = {known.has_machine(name, one) for one in programs} if programs else set()
    if not answers - {None}:
        return known.has_machine(name)
    return True in answers
