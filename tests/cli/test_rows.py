"""Rows for people: what is folded can be told from what is shown."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fixedram_cli.render.rows import folded, print_shades, text_of


@pytest.mark.slow
@given(st.lists(st.integers(0, 2), max_size=30), st.booleans())
def test_folded_rows_are_those_before_them(rows: list[int], with_last: bool) -> None:
    told = list(folded(rows, with_last=with_last))
    shown = {number: row for number, row in told if row is not None}
    assert all(rows[number] == row for number, row in shown.items())
    # Each other row is as the last that is shown before it, and a star stands for it.
    stars = [number for number, row in told if row is None]
    for number, row in enumerate(rows):
        if number not in shown:
            last = max(before for before in shown if before < number)
            assert shown[last] == row
            assert sum(last < star <= number for star in stars) == 1
    repeats = [number for number in shown if number and rows[number] == rows[number - 1]]
    assert repeats in ([], [len(rows) - 1]) if with_last else not repeats
    if with_last and rows:
        assert len(rows) - 1 in shown
    assert [number for number, _ in told] == sorted({*shown, *stars})


@pytest.mark.parametrize(
    ("raw", "text"), [(b"", ""), (b"a b~", "a b~"), (b"\0\x1f\x7f\x9b\xff\n", "......")]
)
def test_only_printable_ascii_is_text(raw: bytes, text: str) -> None:
    assert text_of(raw) == text


def test_shades_begin_with_their_address() -> None:
    held = io.StringIO()
    cells = [*[(0, 16)] * 64, *[(16, 16)] * 64, *[(16, 16)] * 128, (1, 3)]
    print_shades(Console(file=held, width=200), "a\x1b[2Jb", cells, 4096)
    _, title, *rows = held.getvalue().splitlines()
    assert title == "  a\\x1b[2Jb: one cell is 16 pages, 64 KiB"
    addresses = [row.split()[0] for row in rows]
    assert addresses == ["0000000", "0400000", "*", "1000000"]
    assert [len(row.split()[1]) for row in rows if row.strip() != "*"] == [64, 64, 1]
