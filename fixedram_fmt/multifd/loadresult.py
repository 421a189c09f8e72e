"""What a load did, and what a load on paper would do, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from fixedram_fmt.loaders import LoaderName, Outcome
from fixedram_fmt.results import Result, Sha256, Unsigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.validation import Verdict

__all__ = [
    "CallSummary", "Event", "Explained", "Hazard", "LoadResult", "LoadedBlock", "Paragraph",
    "TimelineComparison", "TimelineSummary", "Topic", "loaded_blocks",
]  # fmt: skip


class Event(Result, frozen=True):
    """A RAM record as main meets it.

    section is `start`, `part[3]`, `end` or `full`, path the record's in the stream.  jobs is how
    many jobs it hands out (MEM_SIZE: all of its blocks), pending how many nobody has waited for
    when action begins; action is `sync` where sync_main() is called, else `none`.  refused marks
    the record that ends the load, reached is False after that, or after a hang.
    """

    offset: int
    section: str
    path: str
    flag: str
    action: Literal["sync", "none"] = "none"
    jobs: int = 0
    pending: int = 0
    refused: bool = False
    reached: bool = True


class Hazard(Result, frozen=True):
    """What can go wrong, or does; kind is a stable word, FATAL has those that spoil a load."""

    kind: str
    message: str
    offset: int | None = None


class CallSummary(Result, frozen=True):
    """One ram_load(): where its section is in the stream, and how many records it has."""

    section: str
    path: str
    offset: Unsigned
    events: Unsigned


class Paragraph(Result, frozen=True):
    """Part of an explanation; loader is the design it is about."""

    loader: LoaderName | None
    text: str


class Topic(Result, frozen=True):
    """Part of an explanation that has a title."""

    title: str
    paragraphs: tuple[Paragraph, ...]


class TimelineSummary(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How a loader would load an image; property is its multifd_flush_after_each_section."""

    explanation: tuple[Topic, ...] | None = None
    loader: LoaderName
    channels: Unsigned
    property_on: bool = msgspec.field(name="property")
    calls: tuple[CallSummary, ...]
    events: tuple[Event, ...]
    jobs: Unsigned
    syncs: Unsigned
    hazards: tuple[Hazard, ...]


class TimelineComparison(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How several loaders would load an image."""

    explanation: tuple[Topic, ...] | None = None
    loaders: tuple[TimelineSummary, ...]


class Explained(Result, frozen=True):
    """The question of the syncs, without an image."""

    explanation: tuple[Topic, ...]


class LoadedBlock(Result, frozen=True):
    """A block that was loaded, length in bytes; file is None where it went into memory.

    sha256 is of its whole memory, absent pages as zeros; None where it was not asked for.
    """

    name: str
    length: Unsigned
    sha256: Sha256 | None
    file: str | None


class LoadResult(Result, frozen=True):
    """What a load did, or why it did nothing (verdict, error).

    verdict and message are what was expected of it, by the finding of rule; unsynced_jobs are
    those that the loader would not have waited for, bytes those of the pages that were read.
    """

    blocks: tuple[LoadedBlock, ...]
    loader: LoaderName
    verdict: Outcome | None
    message: str
    rule: str | None
    error: str | None
    channels: Unsigned
    jobs: Unsigned
    syncs: Unsigned
    unsynced_jobs: Unsigned
    bytes: Unsigned
    seconds: float
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        loader: Loader,
        loaded: Loaded,
        blocks: Sequence[LoadedBlock] = (),
        verdict: Verdict | None = None,
        *,
        error: str = "",
    ) -> LoadResult:
        """verdict is None where nothing could be judged."""
        decided = verdict.decided_by if verdict else None
        return cls(
            blocks=tuple(blocks),
            loader=loader.name,
            verdict=verdict.outcome if verdict else None,
            message=verdict.message if verdict else "",
            rule=decided.rule.id if decided else None,
            error=error or None,
            channels=loaded.channels,
            jobs=loaded.jobs,
            syncs=loaded.syncs,
            unsynced_jobs=loaded.unsynced,
            bytes=loaded.bytes,
            seconds=round(loaded.seconds, 6),
            notes=tuple(loaded.notes),
        )


def loaded_blocks(
    blocks: Sequence[RamBlock], hashes: Sequence[str] = (), files: Sequence[str] = ()
) -> list[LoadedBlock]:
    """Blocks with their digests and files, as far as there are any, in the order of blocks."""
    return [
        LoadedBlock(
            block.name,
            block.used_length,
            hashes[block.index] if hashes else None,
            files[block.index] if files else None,
        )
        for block in blocks
    ]
