"""Several descriptions of one receiver, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.receiver.receiver import Receiver, in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["joined"]

#: What is put together by name, and what as a whole.
_NOT_COMPARED = ("sources", "contradictions")
#: Whose differences are not told: those of long texts, and of what nothing is judged by.
_NOT_TOLD = ("description", "domain", "vmstate", "contents", "argv", "uncertain")
#: Contradictions that are told one by one.
_TOLD = 20


def joined(receivers: Sequence[Receiver]) -> Receiver:
    """One receiver: what several say is taken from the first, and differences are told.

    What an image says goes before what was written down, and that before what a QEMU could have:
    the fuller a description, the earlier it counts.
    """
    ordered = sorted(receivers, key=_fullness)
    known: dict[str, Any] = {}
    contradictions: list[str] = []
    owners: dict[str, Receiver] = {}
    for receiver in ordered:
        contradictions += receiver.contradictions or ()
        for field in receiver.__struct_fields__:
            value = getattr(receiver, field)
            if value is None or field in _NOT_COMPARED:
                continue
            if field in known:
                contradictions += _differences(field, owners[field], receiver)
            else:
                known[field], owners[field] = value, receiver
    sources = [source for receiver in receivers for source in receiver.sources or ()]
    return Receiver(
        **known,
        sources=sources or None,
        contradictions=contradictions[:_TOLD] or None,
    )


def _fullness(receiver: Receiver) -> int:
    if receiver.description is not None:
        return 0
    return 1 if receiver.sections or receiver.blocks else 2


def _differences(field: str, first: Receiver, second: Receiver) -> Iterator[str]:
    """Where two say different things of one field, in words."""
    one, other = getattr(first, field), getattr(second, field)
    here, there = (", ".join(receiver.sources or ("?",)) for receiver in (first, second))
    if field in ("blocks", "max_lengths"):
        one, other = in_bytes(one), in_bytes(other)
    if field in _NOT_TOLD or one == other:
        return
    if not isinstance(one, dict):
        yield f"{field}: {one!r} ({here}), {other!r} ({there})"
        return
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            words = (repr(side.get(name, "nothing")) for side in (one, other))
            yield f"{field} {name!r}: {next(words)} ({here}), {next(words)} ({there})"
