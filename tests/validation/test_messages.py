"""The table of QEMU's messages: filled from an image, and found again in a log.

That the texts are QEMU's own is what the interop tests hold; here they are lines copied from logs.
"""

from __future__ import annotations

import pytest

from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import unopened, validate
from fixedram_fmt.validation.message import filled
from fixedram_fmt.validation.messages import MESSAGES, said_in
from fixedram_fmt.write.faults import Fault, catalogue
from support.synthetic import image_of, made

#: Lines of logs, as QEMU and libvirt write them, and what they say.
LOG = {
    "qemu-system-x86_64: Missing section footer for 0000:00:01.3/piix4_pm": (
        "footer", {"name": "0000:00:01.3/piix4_pm"},
    ),
    "kvm: Mismatched section id in footer for ram - read 0x1267 expected 0x1": (
        "footer-id", {"name": "ram", "footer_id": "1267", "expected_id": "1"},
    ),
    "2026-01-01T10:00:00.000000Z qemu-kvm: Unknown ramblock \"mem1\", cannot accept migration": (
        "unknown-block", {"block": "mem1"},
    ),
    "qemu-system-x86_64: Size mismatch: pc.ram: 0x4000000 != 0x8000000: Invalid argument": (
        "size-mismatch", {"block": "pc.ram", "length": "4000000", "local_length": "8000000"},
    ),
    "qemu-system-x86_64: savevm: unsupported version -1 for 'timer' v2": (
        "section-version", {"version": "-1", "name": "timer", "local_version": "2"},
    ),
    "load of migration failed: Operation not permitted: error while loading state for instance"
    " 0x0 of device '0000:00:13.0/virtio-net': Failed to load element of type virtio for virtio": (
        "element", {"type": "virtio", "field": "virtio"},
    ),
    "qemu: get_pci_config_device: Bad config data: i=0x34 read: 84 device: 98 cmask: ff wmask: 0"
    " w1cmask:0": (
        "pci-config",
        {"offset": "34", "read": "84", "own": "98", "cmask": "ff", "wmask": "0",
         "w1cmask": "0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", LOG)
def test_a_line_of_a_log_is_found_in_the_table(line: str) -> None:
    key, holes = LOG[line]
    assert {said.key: said.holes for said in said_in(line)}[key] == holes


def test_a_line_that_is_no_message_is_not_found() -> None:
    assert not list(said_in("qemu-system-x86_64: terminating on signal 15 from pid 1"))


@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
@pytest.mark.parametrize("loader", ["qemu-10.0", "qemu-11.1"])
def test_what_a_verdict_says_is_found_in_the_table(fault: Fault, loader: str) -> None:
    try:
        report = validate(image_of(made(faults=[fault])))
    except FormatError as error:
        report = unopened(error)
    verdict = report.verdict(LOADERS[loader], multifd=False)
    if verdict.outcome is not Outcome.REFUSES:
        assert not verdict.messages or "failed to allocate" in verdict.message
        return
    assert verdict.decided_by is not None
    assert verdict.messages[-1].startswith("load of migration failed: ")
    assert any(verdict.message in line for line in verdict.messages)
    if verdict.message == verdict.messages[-1]:
        return  # there is no line of its own
    # A line ends before the first hole that is not known.
    begins = {filled(one.text(LOADERS[loader].major), {}) for one in MESSAGES.values()} - {""}
    assert list(said_in(verdict.message)) or verdict.message.startswith(tuple(begins))
