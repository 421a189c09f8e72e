"""virsh with a driver of its own, as a witness of what is said of libvirt saves.

The driver runs inside virsh (qemu:///embed) with a folder of its own, so that no daemon is needed
and no other domain is seen.  It needs root, for which the driver has no other mode here.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.loaders import Outcome
from qemu_vm import require_qemu

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
seccomp_sandbox = 0
"""
#: What libvirt starts by name to pack a save or to unpack it.
_PACKERS = ("gzip", "bzip2", "xz", "lzop", "zstd")
#: What virsh says where its driver has noticed the end of QEMU first; the log has QEMU's words.
RACE = "Domain not found"
_TRIES = 4
#: Seconds: the first call asks every QEMU what it can do; a restore that takes as long hangs.
_FIRST, _HANGS = 120, 10


@dataclass(frozen=True)
class Virsh:
    """A driver with a folder of its own, and a save that it made."""

    root: Path
    save: bytes

    def restore(self, data: bytes) -> tuple[Outcome, str]:
        """What virsh restore does with a file of these bytes; no guest is left."""
        path = self.root / "asked.save"
        path.write_bytes(data)
        return self.restore_file(path)

    def restore_file(self, path: Path) -> tuple[Outcome, str]:
        """The same of a file; where virsh itself has lost what QEMU said, it is asked again."""
        for _ in range(_TRIES):
            code, text = virsh(self.root, f"restore {path}", _HANGS)
            end_guests(self.root)
            if RACE not in text:
                break
        return outcome_of(code, text), text


def outcome_of(code: int | None, text: str) -> Outcome:
    """What virsh restore did, by its exit code (None: it hangs) and its output."""
    if code is None or code < 0 or "GLib-ERROR" in text:
        return Outcome.CRASHES
    return Outcome.LOADS if "Domain restored" in text else Outcome.REFUSES


def virsh(
    root: Path, commands: str, seconds: int = _FIRST, *, largest: int | None = None
) -> tuple[int | None, str]:
    """Exit code (None: it had to be ended) and output; guests stay.

    largest: bytes that a file which it writes may have, as on a disk that is full then.
    """
    process = start(root, commands)
    if largest is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest, largest))
    try:
        text = process.communicate(timeout=seconds)[0]
        return process.returncode, text
    except subprocess.TimeoutExpired:
        process.kill()
        end_guests(root)
        return None, process.communicate()[0]


def start(root: Path, commands: str) -> subprocess.Popen[str]:
    """A virsh with the driver of that folder."""
    words = [str(shutil.which("virsh")), "-c", f"qemu:///embed?root={root}", commands]
    return subprocess.Popen(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        errors="backslashreplace",
        env={**os.environ, "PATH": str(root / "bin"), "XZ_OPT": "-0"},
    )  # fmt: skip


def end_guests(root: Path) -> None:
    """Ends every guest at once, and has the driver forget that they were there.

    `virsh destroy` would wait more than a second for each; a driver learns of guests from their
    files when it starts, and here each virsh has a driver of its own.
    """
    running = root / "run" / "qemu"
    for path in running.glob("*.pid"):
        if path.stem != "driver":
            with suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)
            path.unlink()
            path.with_suffix(".xml").unlink(missing_ok=True)


@contextmanager
def driver() -> Iterator[Path]:
    """The folder of a driver; the path is short, as sockets lie in it."""
    require_qemu("x86_64")
    if not shutil.which("virsh") or os.geteuid():
        message = "virsh is absent, or this is not root"
        if os.environ.get("FIXEDRAM_REQUIRE_QEMU"):
            pytest.fail(message)
        pytest.skip(message)
    root = Path(tempfile.mkdtemp(prefix="fxv-"))
    try:
        (root / "etc").mkdir()
        (root / "etc" / "qemu.conf").write_text(_CONF)
        _tools(root / "bin")
        yield root
    finally:
        end_guests(root)
        shutil.rmtree(root)


def _tools(folder: Path) -> None:
    """A PATH with the programs that saves go through.

    The driver asks every QEMU in its PATH what it can do, which takes seconds for each; it is told
    the one that matters by the XML.
    """
    folder.mkdir()
    for name in _PACKERS:
        if program := shutil.which(name):
            (folder / name).symlink_to(program)


def saved(root: Path, xml: str) -> Virsh:
    """A save of a guest that virsh started by this XML, in which {qemu} is the emulator."""
    qemu = require_qemu("x86_64")
    (root / "fx.xml").write_text(xml.format(qemu=shutil.which(str(qemu)) or qemu, root=root))
    commands = f"version; define {root}/fx.xml; start fx; save fx {root}/fx.save; undefine fx"
    _, text = virsh(root, commands)
    end_guests(root)
    if "saved to" not in text:
        pytest.fail(text)
    if "QEMU 9.0" not in text:
        pytest.skip("this is another libvirt than 9.0")
    return Virsh(root, (root / "fx.save").read_bytes())
