"""Whether each of two images loads into a VM like the one that saved the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.comparison.result import Restore, RestoreVerdict
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.receiver import Receiver
from fixedram_fmt.validation.report import Question, ask_of, default_loader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.validation.rule import Finding

__all__ = ["restore_between"]

#: The area of the rules about the destination.
_DESTINATION = "T"


def restore_between(a: Image, b: Image, loader: str | None = None) -> Restore:
    """What loader does with a in a VM like b's, and the other way round; None: as for validate.

    Costs what validating both costs.
    """
    lacks = [*_lacks(a, "A"), *_lacks(b, "B")]
    return Restore(_into(a, b, loader, lacks), _into(b, a, loader, lacks))


def _lacks(image: Image, name: str) -> Iterator[str]:
    """Why an image tells too little of its VM, or of what that would be sent."""
    if not image.complete:
        yield f"{name} cannot be read to its end (fixedram validate says what is wrong with it)"
    elif all(section.is_ram for section in image.sections):
        yield f"{name} has no device state"


def _into(sent: Image, own: Image, loader: str | None, lacks: list[str]) -> RestoreVerdict:
    """The verdict on sent in a VM like the one that saved own."""
    name = loader or default_loader(of_libvirt=sent.container.kind == "libvirt")
    multifd = LOADERS[name].is_design
    if lacks:
        return RestoreVerdict(loader=name, multifd=multifd, not_judged=tuple(lacks))
    question = Question(name, multifd=multifd, destination=Receiver.of_image(own))
    report = ask_of(sent, sent.source.name, question, _about_destination)
    return RestoreVerdict(
        loader=report.loader,
        multifd=report.multifd,
        verdict=report.verdict,
        decided_by=report.decided_by,
        message=report.message,
        findings=report.findings,
        unlisted={
            rule: count for rule, count in report.unlisted.items() if rule.startswith(_DESTINATION)
        },
        devices=report.judged.devices,
        not_judged=report.not_judged,
    )


def _about_destination(finding: Finding) -> bool:
    return finding.rule.id.startswith(_DESTINATION)
