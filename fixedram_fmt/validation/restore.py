"""What virsh restore does about a finding; any other loader is given the stream alone.

Read in src/qemu/qemu_saveimage.c and src/qemu/qemu_process.c, and tried with libvirt 9.0; the
messages are libvirt's, or QEMU's where libvirt passes them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.effects import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.loaders import Libvirt
    from fixedram_fmt.validation.rule import Case

__all__ = ["SAVE_EDIT", "by_domain", "by_libvirt", "libvirt_refuses", "restore_refuses"]

#: How an XML is changed that is in a save.
SAVE_EDIT = "virsh save-image-edit FILE, and "


def libvirt_refuses(message: str) -> Effect:
    """virsh restore ends with this message."""
    return Effect(Outcome.REFUSES, text=message)


def by_libvirt(
    judge: Callable[[Case, Libvirt], Effect | None],
) -> Callable[[Case], Effect | None]:
    """An effect that libvirt alone has, and that depends on the case."""

    def effect(case: Case) -> Effect | None:
        return judge(case, case.loader.libvirt) if case.loader.libvirt else None

    return effect


def by_domain(judge: Callable[[Case], Effect | None]) -> Callable[[Case], Effect | None]:
    """An effect of a domain XML: on libvirt, and on whoever is given an XML to judge by."""

    def effect(case: Case) -> Effect | None:
        given = case.survey is not None and case.survey.domain_is_given
        return judge(case) if given or case.loader.libvirt else None

    return effect


def restore_refuses(message: str) -> Callable[[Case], Effect | None]:
    """libvirt refuses whatever the case, with the finding's values in the message."""

    def effect(case: Case, _libvirt: Libvirt) -> Effect:
        one = case.finding
        values = {"found": one.found, "expected": one.expected, "message": one.message}
        return libvirt_refuses(message.format(**values))

    return by_libvirt(effect)
