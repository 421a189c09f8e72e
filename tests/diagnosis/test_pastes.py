"""What people paste, as real QEMU and libvirt printed it: the nearest cause comes first."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fixedram_fmt.diagnosis import Rank, diagnose

PASTES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "pastes.toml").read_text(encoding="utf-8")
)["paste"]


@pytest.mark.parametrize("paste", PASTES, ids=[paste["name"] for paste in PASTES])
def test_the_nearest_cause_of_a_paste_comes_first(paste: dict[str, Any]) -> None:
    told = diagnose(paste["text"])
    assert told.top is not None
    assert told.top.message == paste["top"]
    assert (told.top.side.value, told.top.rule) == (paste["side"], paste.get("rule"))
    distances = [cause.rank.distance for cause in told.causes]
    assert distances == sorted(distances)


def test_no_paste_is_there_twice() -> None:
    assert len({paste["name"] for paste in PASTES}) == len(PASTES)


def test_a_log_tells_messages_of_every_rank() -> None:
    ranks = {cause.rank for paste in PASTES for cause in diagnose(paste["text"]).causes}
    assert ranks == set(Rank)


LINES = (
    "qemu-system-x86_64: get_pci_config_device: Bad config data: i=0x34 read: 84 device: 98"
    " cmask: ff wmask: 0 w1cmask:0",
    "qemu-system-x86_64: Failed to load PCIDevice:config",
    "qemu-system-x86_64: Failed to load virtio-net:virtio",
    "qemu-system-x86_64: error while loading state for instance 0x0 of device"
    " '0000:00:02.0/virtio-net'",
    "qemu-system-x86_64: load of migration failed: Invalid argument",
)


def test_causes_go_from_the_innermost_to_what_stands_around() -> None:
    told = diagnose("error: Failed to restore domain from x\nerror: " + "\n".join(LINES))
    assert [cause.message for cause in told.causes] == [
        *(line.removeprefix("qemu-system-x86_64: ") for line in LINES),
        "Failed to restore domain from x",
    ]
    assert [cause.values.get("section") for cause in told.causes[:3]] == [
        "0000:00:02.0/virtio-net"
    ] * 3
    assert told.unknown == ()


def test_one_joined_line_goes_from_its_end_to_its_beginning() -> None:
    told = diagnose(
        "load of migration failed: Invalid argument: error while loading state for instance 0x0 of"
        " device '0000:00:02.0/virtio-net': Failed to load element of type virtio for virtio:"
        " Features 0x1 unsupported. Allowed features: 0x2"
    )
    assert [cause.key for cause in told.causes] == [
        "virtio-features", "element", "state-of-device", "last-line",
    ]  # fmt: skip
    assert told.causes[1].values["field"] == "virtio"
    assert told.causes[-1].values["reason"] == "Invalid argument"


def test_the_reason_of_the_last_line_says_more_of_a_section() -> None:
    section = "error while loading state for instance 0x0 of device 'timer'"
    missing = diagnose(f"{section}\nload of migration failed: No such file or directory").top
    ended = diagnose(f"{section}\nload of migration failed: Input/output error").top
    alone = diagnose(f"{section}\nload of migration failed: Invalid argument").top
    assert missing is not None
    assert ended is not None
    assert alone is not None
    assert "subsection" in missing.explanation
    assert (missing.rule, ended.rule, alone.rule) == ("T15", "S03", "T12")
    assert (missing.side.value, ended.side.value) == ("receiver", "image")


def test_a_warning_is_no_cause() -> None:
    told = diagnose("qemu-system-x86_64: warning: fd: migration to a file is deprecated. Use file:")
    assert told.causes == ()
    assert told.warnings
    assert not told.fails
