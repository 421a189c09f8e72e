"""What is told of one image: its findings, filtered, and the verdict; ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import DEFAULT_LIBVIRT, DEFAULT_LOADER, LOADERS
from fixedram_fmt.validation.scope import NOTHING, Scope
from fixedram_fmt.validation.validator import Report, unopened, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.validation.destination import Destination
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.validator import Verdict

__all__ = ["Bytes", "ImageReport", "Question", "ask", "ask_of"]

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
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class Bytes:
    """Some bytes of the file around a finding, and where the first of them lies."""

    offset: int
    data: bytes


@dataclass(slots=True)
class ImageReport:
    """The answer on one image; error is why there is none.

    findings are the judged ones, worst first; accepted counts those a baseline took out; bytes are
    what lies around each finding's offset.
    """

    path: str
    loader: str
    multifd: bool
    verdict: Verdict | None = None
    findings: list[Finding] = field(default_factory=list)
    unlisted: dict[str, int] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    bytes: dict[int, Bytes] = field(default_factory=dict)
    accepted: int = 0
    error: str = ""
    #: Bytes of the file, and what it had to be unpacked from: offsets are those of what was in it.
    size: int | None = None
    compression: str | None = None
    #: What the verdict covers.
    scope: Scope = NOTHING

    @property
    def verdict_stands(self) -> bool:
        """Whether the loader spoils the load by a finding that nobody has accepted or ignored."""
        decided = self.verdict.decided_by if self.verdict else None
        return decided is not None and any(
            (one.rule.id, one.offset, one.path) == (decided.rule.id, decided.offset, decided.path)
            for one in self.findings
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as `validate --json` has it."""
        verdict = self.verdict
        decided = verdict.decided_by if verdict else None
        return {
            "path": self.path,
            "loader": self.loader,
            "multifd": self.multifd,
            "verdict": verdict.outcome.value if verdict else None,
            "decided_by": decided.as_dict() if decided else None,
            "message": verdict.message if verdict else "",
            "messages": list(verdict.messages) if verdict else [],
            "verdicts": [
                {"loader": one.loader, "multifd": one.multifd, "verdict": one.outcome.value}
                for one in self.verdicts
            ],
            **self.scope.as_dict(),
            "findings": [finding.as_dict() for finding in self.findings],
            "unlisted": self.unlisted,
            "accepted": self.accepted,
            "error": self.error or None,
        }


def ask(
    location: str, question: Question, wanted: Callable[[Finding], bool] | None = None
) -> ImageReport:
    """Validate the image at location; an unreadable file is told in the report's error.

    wanted says which findings to tell (None: all); the verdict is given by all of them.
    """
    try:
        with Image.open(location, search=question.search, host_long=question.host_long) as image:
            return ask_of(image, location, question, wanted)
    except FormatError as error:
        return _answer(location, question, unopened(error), wanted, None)
    except FixedRamError as error:
        loader = question.loader or DEFAULT_LOADER
        return ImageReport(location, loader, question.multifd, error=str(error))


def ask_of(
    image: Image,
    name: str,
    question: Question,
    wanted: Callable[[Finding], bool] | None = None,
) -> ImageReport:
    """The same of an image that is open; name is the report's path."""
    report = validate(image, question.destination, deep=question.deep)
    answer = _answer(name, question, report, wanted, image.source)
    answer.size, answer.compression = image.source.size, image.container.compression
    return answer


def _default(report: Report) -> str:
    return DEFAULT_LIBVIRT if report.of_libvirt else DEFAULT_LOADER


def _answer(
    location: str,
    question: Question,
    report: Report,
    wanted: Callable[[Finding], bool] | None,
    source: Source | None,
) -> ImageReport:
    loader = LOADERS[question.loader or _default(report)]
    judge = {"multifd": question.multifd, "property_on": question.property_on}
    findings = [
        finding
        for finding in report.judged_by(loader, **judge)
        if wanted is None or wanted(finding)
    ]
    return ImageReport(
        path=location,
        loader=loader.name,
        multifd=question.multifd,
        verdict=report.verdict(loader, **judge),
        findings=findings,
        unlisted=report.unlisted,
        verdicts=list(report.verdicts()),
        scope=report.scope(loader),
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
