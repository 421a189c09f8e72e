"""Devices against what a QEMU is known to have: only what no VM of it can be is a misfit."""

from __future__ import annotations

import pytest

from fixedram_fmt.knowledge import KnownField, KnownVmstate
from fixedram_fmt.receiver.knownfit import known_misfits, unusual_fields
from fixedram_fmt.receiver.misfit import Misfit
from support.receivers import Part, Sub, number, part, saved, struct


def known(name: str, size: int = 4, **more: object) -> KnownField:
    told = {"version_id": 0, "conditional": False, "count": None, **more}
    return KnownField(name=name, size=size, **told)  # type: ignore[arg-type]


def vmstate(*fields: KnownField, name: str = "dev", **more: object) -> KnownVmstate:
    told = {"version_id": 1, "minimum_version_id": 1, **more}
    return KnownVmstate(name=name, fields=fields, **told)  # type: ignore[arg-type]


def misfits(image_parts: list[Part | Sub], *candidates: KnownVmstate) -> list[Misfit]:
    return list(known_misfits(saved("dev", *image_parts), {"dev": candidates}))


A, B = number("a", 1), number("b", 2)


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ([known("a"), known("b")], True),
        # Names change while the bytes stay.
        ([known("x"), known("b")], True),
        ([known("a"), known("b"), known("more", conditional=True)], True),
        ([known("a"), known("b"), known("later", version_id=2)], True),
        ([known("a"), known("b", count=2)], False),
        ([known("a"), known("b", 2)], False),
        ([known("a", conditional=True), known("b", conditional=True)], True),
        # Its length is found as QEMU runs.
        ([known("a"), known("b", 0)], True),
    ],
)
def test_fields_fit_where_any_vm_can_have_them(fields: list[KnownField], fits: bool) -> None:
    found = misfits([A, B], vmstate(*fields))
    assert (found == []) is fits
    assert all(one.says == "footer" for one in found)


def test_a_field_that_the_qemu_has_not_is_named() -> None:
    (found,) = misfits([A, B], vmstate(known("a")))
    assert (found.path, found.found, found.expected) == ("b", "in the image", "no such field")


def test_one_structure_of_several_with_a_name_is_enough() -> None:
    assert misfits([A, B], vmstate(known("a")), vmstate(known("a"), known("b"))) == []
    assert misfits([A, B], vmstate()) == []
    assert list(known_misfits(saved("dev", A), {"other": (vmstate(known("b", 2)),)})) == []


def test_arrays_are_as_long_as_they_were_sent() -> None:
    inner = vmstate(known("n"), name="inner")
    told = vmstate(known("port", 0, structure=inner))
    for count in (1, 3):
        assert misfits([struct("port", number("n", 1), count=count)], told) == []
    fixed = vmstate(known("port", 0, structure=inner, count=2))
    assert misfits([struct("port", number("n", 1), count=2)], fixed) == []
    assert misfits([struct("port", number("n", 1), count=3)], fixed) != []
    assert misfits([part("data", "uint16", bytes(6), 3)], vmstate(known("data", 2))) == []


@pytest.mark.parametrize(
    ("newest", "oldest", "says"),
    [(1, 1, ""), (3, 1, ""), (0, 0, "section-version"), (3, 2, "version-old")],
)
def test_versions_are_between_oldest_and_newest(newest: int, oldest: int, says: str) -> None:
    told = vmstate(known("a"), version_id=newest, minimum_version_id=oldest)
    assert [one.says for one in misfits([A], told)] == ([says] if says else [])


def test_subsections_are_known_with_their_version() -> None:
    sub = Sub("dev/sub", (B,))
    plain = vmstate(known("a"))
    assert [one.says for one in misfits([A, sub], plain)] == ["subsection"]
    has = vmstate(known("a"), subsections=(vmstate(known("b"), name="dev/sub"),))
    assert misfits([A, sub], has) == []
    newer = vmstate(known("b"), name="dev/sub", version_id=3, minimum_version_id=2)
    found = misfits([A, sub], vmstate(known("a"), subsections=(newer,)))
    assert [one.says for one in found] == ["version-old"]
    # That a receiver has one does not matter to who sends none.
    assert misfits([A], has) == []


def test_only_pc_machines_have_usual_fields() -> None:
    assert list(unusual_fields(saved("0000:00:01.3/piix4_pm", A, vmsd="piix4_pm"))) == []
