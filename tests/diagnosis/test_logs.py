"""How a log is read: wrapped lines, several attempts, what is no error, what is not known."""

from __future__ import annotations

import io
import json

import pytest

from fixedram_fmt.diagnosis import diagnose
from fixedram_fmt.diagnosis.lines import LINE_CEILING, lines_of

BLOCK = 'Unknown ramblock "{}", cannot accept migration'
LAST = "load of migration failed: Invalid argument"
START = (
    "2026-11-27 06:00:00.000+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4, qemu"
    " version: 10.0.2, kernel: 6.1, hostname: h"
)


def blocks(log: str) -> list[tuple[int, str]]:
    return [(cause.attempt, cause.values.get("block", "")) for cause in diagnose(log).causes]


@pytest.mark.parametrize(
    "log",
    [
        'Unknown ramblock "mem1", cannot\naccept migration',
        'Unknown ramb\nlock "mem1", cannot accept migr\nation',
        "error: internal error: QEMU unexpectedly closed the monitor (vm='x'): Unknown ramblock \"m"
        'em1",\n cannot accept migration\n',
    ],
)
def test_a_message_that_a_terminal_broke_is_found(log: str) -> None:
    told = diagnose(log)
    assert told.top is not None
    assert told.top.values["block"] == "mem1"
    assert told.unknown == ()


def test_lines_with_a_time_are_not_joined() -> None:
    told = diagnose('2026-11-27T06:00:00Z qemu: Unknown ramblock\n2026-11-27T06:00:01Z qemu: "x"')
    assert "block" not in dict(told.causes[0].values if told.causes else {})


def test_the_causes_of_the_last_attempt_come_first() -> None:
    log = "\n".join((START, BLOCK.format("a"), LAST, START, BLOCK.format("b"), LAST))
    assert blocks(log) == [(2, "b"), (2, ""), (1, "a"), (1, "")]
    assert diagnose(log).attempts == 2


def test_a_cause_after_the_end_is_of_another_attempt() -> None:
    log = "\n".join((BLOCK.format("a"), LAST, BLOCK.format("b"), LAST))
    assert blocks(log)[0] == (2, "b")


def test_what_virsh_says_again_is_the_same_attempt() -> None:
    log = "\n".join((BLOCK.format("a"), LAST, "error: Failed to restore domain from x",
                     "error: internal error: qemu unexpectedly closed the monitor: "
                     f"qemu: {BLOCK.format('a')}", LAST))  # fmt: skip
    told = diagnose(log)
    assert {cause.attempt for cause in told.causes} == {1}
    assert told.causes[0].times == 2


def test_a_last_start_without_a_failure_is_told() -> None:
    told = diagnose("\n".join((START, BLOCK.format("a"), LAST, START)))
    assert told.causes[0].values["block"] == "a"
    assert any("the last start" in warning for warning in told.warnings)


def test_what_looks_like_an_error_and_is_not_known_is_told_as_it_stands() -> None:
    lines = ["qemu-system-x86_64: the moon is in the wrong house", "error: something failed badly"]
    told = diagnose("\n".join((*lines, "all is well", lines[1])))
    assert told.unknown == (lines[0], f"{lines[1]} (2 times)")
    assert told.causes == ()


@pytest.mark.parametrize(
    "line",
    [
        "char device redirected to /dev/pts/1 (label charserial0)",
        "2026-11-27T06:00:00.1Z qemu-system-x86_64: terminating on signal 15 from pid 7 (libvirtd)",
        "2026-11-27 06:00:00.000+0000: shutting down, reason=destroyed",
        "2026-11-27 06:00:00.000+0000: Domain id=1 is tainted: host-cpu",
        "-msg timestamp=on,error=failed \\",
        "/usr/bin/qemu-system-x86_64 -name error -m 32 -incoming defer -device failed -S",
    ],
)
def test_what_is_no_error_is_left_out(line: str) -> None:
    told = diagnose(line)
    assert (told.causes, told.unknown, told.warnings) == ((), (), ())


def test_a_warning_is_told_as_one() -> None:
    line = "qemu-system-x86_64: warning: the sky is grey"
    assert diagnose(line).warnings == (line,)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Bad config data", "pci-config"),
        ("get_pci_config_device: Bad config data: i=0x10 read: a1 device: 1", "pci-config"),
        ("section footer for", "footer"),
    ],
)
def test_a_part_of_a_message_is_known(text: str, key: str) -> None:
    top = diagnose(text).top
    assert top is not None
    assert top.key == key


@pytest.mark.parametrize(
    "before",
    ["qemu-system-x86_64: ", "2026-11-20T10:33:12.1Z qemu-kvm: ", "error: operation failed: ",
     "error: internal error: process exited: 2026-11-20T10:33:12Z qemu-system-x86_64: "],
)  # fmt: skip
def test_a_part_of_a_message_is_known_after_what_stands_before_messages(before: str) -> None:
    told = diagnose(f"{before}received capability is")
    assert told.causes[0].message.endswith("received capability is")
    assert told.causes[0].rule == "T02"
    assert told.unknown == ()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_log_in_utf_16_is_read(encoding: str, end: str) -> None:
    told = diagnose(f"{BLOCK.format('a')}{end}{LAST}{end}".encode(encoding))
    assert [(cause.message, cause.line) for cause in told.causes] == [
        (BLOCK.format("a"), 1), (LAST, 2),
    ]  # fmt: skip


def test_holes_of_a_part_are_filled_as_far_as_it_goes() -> None:
    top = diagnose("Bad config data: i=0x10 read: a1 device: 1").top
    assert top is not None
    assert "at 0x10: image 0xa1, receiver 0x1." in top.explanation


def test_json_of_qmp_has_its_escapes_undone() -> None:
    error = {"class": "GenericError", "desc": BLOCK.format("m\u00e9m")}
    for document in ({"error": error}, {"return": {"error-desc": error["desc"]}}):
        top = diagnose(json.dumps(document)).top
        assert top is not None
        assert top.values["block"] == "m\u00e9m"


def test_long_lines_are_read_in_pieces_and_that_is_told() -> None:
    told = diagnose("x" * (3 * LINE_CEILING) + f" {BLOCK.format('a')}\n{LAST}")
    assert told.lines == 2
    assert told.causes[0].line == 1
    assert any("longer than 16 KiB" in warning for warning in told.warnings)


def test_lines_are_numbered_as_the_file_has_them() -> None:
    log = b"a\n\n\x00\x00b\r\nc\rd\n"
    assert [(line.number, line.text) for line in lines_of(io.BytesIO(log))] == [
        (1, "a"), (3, "b"), (4, "c"), (4, "d"),
    ]  # fmt: skip


def test_nothing_is_known_of_nothing() -> None:
    for log in ("", "\n", b"\xff\xfe\x00", "\ud800"):
        told = diagnose(log)
        assert (told.causes, told.unknown, told.attempts) == ((), (), 0)
