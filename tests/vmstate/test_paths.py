"""Paths: what a glob over device[/instance]/field/field[index] means."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from fixedram_fmt import Image
from fixedram_fmt.vmstate.paths import Pattern
from fixedram_fmt.vmstate.state import paths_of
from support.real_files import location_of


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/bc", False),
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("a/**", "a/b/c", True),
        ("**", "a/b/c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "c", True),
        ("**/c", "a/bc", False),
        ("a/?", "a/b", True),
        ("a/?", "a/bb", False),
        ("a[1]", "a[1]", True),
        ("a[1]", "a[11]", False),
        ("a[*]", "a[11]", True),
        ("a[*]", "a", False),
        # an index left out is any, but not that of the last step
        ("a/b", "a[3]/b", True),
        ("a", "a[3]", False),
        # brackets in names are no classes of characters
        ("gt[PHYS]", "gt[PHYS]", True),
        ("gt[PHYS]", "gtP", False),
        ("a.b", "axb", False),
        ("/a/b/", "a/b", True),
    ],
)
def test_a_pattern_means_these_paths(pattern: str, path: str, *, meant: bool) -> None:
    assert Pattern(pattern).matches(path) is meant


def _expression(text: str) -> re.Pattern[str]:
    """The same language as a regular expression: the oracle, which backtracks."""
    index = r"(?:\[\d+\])"
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "[*]": index}
    parts = re.findall(r"\*\*/?|\*|\?|\[\*\]|[^*?\[]+|\[", text)
    return re.compile(
        "".join(meanings.get(one) or re.escape(one).replace("/", f"{index}?/") for one in parts),
        re.DOTALL,
    )


@pytest.mark.slow
def test_patterns_are_what_a_regular_expression_says() -> None:
    chance = random.Random(15)
    meant = 0
    for _ in range(800):
        glob = "".join(
            chance.choices(["a", "b", "/", "*", "**", "?", "[*]", "[1]", "[", "**/"], k=5)
        ).strip("/")
        pattern, expression = Pattern(glob), _expression(glob)
        for _ in range(6):
            name = "".join(chance.choices(["a", "b", "/", "[1]", "[23]", "[", "]"], k=4))
            want = expression.fullmatch(name) is not None
            assert pattern.matches(name) is want, (glob, name)
            places = pattern.start("")
            for char in name:
                places = pattern.advance(places, char)
            assert pattern.accepts(places) is want
            meant += want
    assert meant > 200


@pytest.mark.parametrize("glob", ["*a" * 30 + "b", "**/a" * 20 + "/b", "a[*]/" * 20 + "b"])
def test_no_name_makes_a_pattern_slow(glob: str) -> None:
    names = ["a" * 20_000, "a/" * 10_000, "a[1]/" * 4_000]
    start = time.process_time()
    assert not Pattern(glob).matches(*names)
    assert time.process_time() - start < 2


def test_devices_are_told_apart_by_instance_where_that_is_needed() -> None:
    devices = [("timer", 0), ("cpu", 0), ("cpu", 1), ("gpio", 3), ("twin", 0), ("twin", 0)]
    assert paths_of(devices) == ["timer", "cpu/0", "cpu/1", "gpio/3", "twin/0", "twin/0#2"]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("cpu*/env.eip", ["cpu/0/env.eip", "cpu/1/env.eip"]),
        ("cpu/1/env.eip", ["cpu/1/env.eip"]),
        ("cpu/env.regs[4]", ["cpu/0/env.regs[4]", "cpu/1/env.regs[4]"]),
        ("**/ioregsel", ["ioapic/ioregsel"]),
        ("ioapic", ["ioapic"]),
        ("cpu/0/env.segs[2]/selector", ["cpu/0/env.segs[2]/selector"]),
        ("apic/*/id", ["apic/0/id", "apic/1/id"]),
        ("configuration/name", ["configuration/name"]),
        ("**/caps_count", ["configuration/configuration/capabilities/caps_count"]),
        ("0000:00:1f.2/ich9_ahci/ahci/ports", ["0000:00:1f.2/ich9_ahci/ahci/ports"]),
        ("nothing", []),
    ],
)
def test_values_of_a_real_machine_are_found(
    pattern: str, paths: list[str], unpacked_dir: Path
) -> None:
    with Image.open(location_of("sample/q35-dimm", unpacked_dir)) as image:
        assert [value.path for value in image.state.find(pattern)] == paths


@pytest.mark.slow
def test_every_path_that_is_printed_finds_its_value_again(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/q35-dimm", unpacked_dir)) as image:
        state = image.state
        for value in state.find("*/*/*"):
            again = state.value(value.path)
            assert again is not None
            assert (again.path, again.offset, again.size) == (value.path, value.offset, value.size)


def test_elements_of_an_array_lie_where_the_array_says(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/q35-dimm", unpacked_dir)) as image:
        array = image.state.value("cpu/0/env.regs")
        assert array is not None
        elements = list(image.state.find("cpu/0/env.regs[*]"))
        assert [one.value for one in elements] == array.value
        assert b"".join(one.raw for one in elements) == array.raw == b"".join(array.pieces())
        assert elements[3].offset == array.offset + 24
