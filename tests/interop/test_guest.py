"""A Linux guest of a real QEMU: what is told of it is what it printed on its console."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import convert
from qemu_vm import QemuVM, require_qemu
from support.linux_guest import INIT_SAYS, initrd, kernel_of_linux

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_COMMAND_LINE = "console=ttyS0 ignore_loglevel printk.time=1 panic=-1"
#: CPU, more of the command line, more arguments, and the levels of page tables that Linux takes.
GUESTS = {
    "five-levels": ("max", "", ("-device", "vmcoreinfo"), 5),
    "four-levels": ("qemu64", "nokaslr", (), 4),
}
_TIME_LIMIT = 120


def booted(name: str, folder: Path) -> tuple[Path, str]:
    """The save of a guest whose init has come up, and what it printed."""
    cpu, words, more, _ = GUESTS[name]
    (folder / "initrd").write_bytes(initrd())
    with QemuVM(require_qemu("x86_64"), timeout=_TIME_LIMIT) as vm:
        vm.start((
            "-accel", "tcg", "-cpu", cpu, "-machine", "q35", "-m", "256", "-smp", "2",
            "-kernel", kernel_of_linux(), "-initrd", str(folder / "initrd"),
            "-append", f"{_COMMAND_LINE} {words}".strip(), "-no-reboot", "-serial", "stdio", *more,
        ))  # fmt: skip
        vm.set_capabilities("mapped-ram")
        vm.wait_output(INIT_SAYS)
        assert vm.migrate_to_file(folder / "image") == "completed"
        return folder / "image", vm.output.decode("utf-8", "replace")


@pytest.mark.parametrize("name", GUESTS)
def test_the_guest_is_told_as_it_told_itself(name: str, tmp_path: Path) -> None:
    image, printed = booted(name, tmp_path)
    found = run_cli("guest", image, "--json").json
    release = re.search(r"Linux version (\S+) .*?(#1 SMP.*)\r?\n", printed)
    assert release is not None
    assert (found["system"], found["release"]) == ("Linux", release[1])
    assert found["version"] == release[2].rstrip("\r")
    assert found["cmdline"] == f"{_COMMAND_LINE} {GUESTS[name][1]}".strip()
    assert found["page_levels"] == GUESTS[name][3]
    assert (found["kaslr_offset"] == 0) is (GUESTS[name][1] == "nokaslr")
    assert re.fullmatch("[0-9a-f]{40}", found["build_id"])
    assert re.match(r"20\d\d-\d\d-\d\d ", found["saved_at"])
    assert found["notes"] == []

    dmesg = run_cli("guest", image, "--dmesg")
    assert dmesg.code == 0
    lines = {line.expandtabs().rstrip() for line in printed.replace("\r", "").split("\n")}
    logged = [line.rstrip() for line in dmesg.out.splitlines()]
    assert len(logged) > 200
    assert [line for line in logged if line not in lines] == []
    stamped = {line for line in lines if re.match(r"\[ *\d+\.\d{6}\]", line)}
    assert stamped <= set(logged)

    convert(image, tmp_path / "stream", to="stream")
    other = run_cli("guest", tmp_path / "stream", "--json").json
    assert {**other, "path": ""} == {**found, "path": ""}
