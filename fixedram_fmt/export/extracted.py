"""What was taken out of an image, or would be, as data."""

from __future__ import annotations

from fixedram_fmt.export.artifact import Artifact, Span
from fixedram_fmt.results import Result, Unsigned

__all__ = ["Extracted", "ExtractedFile", "ExtractionPlan", "PlannedPart", "planned"]


class ExtractedFile(Result, frozen=True, omit_defaults=True):
    """A file of so many bytes, those that are holes among them; block is what is in it.

    holes is None where it has not been written.
    """

    path: str
    block: str | None
    bytes: Unsigned
    holes: Unsigned | None = None


class Extracted(Result, frozen=True):
    """Files that were written, or would be."""

    files: tuple[ExtractedFile, ...]


class PlannedPart(Result, frozen=True):
    """Bytes at offset of the file: memory from an address on, or (None) headers."""

    offset: Unsigned
    length: Unsigned
    address: int | None


class ExtractionPlan(Result, frozen=True):
    """What would be in a file of size bytes."""

    size: Unsigned
    parts: tuple[PlannedPart, ...]


def planned(artifact: Artifact) -> ExtractionPlan:
    """The parts of a file to be, in their order."""
    parts = (
        PlannedPart(
            part.offset,
            part.length,
            part.content.start if isinstance(part.content, Span) else None,
        )
        for part in artifact.parts
    )
    return ExtractionPlan(artifact.size, tuple(parts))
