"""Sizes as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt.units import human_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("0x1000", 4096),
        ("0XfF", 255),
        ("4k", 4096),
        ("4K", 4096),
        ("4KiB", 4096),
        ("4kB", 4096),
        ("64M", 64 << 20),
        ("1.5G", 3 << 29),
        ("0.5 MiB", 1 << 19),
        (" 2T ", 2 << 40),
        ("3P", 3 << 50),
        ("8E", 8 << 60),
        ("17b", 17),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "-1", "+-1", "1.1", "0.3K", "1e5", "0x", "4X", "4KK", "1,5G", "K", ".", "1_0"],
)
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_size(text)


@pytest.mark.slow
@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert size >= 0


@pytest.mark.parametrize("text", ["9" * 400 + ".0", "9" * 5000, "1" * 400 + ".5K", "4\u212a"])
def test_numbers_without_end_and_lookalikes_are_sizes_or_value_errors(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


@given(st.integers(0, 1 << 64))
def test_decimal_and_hexadecimal_round_trip(size: int) -> None:
    assert parse_size(str(size)) == size
    assert parse_size(hex(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (28, "28 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (4096, "4 KiB"),
        (33554432, "32 MiB"),
        (5 << 30, "5 GiB"),
        (1 << 60, "1 EiB"),
        ((1 << 64) - 1, "16 EiB"),
    ],
)
def test_human_sizes_are_short(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, 1 << 64))
def test_human_size_is_near_the_size(size: int) -> None:
    number, unit = human_size(size).split()
    power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert float(number) * 1024**power == pytest.approx(size, rel=0.05)


@given(st.integers(0, 99), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_round_human_sizes_read_back_exactly(number: int, unit: str) -> None:
    size = parse_size(f"{number} {unit}")
    assert parse_size(human_size(size)) == size
