"""Which findings a user wants to hear of: chosen by id or area, or accepted before (a baseline)."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from fixedram_fmt.container.locate import split_location
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.documents import json_document, read_document
from fixedram_fmt.schema.base import text
from fixedram_fmt.validation.rule import AREAS
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.validation.imagereport import ImageReport, ReportedFinding

__all__ = [
    "Accepted",
    "Baseline",
    "Selection",
    "SelectionError",
    "fingerprint",
    "load_baseline",
    "rule_ids",
]

_NUMBER = re.compile(r"0x[0-9a-f]+|[\d,]*\d")


#: Of the form of a baseline.
_VERSION = 1


class SelectionError(FixedRamError):
    """A rule, area or baseline that is asked for does not exist or cannot be read."""


def rule_ids(names: Iterable[str]) -> frozenset[str]:
    """The rules meant by ids and area letters, as `L03,B` or one by one.

    SelectionError where there is no such rule.
    """
    known = all_rules()
    chosen: set[str] = set()
    for name in (part.strip().upper() for whole in names for part in whole.split(",")):
        matching = {rule_id for rule_id in known if name in (rule_id, rule_id[0])}
        if not matching:
            raise SelectionError(
                f"there is no rule or area {name!r}",
                expected=f"an id like L03, or an area of {', '.join(AREAS)}",
                hint="fixedram rules lists them",
            )
        chosen |= matching
    return frozenset(chosen)


def fingerprint(finding: ReportedFinding) -> str:
    """What stays the same of a finding when the image is moved or grows: rule, place, kind."""
    message = _NUMBER.sub("#", finding.message)
    identity = "\0".join((finding.rule, finding.path, message))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _image_name(location: str) -> str:
    """Name of the file without its folder, with a snapshot's; what is no UTF-8 as \\xNN."""
    try:
        path, _, name = split_location(location)
    except FixedRamError:
        path, name = location, None
    file = PurePath(path).name
    return text(os.fsencode(file if name is None else f"{file}#{name}"))


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted finding; image is the file's name without its folder."""

    image: str
    rule: str
    path: str
    fingerprint: str


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Findings that are known and accepted."""

    accepted: list[Accepted]
    version: int = _VERSION

    @classmethod
    def of(cls, reports: Iterable[ImageReport]) -> Baseline:
        """Everything that reports tell."""
        accepted = {
            Accepted(
                image=_image_name(report.path),
                rule=finding.rule,
                path=finding.path,
                fingerprint=fingerprint(finding),
            )
            for report in reports
            for finding in report.findings
        }
        return cls.joined(accepted)

    @classmethod
    def joined(cls, accepted: Iterable[Accepted]) -> Baseline:
        """All of accepted, each once."""
        order = sorted(
            set(accepted), key=lambda one: (one.image, one.rule, one.path, one.fingerprint)
        )
        return cls(accepted=order)

    def encoded(self) -> bytes:
        """The baseline as a file has it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def load_baseline(path: str | Path) -> Baseline:
    """The baseline in a file; SelectionError if it is none."""
    try:
        baseline: Baseline = json_document(read_document(path), Baseline)
        if baseline.version != _VERSION:
            raise ValueError(f"version {baseline.version} is unknown")
    except ValueError as error:
        raise SelectionError(
            f"{str(path)!r} is no baseline: {error}", hint="--write-baseline makes one"
        ) from error
    return baseline


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules that are wanted and not; findings that were accepted before."""

    select: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    baseline: Baseline | None = None

    def narrowed(self, report: ImageReport) -> ImageReport:
        """report with what is wanted; the verdict stays, it is the loader's."""
        name = _image_name(report.path)
        known = {
            one.fingerprint
            for one in (self.baseline.accepted if self.baseline else ())
            if one.image == name
        }
        wanted = [
            finding
            for finding in report.findings
            if (self.select is None or finding.rule in self.select)
            and finding.rule not in self.ignore
        ]
        left = tuple(one for one in wanted if fingerprint(one) not in known)
        unlisted = {
            rule_id: number
            for rule_id, number in report.unlisted.items()
            if (self.select is None or rule_id in self.select) and rule_id not in self.ignore
        }
        return replace(report, findings=left, accepted=len(wanted) - len(left), unlisted=unlisted)
