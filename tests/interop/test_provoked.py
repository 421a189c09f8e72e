"""Failures that a real QEMU and virsh are brought to, and what diagnose makes of their words.

What is printed goes in as it is printed.  By the words alone the message that is the cause is told
first, and who has to change; with the image at hand also the rule that it breaks, and where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.diagnosis import diagnose
from support.provoked import Saves, cases, provoke
from support.provoked_libvirt import DOMAIN, libvirt_cases, provoke_libvirt
from support.virsh import RACE, driver, saved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.provoked import Expected
    from support.virsh import Virsh

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

CASES = cases()
LIBVIRT = libvirt_cases()


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Saves:
    """Saves that cases have in common."""
    return Saves(tmp_path_factory.mktemp("saves"))


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Virsh]:
    """The driver, and a save of a guest."""
    with driver() as root:
        yield saved(root, DOMAIN)


def test_many_failures_are_provoked() -> None:
    assert len(CASES) >= 80
    assert len(LIBVIRT) >= 30
    keys = {case.key or case.says for case in (*CASES.values(), *LIBVIRT.values())}
    assert len(keys) >= 70


@pytest.mark.parametrize("name", CASES)
def test_cause_of_what_qemu_prints(name: str, saves: Saves, tmp_path: Path) -> None:
    case = CASES[name]
    provoked = provoke(case, tmp_path, saves)
    check(case, provoked.text)
    if case.found:
        assert provoked.image is not None
        check_found(case, provoked.text, provoked.image)


@pytest.mark.parametrize("name", LIBVIRT)
def test_cause_of_what_virsh_prints(name: str, libvirt: Virsh) -> None:
    case = LIBVIRT[name]
    printed = provoke_libvirt(case, libvirt)
    if not (printed.log and RACE in printed.text):
        check(case, printed.text)
    if printed.log and case.key:
        check(case, printed.log)
    if case.found:
        check_found(case, printed.text, printed.save)


def check(case: Expected, text: str) -> None:
    """The cause that is told first of these words."""
    top = diagnose(text).top
    assert top is not None, text
    assert case.is_meant(top.key, top.message), (top, text)
    assert top.side in case.sides, (top, text)
    assert top.message in text.replace("\\", "")
    assert top.explanation
    assert top.fix


def check_found(case: Expected, text: str, image: Path) -> None:
    """The rule that is broken, who has to change then, and the place."""
    with Image.open(image) as opened:
        top = diagnose(text, opened).top
        size = opened.file_size
    assert top is not None, text
    assert case.is_meant(top.key, top.message), (top, text)
    assert {"side": top.side, "rule": top.rule, "path": top.path} == case.found, top
    assert top.offset is not None
    assert 0 <= top.offset <= size
