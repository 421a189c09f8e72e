"""What is told of a failure: its causes, the innermost first, and what was not understood."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import Result, Unsigned

__all__ = ["Cause", "Diagnosis", "Rank", "Side"]


class Side(StrEnum):
    """Who has to change for the restore to work: not who wrote the message.

    image: the file is damaged, cut or edited.  receiver: the VM that receives is not the one that
    saved.  sender: it must save again, in another way.  host: files, locks, rights, memory, kernel
    of the receiving host.  command: what was typed or set for this restore or save.
    """

    IMAGE = "image"
    RECEIVER = "receiver"
    SENDER = "sender"
    HOST = "host"
    COMMAND = "command"


class Rank(StrEnum):
    """How near to the cause a message is; the nearest is told first.

    cause: says itself what is wrong.  part: names the field, the element or the hook that failed.
    section: names the device or section.  last-line: how QEMU ends.  wrapper: what a program around
    QEMU makes of it.
    """

    CAUSE = "cause"
    PART = "part"
    SECTION = "section"
    LAST_LINE = "last-line"
    WRAPPER = "wrapper"

    @property
    def distance(self) -> int:
        """0 is the cause itself."""
        return list(Rank).index(self)


class Cause(Result, frozen=True, kw_only=True):
    """One known message, or what validate finds where there is no message.

    message is the text without what stands around it, line its number in the log (from 1; None
    without a log).  rule is the rule of validate that finds the same in an image, rules are all
    that may; offset (bytes in the file) and path are where it lies in the image that was given.
    values are what stands in the message, and found and expected of the image where it tells them.
    since is the first version that words it so, source its place in upstream's sources.  more are
    commands that show more.  attempt counts the starts in the log, the last one is told first;
    times is how often the message is there.
    """

    message: str
    rule: str | None
    offset: Unsigned | None
    path: str
    side: Side
    explanation: str
    fix: str
    values: dict[str, str] = msgspec.field(default_factory=dict)
    since: str = ""
    source: str = ""
    more: tuple[str, ...] = ()
    line: Unsigned | None = None
    rules: tuple[str, ...] = ()
    rank: Rank = Rank.CAUSE
    key: str | None = None
    attempt: Unsigned = 1
    times: Unsigned = 1


class Diagnosis(Result, frozen=True, kw_only=True):
    """Causes, the nearest of the last attempt first.

    path is the image's, verdict what its loader does with it (both None without an image; verdict
    None too where the image cannot be opened).  unknown are lines that look like errors and are not
    in the catalogue, warnings what the log or this program warns of.  lines and attempts are how
    many lines were read, and how many starts of a VM they tell.
    """

    path: str | None
    causes: tuple[Cause, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    verdict: Outcome | None = None
    lines: Unsigned = 0
    attempts: Unsigned = 0

    @property
    def fails(self) -> bool:
        """Whether a failure is told: by the log, or by the image's verdict."""
        return bool(self.causes)

    @property
    def top(self) -> Cause | None:
        """The cause that is told first."""
        return self.causes[0] if self.causes else None
