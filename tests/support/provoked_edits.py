"""Edits of images, as data: what provoked.toml does to a save before it is loaded.

A place is one of

    offset = N                  from the start of the file, negative: from its end
    section = NAME              an offset in the body of the first section of that name:
        body = N                negative: from the end of the body
        header = N              from the byte that begins the section
    value = GLOB                the first value of the devices' state that it means
    record = KIND, nth = N      the start of a record, `plus` bytes on

and one of these is done there, with bytes in hexadecimal:

    put = BYTES, insert = BYTES, delete = N, cut = true (the file ends there),
    drop = true (the section with its header and footer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.synthetic import image_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fixedram_fmt import Image
    from fixedram_fmt.blocks import Section

__all__ = ["Edit", "edited"]

#: One edit, as it stands in the table.
Edit = dict[str, Any]
#: The type byte and the section_id of a footer.
_FOOTER = 5


def edited(data: bytes, edits: Iterable[Edit], start: int = 0) -> bytes:
    """The image after all edits, each on what the one before left; its stream is at start."""
    for edit in edits:
        data = _after(data, edit, start)
    return data


def _after(data: bytes, edit: Edit, start: int) -> bytes:
    if "drop" in edit:
        section = _section(image_of(data, start), edit["section"])
        return data[: section.offset] + data[_stop(section) :]
    place = _place(data, edit, start)
    assert 0 <= place <= len(data), edit
    if "cut" in edit:
        return data[:place]
    new = bytes.fromhex(edit.get("put", edit.get("insert", "")))
    gone = len(new) if "put" in edit else edit.get("delete", 0)
    assert new or gone, edit
    return data[:place] + new + data[place + gone :]


def _place(data: bytes, edit: Mapping[str, Any], start: int) -> int:
    if "offset" in edit:
        offset: int = edit["offset"]
        return offset if offset >= 0 else len(data) + offset
    image = image_of(data, start)
    if "value" in edit:
        value = image.state.value(edit["value"])
        assert value is not None, edit
        return value.offset
    if "record" in edit:
        kinds = [record for record in image.known_records() if record.kind == edit["record"]]
        record = kinds[edit.get("nth", 0)]
        return record.offset + int(edit.get("plus", 0))
    section = _section(image, edit["section"])
    if "header" in edit:
        return section.offset + int(edit["header"])
    body = int(edit.get("body", 0))
    return section.body_offset + body if body >= 0 else _stop(section) - _FOOTER + body


def _section(image: Image, name: str) -> Section:
    return next(section for section in image.sections if section.name == name)


def _stop(section: Section) -> int:
    """Where the next section begins."""
    assert section.body_length is not None
    return section.body_offset + section.body_length + _FOOTER
