"""VMs of running.toml, saved before they run, while they run, paused, and with a device more."""

from __future__ import annotations

import shlex
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from qemu_vm import QemuVM, require_qemu
from support.linux_guest import initrd, kernel_of_linux

__all__ = ["Guest", "guests", "save_running"]

_TABLE = Path(__file__).parent.parent / "interop" / "running.toml"
_COMMON = ("-accel", "tcg", "-rtc", "base=2020-01-01T00:00:00,clock=vm")
#: Linux takes some ten seconds, on a busy machine more.
_TIME_LIMIT = 120


@dataclass(frozen=True)
class Guest:
    """A guest and the VMs it is restored into, by name; see running.toml."""

    name: str
    arch: str
    until: bytes
    runs: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    added: str | None = None
    hot: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def args(self, variant: str, folder: Path) -> tuple[str, ...]:
        """Arguments of a VM; a kernel's files are put into the folder."""
        words = self.variants[variant]
        if "LINUX" not in words:
            return words
        start = folder / "initrd"
        if not start.exists():
            start.write_bytes(initrd())
        real = {"LINUX": kernel_of_linux(), "INITRD": str(start)}
        return tuple(real.get(word, word) for word in words)


def guests() -> dict[str, Guest]:
    """All of running.toml."""
    found = {}
    for name, table in tomllib.loads(_TABLE.read_text("utf-8")).items():
        arch, *machine = shlex.split(table.pop("machine"))
        shared = [*_COMMON, *machine, *shlex.split(table.pop("with"))]
        until, runs = table.pop("until").encode(), ("base", *table.pop("runs"))
        added, hot = table.pop("added", None), [tuple(one) for one in table.pop("hot", [])]
        variants = {one: (*shared, *shlex.split(own)) for one, own in table.items()}
        found[name] = Guest(name, arch, until, runs, variants, added, hot)
    return found


def save_running(guest: Guest, variant: str, folder: Path) -> dict[str, Path]:
    """The saves of a VM that runs: `running`, and of base `paused` and `hot`, with more in it."""
    saves = {}
    with QemuVM(require_qemu(guest.arch), timeout=_TIME_LIMIT) as vm:
        vm.start(guest.args(variant, folder))
        vm.set_capabilities("mapped-ram")
        vm.wait_output(guest.until)
        saves["running"] = _saved(vm, folder / f"{variant}.running")
        if variant == "base":
            _go_on(vm)
            vm.stop()
            saves["paused"] = _saved(vm, folder / f"{variant}.paused")
        if variant == "base" and guest.hot:
            _go_on(vm)
            for command, arguments in guest.hot:
                vm.execute(command, arguments)
            saves["hot"] = _saved(vm, folder / f"{variant}.hot")
    return saves


def _saved(vm: QemuVM, path: Path) -> Path:
    assert vm.migrate_to_file(path) == "completed", vm.stderr
    return path


def _go_on(vm: QemuVM) -> None:
    """A guest stands still after its save, and may go on once QEMU has put the migration away.

    That is a moment after its last event, and no event of its own.
    """
    deadline = time.monotonic() + _TIME_LIMIT
    while cast("dict[str, str]", vm.execute("query-status"))["status"] != "postmigrate":
        assert time.monotonic() < deadline, "the migration is never finished"
    vm.cont()
