"""Logs that are made to cost: linear in their length, and in little memory."""

from __future__ import annotations

import io
import re
import time
import tracemalloc
from collections.abc import Callable

import pytest

from fixedram_fmt.diagnosis import diagnose
from fixedram_fmt.diagnosis.entry import catalogue

ALL = " ".join(
    re.sub(r"\{[^}]*\}", "7", text.template.text)
    for entry in catalogue()
    for text in entry.wordings
).encode()
MIB = 1 << 20
#: Seconds of CPU for a mebibyte; the worst takes a fifth of it.
CEILING = 4.0

HOSTILE: dict[str, Callable[[int], bytes]] = {
    "every message in one line": lambda size: (ALL * (size // len(ALL) + 1))[:size],
    "every message in each line": lambda size: (ALL[:16000] + b"\n") * (size // 16001),
    "beginnings without an end": lambda size: b"Failed to load " * (size // 15),
    "distinct failures": lambda size: b"".join(
        b'qemu: Unknown ramblock "m%d", cannot accept migration\n' % number
        for number in range(size // 56)
    ),
    "distinct errors": lambda size: b"".join(
        b"error: number %d failed\n" % number for number in range(size // 24)
    ),
    "open strings of JSON": lambda size: b'"desc": "' * (size // 9),
    "open strings with escapes": lambda size: b'"desc": "' + b"\\\\" * (size // 2),
    "open colours": lambda size: b"\x1b[" * (size // 2),
    "entities": lambda size: b"&amp;" * (size // 5),
    "zeros": lambda size: b"\x00" * size,
    "breaks": lambda size: b"\n" * size,
    "returns": lambda size: b"\r" * size,
    "quotation marks": lambda size: b"> " * (size // 2),
    "no UTF-8": lambda size: b"\xff" * size,
    "differences": lambda size: b"1 != 2 " * (size // 7),
    "lines that may go on": lambda size: b"a state of section with no end\n" * (size // 31),
}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_log_costs_what_its_length_costs(name: str) -> None:
    log = HOSTILE[name](MIB)
    started = time.process_time()
    told = diagnose(io.BytesIO(log))
    assert time.process_time() - started < CEILING
    assert len(told.causes) <= 200
    assert len(told.unknown) <= 50


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", ["distinct failures", "beginnings without an end", "breaks"])
def test_a_log_is_not_kept_in_memory(name: str) -> None:
    log = io.BytesIO(HOSTILE[name](2 * MIB))
    diagnose("the catalogue is read")
    tracemalloc.start()
    try:
        diagnose(log)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_hostile_log_is_read_to_its_end(name: str) -> None:
    told = diagnose(HOSTILE[name](1 << 11))
    assert told.lines <= 1 << 11
