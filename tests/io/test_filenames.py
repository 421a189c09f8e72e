"""File names made from hostile ones: they stay in their folder, and no two are the same."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixedram_fmt.io.filenames import safe_names

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "../../x", "/etc/passwd", "..", ".", "", "/", "a/../b", "a\\..\\b", "C:\\x", "\0", "a\0b",
    "x" * 255, "\x1b[2J\x1b[31m", "[red]", "\u202egnp.exe", "é", "日本", "-rf", "--help", ".hidden",
    "~root", "$(reboot)", "`id`", "a b", "a\nb", "*", "?", "CON", "blocks.json", "\\x9b\\xff",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pc.ram", "pc.ram.ram"),
        ("/rom@etc/acpi/tables", "rom@etc_acpi_tables.ram"),
        ("0000:00:02.0/vga.vram", "0000_00_02.0_vga.vram.ram"),
        ("../../x", "x.ram"),
        ("", "block.ram"),
        ("-rf", "rf.ram"),
        ("x" * 255, "x" * 100 + ".ram"),
    ],
)
def test_name_is_kept_as_far_as_it_is_safe(name: str, file: str) -> None:
    assert safe_names([name], ".ram") == [file]


@pytest.mark.slow
@given(names=st.lists(st.text(max_size=300)), suffix=st.sampled_from(["", ".ram"]))
@example(names=HOSTILE * 2, suffix=".ram")
@example(names=["a", "A", "a-2", "a", "A-2", "a-2-2", "a"], suffix="")
@example(names=["block", "", "..", "block-2"], suffix=".ram")
@example(names=["x" * 255, "x" * 254, "X" * 101], suffix="")
def test_names_are_safe_and_no_two_alike(names: list[str], suffix: str) -> None:
    files = safe_names(names, suffix)
    assert len(files) == len(names)
    assert len({file.lower() for file in files}) == len(names)
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]*", file)
        assert file.endswith(suffix)
        assert len(file) <= 150
        assert file == os.path.basename(file)  # noqa: PTH119


def test_every_hostile_name_can_really_be_a_file(tmp_path: Path) -> None:
    files = safe_names(HOSTILE, ".ram")
    for file in files:
        (tmp_path / file).write_text(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_same_names_get_the_same_files_each_time() -> None:
    assert safe_names(HOSTILE, ".ram") == safe_names(iter(HOSTILE), ".ram")
    assert safe_names(["a", "b", "a"]) == ["a", "b", "a-2"]


@pytest.mark.slow
@pytest.mark.untraced
def test_a_hundred_thousand_names_that_are_the_same_take_no_minutes() -> None:
    start = time.monotonic()
    assert len(set(safe_names(["x"] * 100_000))) == 100_000
    assert time.monotonic() - start < 5
