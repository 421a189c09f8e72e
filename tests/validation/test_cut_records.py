"""What is said of an ordinary stream that ends in a RAM record: by the part that is cut."""

from __future__ import annotations

import pytest

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.validation import validate
from support.synthetic import PAGE, image_of, ordinary, ram_word

_RECORD = ram_word(0, RamSaveFlag.PAGE) + b"\6pc.ram" + bytes([7]) * PAGE
_CUTS = {
    "word": (4, "Getting RAM address failed", "Input/output error"),
    "length of the name": (8, "Can't find block ", "Invalid argument"),
    "name": (11, "Can't find block pc", "Invalid argument"),
    "page": (100, "error while loading state for instance 0x0 of device 'ram'",
             "Input/output error"),
}  # fmt: skip


@pytest.mark.parametrize("part", _CUTS)
def test_message_is_that_of_the_part_that_is_cut(part: str) -> None:
    length, first, reason = _CUTS[part]
    whole = ordinary(_RECORD)
    image = image_of(whole[: whole.index(_RECORD) + length])
    said = validate(image).verdict(LOADERS["qemu-10.0"], multifd=False).messages
    assert str(said[0]) == first
    assert str(said[-1]) == f"load of migration failed: {reason}"
