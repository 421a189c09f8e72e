"""From an image to the command line: each contributor looks at the state and adds its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline import (
    boards,
    fromxml,
    parts,
    pci,
    storage,
    usb,
    virtiommio,
    x86,
)
from fixedram_fmt.commandline.draft import Draft
from fixedram_fmt.commandline.evidence import Evidence
from fixedram_fmt.commandline.incoming import incoming_of
from fixedram_fmt.commandline.result import CommandLine
from fixedram_fmt.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.image import Image

__all__ = ["command_line"]

#: Machines: each looks whether the image is of one of its own, and says so.  It sets program,
#: machine, memory, CPUs and pci_root, and claims what the board itself makes.
_BOARDS: tuple[Callable[[Evidence, Draft], bool], ...] = (
    x86.contribute,
    boards.contribute,
)
#: What any machine may have; each claims the sections that its arguments bring.
_CONTRIBUTORS: tuple[Callable[[Evidence, Draft], None], ...] = (
    parts.first,
    pci.contribute,
    virtiommio.contribute,
    usb.contribute,
    storage.contribute,
    parts.contribute,
)
#: Sections that no argument brings: QEMU itself, or what comes with any machine.
_OF_QEMU = frozenset({"globalstate", "timer", "cpu_common", "dirty-bitmap"})

#: Instances of one name that are told by their numbers.
_INSTANCES_TOLD = 4


def command_line(image: Image, location: str | None = None, *, own_xml: bool = True) -> CommandLine:
    """The QEMU that receives an image, from the image alone; of a libvirt save from its XML.

    location is the path that -incoming names (None: the image's own); with own_xml false the XML of
    a libvirt save is left out.  Raises UnsupportedError where the machine is not told.
    """
    evidence, draft = Evidence(image), Draft()
    if not (own_xml and fromxml.contribute(evidence, draft)):
        _from_state(evidence, draft)
    _tell_unclaimed(evidence, draft)
    if not image.complete:
        draft.doubt("the image cannot be read to its end: what comes after that is missing here")
    elif not evidence.sections:
        draft.doubt("no device is in the image: those of the VM are the machine's usual ones")
    of_vm = draft.sentences()
    if draft.firmware is not None:
        draft.doubt(
            f"its firmware has {draft.firmware} bytes, as no file of QEMU's: give that with -bios,"
            " or what fixedram extract --block pc.bios takes out of the image; else the guest"
            " finds it at another place"
        )
    incoming = incoming_of(image, location, draft)
    argv = (draft.program, *draft.arguments(), *incoming)
    return CommandLine(argv, draft.sentences(), incoming, draft.firmware, of_vm)


def _from_state(evidence: Evidence, draft: Draft) -> None:
    """The machine, then what any machine may have."""
    if not any(board(evidence, draft) for board in _BOARDS):
        raise UnsupportedError(
            "no command line can be derived of it: its machine is not known",
            found=evidence.machine or "a stream without configuration",
        )
    for contribute in _CONTRIBUTORS:
        contribute(evidence, draft)


def _tell_unclaimed(evidence: Evidence, draft: Draft) -> None:
    """A sentence for each name of sections that no argument accounts for."""
    left: dict[str, list[int]] = {}
    for name, instance in evidence.sections:
        if name not in _OF_QEMU and (name, instance) not in draft.claimed:
            left.setdefault(name, []).append(instance)
    for name, instances in left.items():
        numbers = ", ".join(f"#{one}" for one in instances[:_INSTANCES_TOLD])
        more = ", ..." if len(instances) > _INSTANCES_TOLD else ""
        shown = f"{name} ({numbers}{more})" if instances != [0] else name
        draft.doubt(f"no argument here brings a device for the section {shown}")
