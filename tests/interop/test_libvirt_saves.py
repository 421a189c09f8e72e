"""A guest that checks its own memory: saved by virsh, changed by us, restored by virsh.

What virsh restores has the memory that was saved, to the bit, and goes on; `validate` says of each
file what virsh does with it.
"""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.report import Question, ask
from support.libvirt_guest import BOOTS, FORMATS, LinuxGuest, linux_guest
from support.linux_guest import RIGHT, WRONG
from support.saves import built, edited
from support.virsh import end_guests, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_XML = 92
_PART = b"LibvirtQemudPart"
#: How much of a save is there when it is interrupted: the header, and some of memory.
_BEGUN = 2 << 20


@pytest.fixture(scope="module")
def guest() -> Iterator[LinuxGuest]:
    """The guest, and its save."""
    with linux_guest() as found:
        yield found


def verdict(path: Path) -> Outcome | None:
    """What validate says that virsh 9.0 does."""
    return ask(str(path), Question("libvirt-9.0")).verdict


def restores(
    guest: LinuxGuest, path: Path, name: str = "fx", *, compression: str | None = "any"
) -> None:
    """virsh restores it with the memory that was saved, and validate says so."""
    restored = guest.restore(path, name)
    assert restored.outcome is Outcome.LOADS, restored.text
    assert restored.memory == guest.memory
    assert not guest.said(WRONG)
    assert verdict(path) is Outcome.LOADS
    with Image.open(path) as image:
        assert compression in ("any", image.container.compression)


def refuses(guest: LinuxGuest, path: Path, message: str) -> None:
    """virsh refuses it with this message, which is the verdict's."""
    restored = guest.restore(path)
    assert restored.outcome is Outcome.REFUSES, restored.text
    assert message in restored.text
    report = ask(str(path), Question("libvirt-9.0"))
    assert report.verdict is Outcome.REFUSES
    assert message in report.message


def made(*words: Any) -> Path:
    """What a command of ours writes; its words are those before `-o`, and the file."""
    *command, out = words
    result = run_cli(*command, "-o", out)
    assert result.code == 0, result.err
    return out  # type: ignore[no-any-return]


# -- what virsh saves


@pytest.mark.parametrize("form", FORMATS)
def test_save_of_every_format_is_restored(form: str, guest: LinuxGuest) -> None:
    restores(guest, guest.saved_as(form), compression=None if form == "raw" else form)


def test_format_that_is_unknown_is_not_saved(guest: LinuxGuest, tmp_path: Path) -> None:
    assert "Invalid save image format" in guest.save(tmp_path / "x.save", "zstd")


# -- what we make of it


def _through_mapped_ram(guest: LinuxGuest, folder: Path) -> Path:
    mapped = made("convert", guest.raw, "--container", "none", folder / "mapped")
    stream = made("convert", mapped, "--to", "stream", folder / "stream")
    return made("copy", stream, "--container", "libvirt", "--xml", _xml(guest, folder),
                folder / "back.save")  # fmt: skip


def _through_sparse(guest: LinuxGuest, folder: Path) -> Path:
    sparse = made("convert", guest.saved_as("gzip"), folder / "sparse.save")
    return made("convert", sparse, "--to", "stream", folder / "back.save")


def _through_other_alignment(guest: LinuxGuest, folder: Path) -> Path:
    sparse = made("convert", guest.raw, folder / "sparse.save")
    aligned = made("copy", sparse, "--align", "64K", "--drop-stale", folder / "aligned.save")
    return made("convert", aligned, "--to", "stream", folder / "back.save")


def _out_and_in_again(guest: LinuxGuest, folder: Path) -> Path:
    stream = made("copy", guest.saved_as("lzop"), "--container", "none", folder / "stream")
    return made("copy", stream, "--container", "libvirt", "--xml", _xml(guest, folder),
                folder / "back.save")  # fmt: skip


def _xml(guest: LinuxGuest, folder: Path, *edits: tuple[str, str]) -> Path:
    xml = guest.raw.read_bytes()[_XML:].partition(b"\0")[0].decode()
    for old, new in edits:
        assert old in xml
        xml = xml.replace(old, new)
    path = folder / "domain.xml"
    path.write_text(xml)
    return path


OURS: dict[str, Callable[[LinuxGuest, Path], Path]] = {
    "copied": lambda guest, folder: made("copy", guest.raw, folder / "new.save"),
    "gzip copied": lambda guest, folder: made("copy", guest.saved_as("gzip"), folder / "new.save"),
    "packed": lambda guest, folder: made(
        "copy", guest.raw, "--compress", "gzip", folder / "new.save"
    ),
    "running": lambda guest, folder: made("copy", guest.raw, "--running", folder / "new.save"),
    "mapped-ram and back": _through_mapped_ram,
    "sparse and back": _through_sparse,
    "aligned and back": _through_other_alignment,
    "out and in again": _out_and_in_again,
}


@pytest.mark.parametrize("name", OURS)
def test_what_we_write_is_restored(name: str, guest: LinuxGuest, tmp_path: Path) -> None:
    restores(guest, OURS[name](guest, tmp_path))


def test_sparse_save_is_for_a_later_libvirt(guest: LinuxGuest, tmp_path: Path) -> None:
    path = made("convert", guest.raw, tmp_path / "sparse.save")
    refuses(guest, path, "Invalid compressed save format 6")
    assert ask(str(path), Question("libvirt-11.3")).verdict is Outcome.LOADS


