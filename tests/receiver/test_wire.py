"""Two layouts of a device: what makes one longer on the wire than the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt.receiver import wire
from fixedram_fmt.schema.vmdesc import Field
from fixedram_fmt.vmstate.structure import Structure
from support.receivers import field, structure


def difference(sent: Structure, own: Structure) -> list[tuple[str, str]]:
    """Paths of what differs, on either side."""
    ones, others = wire.leaves(sent), wire.leaves(own)
    assert ones is not None
    assert others is not None
    return [
        (one.sent.path if one.sent else "", one.own.path if one.own else "")
        for one in wire.differences(ones, others)
    ]


A, B, C = field("a"), field("b"), field("c", "uint64", 8)


@pytest.mark.parametrize(
    ("sent", "own", "told"),
    [
        ([A, B], [A, B], []),
        ([A, B, C], [A, C], [("b", "")]),
        ([A, C], [A, B, C], [("", "b")]),
        ([A, B], [A], [("b", "")]),
        ([], [A], [("", "a")]),
        # Another name, as many bytes.
        ([A, C], [B, C], []),
        ([A, field("x", "uint16", 2), field("y", "uint16", 2)], [A, B], []),
        ([A, field("n", "uint8", 1, 3)], [A, field("n", "uint8", 1, 5)], [("n", "n")]),
        # Equally long, for more of the one is less of the other.
        ([A, B, field("n", "uint8", 1, 8)], [A, C, field("n", "uint8", 1, 4)], []),
    ],
)
def test_what_differs_is_told_with_its_path(
    sent: list[Field], own: list[Field], told: list[tuple[str, str]]
) -> None:
    assert difference(structure(*sent), structure(*own)) == told


def test_fields_that_moved_into_a_structure_of_their_own_are_the_same_bytes() -> None:
    flat = structure(A, B, C)
    moved = structure(("state", structure(A, B, name="state")), C)
    assert not wire.is_same(flat, moved)
    assert difference(flat, moved) == []


def test_elements_of_arrays_have_numbers() -> None:
    one = structure(("port", structure(A, B), 2))
    more = structure(("port", structure(A, B), 3))
    assert difference(one, more) == [("", "port[2]/a"), ("", "port[2]/b")]
    leaves = wire.leaves(one)
    assert leaves is not None
    assert [leaf.start for leaf in leaves] == [0, 4, 8, 12]


def test_elements_written_apart_have_numbers_too() -> None:
    parts = [Field(name="q", type="uint8", size=1, index=number) for number in range(3)]
    leaves = wire.leaves(structure(*parts, A))
    assert leaves is not None
    assert [leaf.path for leaf in leaves] == ["q[0]", "q[1]", "q[2]", "a"]


def test_of_very_many_fields_only_the_first_that_differs_is_told() -> None:
    many = [field(f"f{number}") for number in range(1500)]
    others = [field(f"g{number}") for number in range(1501)]
    assert difference(structure(A, *many), structure(A, *others)) == [("", "g1500")]


def test_more_than_any_device_has_is_not_compared() -> None:
    assert wire.leaves(structure(("many", structure(A), 1 << 20))) is None


@pytest.mark.slow
@pytest.mark.parametrize("count", [1 << 20, 1 << 48])
def test_elements_without_fields_take_no_time(count: int) -> None:
    empty = structure(("many", structure(name="nothing"), count))
    assert wire.leaves(empty) is None
    assert list(wire.subsections(empty)) == []
    below = structure(("many", structure(name="n", subsections=[structure(A, name="n/s")]), count))
    assert len(list(wire.subsections(below))) < 1 << 15


def test_subsections_are_told_outer_before_inner_with_their_places() -> None:
    inner = structure(A, name="d/s/t")
    outer = structure(A, name="d/s", subsections=[inner])
    first = structure(B, name="in", subsections=[structure(A, name="in/s")])
    top = structure(("one", first), A, name="d", subsections=[outer])
    told = [(one.path, one.vmsd, one.start) for one in wire.subsections(top)]
    # A header is 0x05, the length of the name, the name, and the version.
    assert told == [
        ("one/in/s", "in", 4),
        ("d/s", "d", 4 + 10 + 4 + 4),
        ("d/s/d/s/t", "d/s", 4 + 10 + 4 + 4 + 9 + 4),
    ]
    leaves = wire.leaves(top)
    assert leaves is not None
    assert [leaf.path for leaf in leaves] == ["one/b", "a"]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (structure(A, ("s", structure(B))), True),
        (structure(A, ("s", structure(field("b", "int32")))), False),
        (structure(A, field("s", "struct")), False),
        (structure(B, ("s", structure(B))), False),
        (structure(A, ("s", structure(B)), C), False),
        (structure(field("a", count=1), ("s", structure(B))), False),
        (structure(A, ("s", structure(B)), subsections=[structure(name="x")]), False),
    ],
)
def test_structures_are_the_same_field_by_field(other: Structure, *, same: bool) -> None:
    assert wire.is_same(structure(A, ("s", structure(B))), other) is same


def test_structures_with_other_subsections_are_not_the_same() -> None:
    one, other, third = (
        structure(A, subsections=[structure(inner, name=name)])
        for inner, name in ((A, "d/s"), (A, "d/t"), (B, "d/s"))
    )
    assert not wire.is_same(one, other)
    assert not wire.is_same(one, third)
    assert wire.is_same(one, structure(A, subsections=[structure(A, name="d/s")]))


FIELDS = st.lists(
    st.builds(field, st.sampled_from("abcd"), st.just("buffer"), st.integers(0, 3)), max_size=6
)


@pytest.mark.slow
@given(FIELDS, FIELDS)
def test_what_is_told_adds_up_to_the_difference_in_length(
    one: list[Field], two: list[Field]
) -> None:
    sent, own = wire.leaves(structure(*one)), wire.leaves(structure(*two))
    assert sent is not None
    assert own is not None
    told = wire.differences(sent, own)
    surplus = sum((d.sent.length if d.sent else 0) - (d.own.length if d.own else 0) for d in told)
    assert surplus == sum(x.size for x in one) - sum(x.size for x in two)
