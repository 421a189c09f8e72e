"""The discussion on syncs: the question, what was proposed, what was merged, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from fixedram_fmt.multifd.loadresult import Topic

__all__ = ["explanation", "print_explanation"]

#: Title, then paragraphs; a design's name stands in front of what it does.
_EXPLANATION = (
    (
        "The question",
        (
            (
                "",
                "With a fixed layout the main thread reads the list of RAM blocks and hands runs of"
                " present pages to receive channels, which read at their own pace. Somebody must"
                " wait for them before the load is declared done, or the guest starts on memory"
                " that is not there yet. Who waits, and when? And can it be done twice?",
            ),
        ),
    ),
    (
        "What was proposed",
        (
            (
                "fixed-ram-v4",
                "The sender puts MULTIFD_FLUSH before the last EOS; the receiver waits there, once:"
                " the channels quit at the sync, a second one would wait for ever. With"
                " multifd_flush_after_each_section on the sender writes no FLUSH at all, and this"
                " receiver never waits.",
            ),
            (
                "per-ram-load",
                "Wait at the end of every ram_load(). There is one for each section, START, each"
                " PART and END, and all pages are handed out in START: most waits have nothing to"
                " wait for, and a wait must be possible more than once.",
            ),
            (
                "reentrant",
                "Make the sync one that can be done again: a channel that wakes without a job"
                " answers and goes on waiting. It is done at each FLUSH, and at each EOS with the"
                " property on. An image without FLUSH is still never waited for with it off.",
            ),
        ),
    ),
    (
        "What was merged, and why it is right",
        (
            (
                "mapped-ram",
                "Wait once, at the end of the list of blocks, where all pages have been handed out."
                " That depends on no flag of the stream: PARTs and their EOS carry nothing with a"
                " fixed layout, so nothing should depend on them. FLUSH became an invalid flag"
                " there, and the property has no effect.",
            ),
        ),
    ),
    (
        "What stayed open",
        (
            (
                "",
                "A channel that dies with an error never posts, and main waits for it. In fixedram"
                " load a channel that fails posts once more, as its last act, and main finds the"
                " error. spec/promela has all three as models that a checker goes through.",
            ),
        ),
    ),
)
_TEXT_WIDTH = 90


def print_explanation(out: Console) -> None:
    """What the discussion was about, on one screen."""
    from textwrap import wrap

    from rich.text import Text

    for title, paragraphs in _EXPLANATION:
        print_line(out, Text(title, style="bold"))
        for name, text in paragraphs:
            label = f"{name:<14}" if name else ""
            for number, part in enumerate(wrap(text, min(_TEXT_WIDTH, out.width) - 2 - len(label))):
                shown = label if not number else " " * len(label)
                print_line(out, Text(f"  {shown}", style="cyan").append(part, style="not cyan"))
        print_line(out, Text())


def explanation() -> tuple[Topic, ...]:
    """The same as data: titles, and paragraphs with the loader they are about."""
    from fixedram_fmt.multifd.loadresult import Paragraph, Topic

    return tuple(
        Topic(title, tuple(Paragraph(name or None, text) for name, text in paragraphs))
        for title, paragraphs in _EXPLANATION
    )
