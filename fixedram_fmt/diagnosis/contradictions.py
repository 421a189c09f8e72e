"""What a log says and the image denies: then it is the log of another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.diagnosis.cause import Cause
    from fixedram_fmt.image import Image

__all__ = ["contradictions"]

#: Messages that name a section, or a block, that the image has.
_SECTION_KEYS = frozenset(
    {"unknown-section", "state-of-device", "state-of-section", "footer", "footer-id",
     "section-version"}
)  # fmt: skip
_BLOCK_KEYS = frozenset({"unknown-block", "size-mismatch", "size-too-large", "outside-block"})
_LENGTH_KEYS = frozenset({"size-mismatch", "size-too-large"})
_TOLD = 3


def contradictions(causes: Iterable[Cause], image: Image) -> tuple[str, ...]:
    """Sentences, the first few."""
    found: dict[str, None] = {}
    for cause in causes:
        for what in _denied(cause, image):
            found.setdefault(f"this log is of another image: {what}")
    return tuple(found)[:_TOLD]


def _denied(cause: Cause, image: Image) -> Iterator[str]:
    values = cause.values
    if cause.key == "machine" and image.machine not in (None, values.get("name")):
        yield f"it says machine type {values.get('name')}, the image is of {image.machine}"
    if cause.key == "pci-config" and "expected" not in values:
        held, told = values.get("found"), f"0x{values.get('read')}"
        if held not in (None, told):
            yield f"it says {told} at {cause.path}, in the image it is {held}"
    if not image.complete:
        return
    if cause.key in _SECTION_KEYS and "name" in values:
        names = {"configuration", *(section.name for section in image.sections)}
        if values["name"] not in names:
            yield f"it names section {values['name']}, which the image has not"
    if cause.key in _BLOCK_KEYS and "block" in values:
        lengths = {block.name: block.used_length for block in image.blocks}
        name = values["block"]
        if name not in lengths:
            yield f"it names block {name}, which the image has not"
        elif cause.key in _LENGTH_KEYS and int(values["length"], 16) != lengths[name]:
            yield (
                f"it says that block {name} has 0x{values['length']} bytes, in the image it has"
                f" {lengths[name]:#x}"
            )
