"""Failures that a real QEMU is brought to, and what it prints: the cases of provoked.toml.

What is printed is kept as it is printed: standard error with QEMU's name, or the answers of its
monitor, a line each.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixedram_fmt.io.output import replacing
from fixedram_fmt.write.faults import fault_named
from fixedram_fmt.write.spec import ImageSpec, parse_block
from fixedram_fmt.write.synth import write_image
from qemu_vm import QemuVM, file_uri, require_qemu
from support.provoked_edits import Edit, edited

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TABLE", "Case", "Expected", "Provoked", "Saves", "cases", "provoke"]

TABLE = Path(__file__).parent.parent / "interop" / "provoked.toml"
#: With a clock that is the guest's, two saves of one configuration are alike.
_CLOCK = ("-rtc", "base=2020-01-01T00:00:00,clock=vm")
_COMMON = (
    "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-S", *_CLOCK,
)  # fmt: skip
_TIME_LIMIT = 20
_NOBODY = 65534
#: Memory of a synthetic image, as `fixedram synth --block` names it; the machine is pc.
_BLOCKS = ("pc.ram=16M:counter:0.1",)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is to be told of a failure; see provoked.toml for what the fields mean."""

    name: str
    side: str | Sequence[str]
    key: str = ""
    says: str = ""
    found: dict[str, str] = field(default_factory=dict)

    @property
    def sides(self) -> Sequence[str]:
        """Who may be told to change, by the words alone."""
        return [self.side] if isinstance(self.side, str) else self.side

    def is_meant(self, key: str | None, message: str) -> bool:
        """Whether that is the message of the table, by key or words; holes take anything."""
        if self.key:
            return key == self.key
        words = re.sub(r"\\\{\w+\\\}", ".+", re.escape(self.says))
        return re.search(words, message) is not None


@dataclass(frozen=True, kw_only=True)
class Case(Expected):
    """One failure of QEMU."""

    machine: str
    sends: str | None = None
    receives: str = ""
    receiver: str = ""
    stream: bool = False
    offset: int = 0
    blocks: Sequence[str] = ()
    faults: Sequence[str] = ()
    edits: Sequence[Edit] = ()
    sends_with: Sequence[str] = ()
    capabilities: Sequence[str] = ("mapped-ram",)
    incoming: str = "{uri}"
    qmp: Sequence[dict[str, Any]] = ()
    contents: str | None = None
    accel: str = "tcg"
    nobody: bool = False
    runs_until: str = ""

    @property
    def saves(self) -> bool:
        """Whether there is an image at all."""
        return (
            self.sends is not None or bool(self.faults or self.blocks) or self.contents is not None
        )


@dataclass(frozen=True)
class Provoked:
    """What a program printed, its exit code, and the image, if there is one."""

    text: str
    code: int
    image: Path | None


def cases() -> dict[str, Case]:
    """All of provoked.toml that QEMU is asked."""
    table = tomllib.loads(TABLE.read_text("utf-8"))
    machines = table["machines"]
    found = {}
    for name, one in table["qemu"].items():
        other = one.pop("receiver", one.get("machine", "pc"))
        one |= {"machine": machines[one.get("machine", "pc")], "receiver": machines[other]}
        found[name] = Case(name=name, **one)
    return found


def provoke(case: Case, folder: Path, saves: Saves) -> Provoked:
    """Brings QEMU to the failure; the image is written into the folder."""
    image = folder / "image"
    if case.saves:
        image.write_bytes(edited(_data(case, image, saves), case.edits, case.offset))
    if case.nobody:
        image.touch()
        image.chmod(0)
    words = [word.format(uri=file_uri(image, case.offset), image=image)
             for word in shlex.split(case.incoming)]  # fmt: skip
    args = _arguments(case)
    if case.qmp:
        text, code = _asked(args, case.qmp, words[0])
    else:
        incoming = [part for word in words for part in ("-incoming", word)]
        text, code = _run([*args, *incoming], nobody=case.nobody)
    return Provoked(text, code, image if case.saves else None)


def _arguments(case: Case) -> list[str]:
    arch, *machine = shlex.split(f"{case.receiver} {case.receives}")
    args = [require_qemu(arch), *_COMMON, "-accel", case.accel, *machine]
    for one in case.capabilities:
        args += ["-global", f"migration.{one}=on"]
    return args


def _data(case: Case, image: Path, saves: Saves) -> bytes:
    if case.contents is not None:
        return bytes.fromhex(case.contents)
    if case.sends is not None:
        return saves.of(case).read_bytes()
    with replacing(image) as output:
        spec = ImageSpec(blocks=[parse_block(block) for block in case.blocks or _BLOCKS])
        write_image(spec, output, [fault_named(fault) for fault in case.faults])
    return image.read_bytes()


class Saves:
    """Saves of the VMs that cases send, each made once and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[object, Path] = {}

    def of(self, case: Case) -> Path:
        """The save of the VM of a case, as QEMU wrote it."""
        key = (case.machine, case.sends, case.stream, tuple(case.sends_with), case.offset)
        if key not in self._paths:
            path = self.folder / f"{case.name}.saved"
            _save(case, path)
            self._paths[key] = path
        return self._paths[key]


def _save(case: Case, path: Path) -> None:
    arch, *machine = shlex.split(f"{case.machine} {case.sends}")
    still = () if case.runs_until else ("-S",)
    capabilities = [*case.sends_with, *([] if case.stream else ["mapped-ram"])]
    with QemuVM(require_qemu(arch), timeout=_TIME_LIMIT) as vm:
        vm.start((*still, "-accel", "tcg", *_CLOCK, *machine))
        if case.runs_until:
            vm.wait_output(case.runs_until.encode())
        if capabilities:
            vm.set_capabilities(*capabilities)
        assert vm.migrate_to_file(path, case.offset) == "completed", vm.stderr


def _run(args: Sequence[str], *, nobody: bool) -> tuple[str, int]:
    """Standard error and exit code; nobody: of a user who may open nothing that is root's."""
    done = subprocess.run(
        args, check=False, capture_output=True, text=True, errors="backslashreplace",
        stdin=subprocess.DEVNULL, timeout=_TIME_LIMIT,
        user=_NOBODY if nobody and not os.geteuid() else None,
    )  # fmt: skip
    return done.stderr, done.returncode


def _asked(args: Sequence[str], commands: Sequence[dict[str, Any]], uri: str) -> tuple[str, int]:
    """Errors that the monitor answers, a line each, and standard error; QEMU may end by itself."""
    process = subprocess.Popen(
        [*args, "-qmp", "stdio"], text=True, errors="backslashreplace",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for one in ({"execute": "qmp_capabilities"}, *commands):
            process.stdin.write(json.dumps(one).replace("{uri}", uri) + "\n")
        process.stdin.flush()
        error = next((line for line in process.stdout if line.startswith('{"error"')), "")
        if error:
            process.terminate()
        _, written = process.communicate(timeout=_TIME_LIMIT)
    finally:
        process.kill()
        process.wait()
    own = [line for line in written.splitlines(keepends=True) if "terminating on" not in line]
    return error + "".join(own), process.returncode
