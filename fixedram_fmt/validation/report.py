"""What is told of one image: its findings, filtered, and the verdict; ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fixedram_fmt.container.opening import name_of
from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import DEFAULT_LIBVIRT, DEFAULT_LOADER, LOADERS
from fixedram_fmt.validation.imagereport import (
    Bytes,
    ImageReport,
    Judged,
    LoaderVerdict,
    ReportedFinding,
)
from fixedram_fmt.validation.validator import Report, unopened, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.validation.rule import Finding

__all__ = ["ImageReport", "Question", "ask", "ask_of", "default_loader"]

#: How much is shown around an offset.
_BYTES_BEFORE = 16
_BYTES_SHOWN = 48


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each image: by whom it would be loaded, where to, how deep to look.

    loader None: the newest QEMU, and of a libvirt save the newest libvirt.

    property_on is multifd_flush_after_each_section of the receiver.
    """

    loader: str | None
    multifd: bool = False
    property_on: bool = False
    deep: bool = False
    search: bool = False
    host_long: HostLong | None = None
    destination: Receiver | None = None
    #: Whether the XML of a libvirt save counts where no destination is given.
    own_xml: bool = True


def ask(
    location: Location, question: Question, wanted: Callable[[Finding], bool] | None = None
) -> ImageReport:
    """Validate the image at location; an unreadable file is told in the report's error.

    wanted says which findings to tell (None: all); the verdict is given by all of them.
    """
    name = name_of(location)
    try:
        with Image.open(location, search=question.search, host_long=question.host_long) as image:
            return ask_of(image, name, question, wanted)
    except FixedRamError as error:
        if isinstance(error, FormatError) and (report := unopened(error)).findings:
            return _answer(name, question, report, wanted, None)
        loader = question.loader or DEFAULT_LOADER
        return ImageReport(path=name, loader=loader, multifd=question.multifd, error=str(error))


def ask_of(
    image: Image,
    name: str,
    question: Question,
    wanted: Callable[[Finding], bool] | None = None,
) -> ImageReport:
    """The same of an image that is open; name is the report's path."""
    report = validate(image, question.destination, deep=question.deep, own_xml=question.own_xml)
    answer = _answer(name, question, report, wanted, image.source)
    size = image.container.outermost(image.source).size
    return replace(answer, size=size, in_place=image.container.in_place)


def default_loader(*, of_libvirt: bool) -> str:
    """Who is asked about an image where nobody says: a libvirt about its own saves."""
    return DEFAULT_LIBVIRT if of_libvirt else DEFAULT_LOADER


def _answer(
    location: str,
    question: Question,
    report: Report,
    wanted: Callable[[Finding], bool] | None,
    source: Source | None,
) -> ImageReport:
    loader = LOADERS[question.loader or default_loader(of_libvirt=report.of_libvirt)]
    judge = {"multifd": question.multifd, "property_on": question.property_on}
    findings = [
        finding
        for finding in report.judged_by(loader, **judge)
        if wanted is None or wanted(finding)
    ]
    verdict, scope = report.verdict(loader, **judge), report.scope(loader)
    decided = verdict.decided_by
    return ImageReport(
        path=location,
        loader=loader.name,
        multifd=question.multifd,
        verdict=verdict.outcome,
        decided_by=ReportedFinding.of(decided) if decided else None,
        message=verdict.message,
        messages=tuple(verdict.messages),
        verdicts=tuple(
            LoaderVerdict(one.loader, one.multifd, one.outcome) for one in report.verdicts()
        ),
        judged=Judged.of(scope),
        not_judged=scope.not_judged,
        findings=tuple(map(ReportedFinding.of, findings)),
        unlisted=report.unlisted,
        bytes={
            finding.offset: around
            for finding in findings
            if finding.offset is not None and (around := _around(source, finding.offset))
        },
    )


def _around(source: Source | None, offset: int) -> Bytes | None:
    """What is in the file around offset; None where that cannot be read."""
    if source is None:
        return None
    start = max(0, offset // 16 * 16 - _BYTES_BEFORE)
    try:
        data = source.read_upto(start, _BYTES_SHOWN)
    except FixedRamError:
        return None
    return Bytes(start, data) if data else None
