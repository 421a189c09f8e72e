"""Forms of output as their readers see them: nothing of an image may be more than text there."""

from __future__ import annotations

import re
import tomllib
from html.parser import HTMLParser
from xml.etree import ElementTree

__all__ = ["check_form"]

_ANNOTATION = re.compile(rb"::(error|warning|notice) [^\n]*?::[^\n]*")
#: Elements that fetch or run something; the page has one script, its own.
_ACTING = {"iframe", "object", "embed", "img", "form", "base", "video", "audio"}
#: What the page says so that no browser asks for an icon.
_NO_ICON = "data:,"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.wrong = ""
        self._in_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _ACTING:
            self.wrong = f"<{tag}>"
        for name, value in attributes:
            leads = name in ("href", "src") and value != _NO_ICON and (value or "")[:1] != "#"
            if leads or name.startswith("on"):
                self.wrong = f"{name}={value!r}"
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"


def check_form(form: str, data: bytes) -> str:
    """What is wrong with output of that form, "" if nothing is."""
    return {"github": _annotations, "junit": _xml, "svg": _xml, "toml": _toml, "html": _html}[form](
        data
    )


def _annotations(data: bytes) -> str:
    wrong = [line for line in data.splitlines() if not _ANNOTATION.fullmatch(line)]
    return f"no annotation: {wrong[0][:60]!r}" if wrong else ""


def _xml(data: bytes) -> str:
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        return f"XML: {error}"
    acting = [one.tag for one in root.iter() if one.tag.endswith(("script", "image", "use"))]
    return f"XML: {acting[0]}" if acting else ""


def _toml(data: bytes) -> str:
    try:
        tomllib.loads(data.decode())
    except ValueError as error:
        return f"TOML: {error}"
    return ""


def _html(data: bytes) -> str:
    page = _Page()
    page.feed(data.decode())
    return f"HTML: {page.wrong or 'a script'}" if page.wrong or len(page.scripts) > 1 else ""
