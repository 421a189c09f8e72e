"""Images with findings that are known, and what `validate --json` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import Result
from fixedram_fmt.write.faults import fault_named
from support.synthetic import made

#: An image whose worst finding is of that severity, and the rules that say so.
LEVELS: dict[str, tuple[tuple[str, ...], dict[str, Any], set[str]]] = {
    "sound": ((), {}, set()),
    "note": ((), {"devices": []}, {"D10"}),
    "warning": (("header-version-0",), {}, {"L02"}),
    "error": (("header-version-2",), {}, {"L01"}),
}
RANKS = ["error", "warning", "note"]
#: What --output takes.
FORMS = ("text", "json", "sarif", "junit", "github")
#: Four findings, of all severities; the stale page is told with --deep.
MIXED = ("footer-missing", "header-version-2", "empty-machine", "stale-page")


def image(path: Path, *faults: str, **spec: Any) -> Path:
    """An image with these faults."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = made(faults=[fault_named(fault) for fault in faults], **{"align": 1 << 20, **spec})
    path.write_bytes(raw)
    return path


def images_of(result: Result) -> list[dict[str, Any]]:
    """What is said of each image."""
    found: list[dict[str, Any]] = result.json["images"]
    return found


def rules_of(result: Result, number: int = 0) -> set[str]:
    """The rules that were broken, by id."""
    return {finding["rule"] for finding in images_of(result)[number]["findings"]}
