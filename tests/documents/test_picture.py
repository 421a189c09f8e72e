"""The README's picture shows what the commands print."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from xml.etree import ElementTree

import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "cli" / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_shows_what_the_commands_print(picture: ModuleType) -> None:
    printed = [re.sub(r"\s", "", line) for line in picture.screen().plain.splitlines()]
    shown = picture.lines_of(picture.PICTURE.read_text())
    assert shown == [line for line in printed if line], "python cli/picture.py"


def test_it_fetches_nothing_and_is_small(picture: ModuleType) -> None:
    text = picture.PICTURE.read_text()
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)|<script|<image", text)
    assert len(text) < 150_000


def test_the_readme_shows_it() -> None:
    assert "](cli/picture.svg)" in (ROOT / "README.md").read_text()