def test_guest_runs_or_stands_as_we_say(guest: LinuxGuest, tmp_path: Path) -> None:
    for word, state in (("--running", "running"), ("--paused", "paused")):
        path = made("copy", guest.raw, word, tmp_path / f"{state}.save")
        text = guest.virsh(f"restore {path}; domstate fx")
        end_guests(guest.root)
        assert f"\n{state}\n" in text


# -- XML


def test_other_name_and_uuid_in_the_xml(guest: LinuxGuest, tmp_path: Path) -> None:
    """virsh takes no such XML beside the file, and restores what has it inside."""
    xml = _xml(guest, tmp_path, (">fx<", ">clone<"), ("3f0c2b1e", "3f0c2b1f"))
    assert "does not match source" in guest.virsh(f"restore {guest.raw} --xml {xml}")
    path = made("copy", guest.raw, "--container", "libvirt", "--xml", xml, tmp_path / "clone.save")
    restores(guest, path, "clone")


def test_xml_that_virsh_has_edited(guest: LinuxGuest, tmp_path: Path) -> None:
    path = made("copy", guest.raw, tmp_path / "edited.save")
    xml = _xml(guest, tmp_path, ("<memory", "<title>edited</title><memory"))
    assert "updated" in guest.virsh(f"save-image-define {path} {xml}")
    assert b"<title>edited</title>" in path.read_bytes()[: 1 << 16]
    restores(guest, path)


def test_xml_that_asks_for_another_machine(guest: LinuxGuest, tmp_path: Path) -> None:
    path = tmp_path / "edited.save"
    path.write_bytes(edited(guest.raw.read_bytes(), [("pc-i440fx-9.2", "pc-i440fx-9.1")]))
    refuses(guest, path, "Machine type received is 'pc-i440fx-9.2' and local is 'pc-i440fx-9.1'")


# -- saves that were not finished


def test_magic_of_an_unfinished_save_is_set_right(guest: LinuxGuest, tmp_path: Path) -> None:
    path = tmp_path / "part.save"
    path.write_bytes(built(guest.raw.read_bytes(), magic=_PART))
    refuses(guest, path, "save image is incomplete")
    restores(guest, made("copy", path, "--mark-complete", tmp_path / "whole.save"))


def test_save_whose_virsh_was_killed(guest: LinuxGuest, tmp_path: Path) -> None:
    """What is left has the magic of an unfinished save, and is cut: no other magic helps."""
    path = tmp_path / "killed.save"
    with _saving(guest, path) as process:
        process.kill()
        process.wait()
    end_guests(guest.root)
    refuses(guest, path, "save image is incomplete")
    assert run_cli("copy", path, "--mark-complete", "-o", tmp_path / "whole").code != 0
    path.write_bytes(built(path.read_bytes(), magic=b"LibvirtQemudSave"))
    assert guest.restore(path).outcome is verdict(path) is Outcome.REFUSES


def test_save_that_is_cut(guest: LinuxGuest, tmp_path: Path) -> None:
    path = tmp_path / "cut.save"
    path.write_bytes(guest.raw.read_bytes()[:_BEGUN])
    restored = guest.restore(path)
    report = ask(str(path), Question("libvirt-9.0"))
    assert report.verdict is restored.outcome is Outcome.REFUSES
    assert report.messages
    for line in report.messages:
        assert line in restored.text


def test_save_to_a_disk_that_is_full_leaves_no_file_and_a_guest_that_goes_on(
    guest: LinuxGuest, tmp_path: Path
) -> None:
    path = tmp_path / "full.save"
    text = guest.virsh(f"restore --paused {guest.raw}; save fx {path}", largest=_BEGUN)
    assert "Failed to save domain" in text
    assert not path.exists()
    said = guest.said(RIGHT)
    guest.virsh("resume fx")
    guest.wait_right(said)
    end_guests(guest.root)


@contextmanager
def _saving(guest: LinuxGuest, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A virsh that saves and has written something; gzip takes seconds for the rest."""
    with (
        guest.saves_as("gzip"),
        start(guest.root, guest.saving(path)) as process,
    ):
        deadline = time.monotonic() + 60
        while not path.exists() or path.stat().st_size < _BEGUN:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        yield process


# -- managed saves


@pytest.mark.parametrize("marked", [False, True], ids=["part", "set right"])
def test_managed_save_that_was_not_finished(
    marked: bool, guest: LinuxGuest, tmp_path: Path
) -> None:
    """virsh start deletes it and boots afresh, and says nothing of it; set right it is restored."""
    managed = guest.root / "lib" / "qemu" / "save" / "fx.save"
    text = guest.virsh(
        f"define {guest.root}/fx.xml; restore --paused {guest.raw}; managedsave fx --running"
    )
    assert managed.exists(), text
    part = tmp_path / "part.save"
    part.write_bytes(built(managed.read_bytes(), magic=_PART))
    assert verdict(managed) is Outcome.LOADS
    assert verdict(part) is Outcome.REFUSES
    if marked:
        part = made("copy", part, "--mark-complete", tmp_path / "whole.save")
    managed.write_bytes(part.read_bytes())
    boots, said = guest.said(BOOTS), guest.said(RIGHT)
    text = guest.virsh("start fx")
    assert re.search("Domain 'fx' started", text), text
    guest.wait_right(said)
    end_guests(guest.root)
    guest.virsh("undefine --managed-save fx")
    assert guest.said(BOOTS) == boots + (not marked)
    assert not managed.exists()
