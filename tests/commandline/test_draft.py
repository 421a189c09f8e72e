"""The parts of a command line, and how they are written."""

from __future__ import annotations

import shlex

import pytest

from fixedram_fmt.commandline import CommandLine
from fixedram_fmt.commandline.draft import Draft, is_id, is_sayable, option
from fixedram_fmt.commandline.memory import size_text


def test_commas_of_values_are_doubled() -> None:
    assert option("null", {"id": "a,b", "size": 4}) == "null,id=a,,b,size=4"
    assert option("", {"driver": "null-co"}) == "driver=null-co"
    assert option("pc", {}) == "pc"


@pytest.mark.parametrize(
    ("name", "good"),
    [("mem1", True), ("ram-node0", True), ("a.b_c-", True), ("1mem", False), ("", False),
     ("a b", False), ("mem,1", False), ("méx", False), ("a\n", False)],
)  # fmt: skip
def test_ids_are_those_that_qemu_takes(name: str, good: bool) -> None:
    assert is_id(name) is good


def test_what_cannot_be_an_argument() -> None:
    assert is_sayable("pc-q35-10.0")
    assert not any(map(is_sayable, ("", "a\0", "a\x1b[31m", "a\n", "\u202e")))


def test_lengths_have_the_largest_unit_that_divides_them() -> None:
    lengths = (1 << 30, 3 << 20, 5 << 10, 4097, 0)
    assert [*map(size_text, lengths)] == ["1G", "3M", "5K", "4097B", "0B"]


def test_buses_stand_before_what_is_on_them() -> None:
    draft = Draft(program="qemu", machine_type="pc", machine={"hpet": "off"})
    draft.object("memory-backend-ram", {"id": "m", "size": "1M"})
    draft.device("pci-bridge", {"id": "b", "msi": None})
    draft.device("e1000", {"bus": "b"})
    words = draft.arguments()
    assert words[words.index("-machine") + 1] == "pc,hpet=off"
    places = [words.index(one) for one in ("-object", "pci-bridge,id=b", "e1000,bus=b")]
    assert places == sorted(places)


def test_ids_are_used_once() -> None:
    draft = Draft()
    assert len({draft.chardev(), draft.chardev(), draft.audiodev(), draft.disk(None, "x")}) == 4


def test_what_is_uncertain_is_told_once_and_not_without_end() -> None:
    draft = Draft()
    for number in range(5000):
        draft.doubt(f"part {number}")
        draft.doubt("part 0")
    sentences = draft.sentences()
    assert len(sentences) == len(set(sentences)) < 300
    assert "4744" in sentences[-1]


def test_devices_without_end_are_left_out() -> None:
    draft = Draft()
    added = [draft.device("edu", {"id": f"e{number}"}) for number in range(5000)]
    assert added.count(True) == len(draft.devices) == 4096
    assert any("left out" in one for one in draft.uncertain)


def test_the_shell_reads_back_what_was_written() -> None:
    argv = ("qemu-system-x86_64", "-device", "a,b='$x' y", "-incoming", "file:a b;rm -rf c")
    line = CommandLine(argv, (), argv[-2:])
    assert tuple(shlex.split(str(line).replace("\\\n", ""))) == argv
    assert line.vm == ("-device", "a,b='$x' y")
    assert str(line).count("\n") == 2
