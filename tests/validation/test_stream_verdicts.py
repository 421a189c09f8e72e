"""Strange streams get the verdict that a real QEMU gives them (tests/interop/test_stream_cases)."""

from __future__ import annotations

import pytest

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation import validate
from fixedram_fmt.write.faults import Fault, Outcome
from support.stream_cases import CASES
from support.synthetic import image_of, made


def outcome(name: str, loader: str = "qemu-10.0") -> Outcome:
    change, _ = CASES[name]
    fault = Fault(name, "", Outcome.LOADS, Outcome.LOADS, on_elements=change)
    image = image_of(made(faults=[fault], devices=[]))
    return validate(image).verdict(LOADERS[loader], multifd=False).outcome


@pytest.mark.parametrize("name", CASES)
def test_verdict_is_what_qemu_does(name: str) -> None:
    assert outcome(name) is CASES[name][1]


@pytest.mark.parametrize("count", [1 << 31, (1 << 32) - 1])
def test_qemu_11_refuses_a_count_that_10_aborts_at(count: int) -> None:
    assert outcome(f"{count} capabilities", "qemu-11.1") is Outcome.REFUSES
