"""Bodies of devices that are not as long as described: refused as QEMU 10.0 refuses them.

tests/support/mutant_families.py has the like of these for a real QEMU; here bytes are put in by
hand.
"""

from __future__ import annotations

import re

import pytest

from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Verdict, validate
from support.synthetic import image_of, made

NAMES = [f"dev{number}" for number in range(9)]
DEVICES = [{"name": name, "data": "a5" * 24} for name in NAMES]
_VERSION = b"\0\0\0\1"


def _verdict(changed: dict[str, bytes]) -> Verdict:
    """With bytes after the bodies of devices; the description stays as it is."""
    raw = _with_vmsd_names(made(devices=DEVICES))
    for name, more in changed.items():
        stop = raw.index(name.encode()) + len(name) + 8 + 24
        assert raw[stop - 1 : stop + 1] == b"\xa5\x7e"
        raw = raw[:stop] + more + raw[stop:] if more else raw[: stop - 1] + raw[stop:]
    with image_of(raw) as image:
        return validate(image).verdict(LOADERS["qemu-10.0"], multifd=False)


def _with_vmsd_names(raw: bytes) -> bytes:
    """The description with the vmsd_name that QEMU writes, which here is the name."""
    start = raw.rindex(b"\x06", 0, raw.index(b'{"')) + 5
    json = re.sub(rb'"name": ?("dev\d")', rb'"name":\1,"vmsd_name":\1', raw[start:])
    assert json.count(b"vmsd_name") == len(NAMES)
    return raw[: start - 4] + len(json).to_bytes(4, "big") + json


def _subsection(name: bytes) -> bytes:
    return b"\5" + bytes([len(name)]) + name + _VERSION


@pytest.mark.parametrize(
    "more", [b"\0", b"\xff" * 4, b"", _subsection(b"dev4/more"), _subsection(b"x")], ids=repr
)
def test_body_of_another_length_is_refused(more: bytes) -> None:
    verdict = _verdict({"dev3": more})
    assert verdict.outcome is Outcome.REFUSES
    assert verdict.message == "Missing section footer for dev3"


def test_first_of_two_decides() -> None:
    verdict = _verdict({"dev6": b"\0", "dev2": b"\0"})
    assert verdict.message == "Missing section footer for dev2"


@pytest.mark.parametrize("name", [b"dev3/more", b"inner/more"])
def test_subsection_that_qemu_may_know_makes_no_difference(name: bytes) -> None:
    assert _verdict({"dev3": _subsection(name)}).outcome is Outcome.LOADS


def test_description_of_another_machine_makes_no_difference() -> None:
    assert _verdict({}).outcome is Outcome.LOADS
    assert _verdict(dict.fromkeys(NAMES[:3], b"\0")).outcome is Outcome.LOADS
