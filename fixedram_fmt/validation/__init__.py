"""Is an image sound, and what would a loader do with it: rules, findings, verdicts.

from fixedram_fmt import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation import validate

with Image.open("guest.img") as image:
    report = validate(image)
    print(report.verdict(LOADERS["qemu-10.0"], multifd=True).outcome)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer
from fixedram_fmt.receiver import Receiver, load_receiver
from fixedram_fmt.validation.rule import AREAS, Finding, Rule, Severity

if TYPE_CHECKING:
    from fixedram_fmt.validation.rules import all_rules
    from fixedram_fmt.validation.validator import Report, Verdict, unopened, validate

__all__ = [
    "AREAS",
    "Finding",
    "Receiver",
    "Report",
    "Rule",
    "Severity",
    "Verdict",
    "all_rules",
    "load_receiver",
    "unopened",
    "validate",
]

#: What judges: results that hold findings need none of it.
_HOME = {
    "Report": "validator",
    "Verdict": "validator",
    "all_rules": "rules",
    "unopened": "validator",
    "validate": "validator",
}

__getattr__ = importer(__name__, _HOME)
