"""What --destination and --like name: the VM that is to receive an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.receiver import Receiver

__all__ = ["destination_of"]


def destination_of(places: Sequence[str] | None) -> Receiver | None:
    """The receiver that all places describe; what contradicts is told on stderr."""
    from fixedram_fmt.receiver import load_receiver

    if not places:
        return None
    receiver = load_receiver(*places)
    for words in receiver.contradictions or ():
        warn(f"the destination is told in two ways: {words}")
    return receiver
