"""XBZRLE deltas: ours against a naive decoder, and everything that reads pages against ours."""

from __future__ import annotations

import random

import pytest

from fixedram_fmt.digests import digest_image
from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.memory.block import BlockMemory
from fixedram_fmt.stream.xbzrle import apply_delta
from fixedram_fmt.validation import validate
from support.conversions import converted
from support.deltas import ADDRESS, BASE, CASES, naive, stream_with
from support.synthetic import PAGE, image_of

QEMU = LOADERS["qemu-10.0"]


def ours(page: bytes, delta: bytes) -> bytes | None:
    changed = bytearray(page)
    try:
        apply_delta(changed, delta)
    except FormatError:
        return None
    return bytes(changed)


def random_delta(dice: random.Random, size: int) -> bytes:
    """Mostly a few runs that could be right, now and then damaged."""
    delta = bytearray()
    for _ in range(dice.randrange(5)):
        for number in (dice.choice((0, 1, 2, 5, 130)), dice.choice((0, 1, 1, 2, 3, 129))):
            delta += bytes([number] if number < 128 else [number & 127 | 128, number >> 7])
        delta += dice.randbytes(max(0, number + dice.choice((0, 0, 0, 0, 0, 0, -1, 1))))
    if delta and dice.random() < 0.3:
        delta[dice.randrange(len(delta))] = dice.randrange(256)
    return bytes(delta[: size + 2])


def test_random_deltas_are_taken_and_refused_as_a_naive_decoder_does() -> None:
    dice, size = random.Random(701), 160
    taken = 0
    for _ in range(5000):
        page, delta = dice.randbytes(size), random_delta(dice, size)
        wanted = naive(page, delta)
        assert ours(page, delta) == wanted, delta.hex()
        taken += wanted is not None
    assert 500 < taken < 4500


@pytest.mark.parametrize("name", CASES)
def test_every_reader_says_the_same_of_a_delta(name: str) -> None:
    encoding, delta, message = CASES[name]
    raw = stream_with(encoding, delta)
    with image_of(raw) as image:
        verdict = validate(image).verdict(QEMU, multifd=False)
        assert verdict.outcome is (Outcome.REFUSES if message else Outcome.LOADS)
        assert message in verdict.message
        if message:
            assert verdict.decided_by is not None
            assert verdict.decided_by.rule.id in {"R26", "R27", "R28"}
            place = verdict.decided_by.offset or 0
            assert raw.index(BASE) + PAGE < place <= raw.index(BASE) + PAGE + 11 + len(delta)
    wanted = naive(BASE, delta) if encoding == 1 else None
    assert (wanted is None) == bool(message)
    assert read(raw) == wanted
    assert read_converted(raw) == wanted
    assert (digest(raw) is None) == (wanted is None)


def read(raw: bytes) -> bytes | None:
    try:
        with image_of(raw) as image:
            list(image.records())
            return BlockMemory(image, image.blocks[0]).read(ADDRESS, PAGE)
    except FormatError:
        return None


def read_converted(raw: bytes) -> bytes | None:
    try:
        return read(converted(raw))
    except FormatError:
        return None


def digest(raw: bytes) -> str | None:
    try:
        with image_of(converted(raw)) as image:
            return digest_image(image).image
    except FormatError:
        return None
