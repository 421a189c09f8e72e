"""copy of libvirt saves: nothing that libvirt wrote is lost, and what is asked for is changed."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.output import OutputError, replacing
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.report import Question, ask
from fixedram_fmt.write.packing import write_packed
from fixedram_fmt.write.rewrite import RewriteOptions, rewrite
from support.containers import libvirt
from support.synthetic import PAGE, made, ordinary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOMAIN = b"<domain type='kvm'><name>%s</name><os><type>hvm</type></os></domain>"
COOKIE = b"<cookie><cpu/></cookie>"
ROOM = 500


def area(name: bytes = b"old") -> tuple[bytes, int]:
    """XML, cookie and room after them, and where the cookie begins."""
    xml = DOMAIN % name + b"\0"
    return xml + COOKIE + bytes(ROOM), len(xml)


def saved(
    stream: bytes, *, magic: bytes = b"LibvirtQemudSave", running: int = 1, kind: int = 0
) -> bytes:
    xml, cookie = area()
    return libvirt(magic=magic, xml=xml, cookie=cookie, running=running, kind=kind) + stream


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "packed.save"
    path.write_bytes(saved(gzip.compress(ordinary(b"", length=4 * PAGE)), kind=1))
    return path


def copied(source: Path, *options: object) -> bytes:
    target = source.with_name("copied")
    result = run_cli("copy", source, "-o", target, *options)
    assert result.code == 0, result.err
    data = target.read_bytes()
    target.unlink()
    return data


@pytest.mark.slow
def test_compressed_save_keeps_its_container(packed: Path) -> None:
    expected = saved(ordinary(b"", length=4 * PAGE), kind=0)
    assert copied(packed) == expected
    assert copied(packed, "--container", "libvirt") == expected
    assert copied(packed, "--container", "none") == ordinary(b"", length=4 * PAGE)


@pytest.mark.slow
def test_run_state_is_kept_or_changed(packed: Path) -> None:
    assert struct.unpack_from("<I", copied(packed), 24) == (1,)
    assert struct.unpack_from("<I", copied(packed, "--paused"), 24) == (0,)
    plain = packed.with_name("plain.save")
    plain.write_bytes(saved(ordinary(b"", length=4 * PAGE), running=0))
    running = copied(plain, "--running")
    assert running == saved(ordinary(b"", length=4 * PAGE), running=1)


@pytest.mark.slow
def test_other_xml_keeps_run_state_cookie_and_room(packed: Path) -> None:
    xml = packed.with_name("new.xml")
    xml.write_bytes(DOMAIN % (b"n" * 40))
    (packed.with_name("a.save")).write_bytes(copied(packed, "--xml", xml))
    with Image.open(packed.with_name("a.save")) as image:
        save = image.container.find(LibvirtSave)
        assert save is not None
        assert (save.xml, save.cookie) == (DOMAIN % (b"n" * 40), COOKIE)
        assert save.header.was_running == 1
        assert save.header.data_len == len(area()[0])
        assert image.complete
    # An XML for which there is no room gets as much as libvirt leaves.
    xml.write_bytes(DOMAIN % (b"n" * 900))
    long = copied(packed, "--xml", xml)
    (length,) = struct.unpack_from("<I", long, 20)
    assert length == len(DOMAIN % (b"n" * 900)) + 1 + len(COOKIE) + 1 + (64 << 10)


@pytest.mark.slow
def test_xml_that_is_none_is_refused(packed: Path) -> None:
    xml = packed.with_name("no.xml")
    for text in (b"hello", b"<network/>", b"<domain><name>a</name></domain>"):
        xml.write_bytes(text)
        result = run_cli("copy", packed, "-o", packed.with_name("never"), "--xml", xml)
        assert result.code == 2
        assert not packed.with_name("never").exists()


def test_bare_stream_without_xml_is_warned_of_and_has_a_machine(tmp_path: Path) -> None:
    bare = tmp_path / "bare.img"
    bare.write_bytes(made())
    result = run_cli("copy", bare, "-o", tmp_path / "new.save", "--container", "libvirt")
    assert result.code == 0
    assert "no --xml" in result.err
    assert "paused" in result.err
    report = ask(str(tmp_path / "new.save"), Question("libvirt-12.8"))
    assert report.verdict is Outcome.LOADS


@pytest.mark.slow
def test_unfinished_magic_is_told_and_set_right_where_the_stream_is_complete(
    tmp_path: Path,
) -> None:
    stream = ordinary(b"", length=4 * PAGE)
    path = tmp_path / "part.save"
    path.write_bytes(saved(stream, magic=b"LibvirtQemudPart"))
    result = run_cli("copy", path, "-o", tmp_path / "same.save")
    assert "--mark-complete" in result.err
    assert (tmp_path / "same.save").read_bytes() == path.read_bytes()
    assert copied(path, "--mark-complete") == saved(stream)
    path.write_bytes(saved(stream[:-3], magic=b"LibvirtQemudPart"))
    refused = run_cli("copy", path, "-o", tmp_path / "never", "--mark-complete")
    assert refused.code == 2
    assert "not complete" in refused.err


KINDS = ["raw", "gzip", "bzip2", "xz", "lzop", "zstd"]


def unpacked(compression: str, data: bytes) -> bytes:
    """The stream of a save, by the program that libvirt would run, and the head is checked."""
    head = saved(b"", kind=KINDS.index(compression))
    assert data[: len(head)] == head
    program = subprocess.run(
        [compression, "-dc"], input=data[len(head) :], capture_output=True, check=True, timeout=60
    )
    return program.stdout


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_as_libvirt_does(compression: str, packed: Path) -> None:
    data = copied(packed, "--compress", compression)
    assert unpacked(compression, data) == ordinary(b"", length=4 * PAGE)


@pytest.fixture
def by_program(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A copy by the program zstd, as where Python has no module for it."""
    monkeypatch.setattr("fixedram_fmt.write.packing.zstd_module", lambda: None)

    def copy(target: Path) -> None:
        options = RewriteOptions(compress="zstd")
        with Image.open(packed) as image, replacing(target) as output:
            write_packed(rewrite(image, options), output, "zstd")

    return copy


def test_program_compresses_where_no_module_does(
    by_program: Callable[[Path], None], tmp_path: Path
) -> None:
    by_program(tmp_path / "copied")
    data = (tmp_path / "copied").read_bytes()
    assert unpacked("zstd", data) == ordinary(b"", length=4 * PAGE)


@pytest.mark.parametrize("script", ["exit 1", "cat > /dev/full", "exec 0<&-; sleep 0.1; exit 2"])
def test_program_that_fails_leaves_nothing(
    script: str, by_program: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/zstd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    with pytest.raises(OutputError, match="cannot write"):
        by_program(tmp_path / "copied")
    assert not (tmp_path / "copied").exists()


def test_absent_program_is_told(
    by_program: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="no program zstd"):
        by_program(tmp_path / "copied")


@pytest.mark.slow
def test_what_cannot_be_compressed_is_refused(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "copied"
    bare = run_cli("copy", packed, "-o", target, "--container", "none", "--compress", "gzip")
    assert bare.code == 2
    assert "only the header of a libvirt save" in bare.err
    fixed = tmp_path / "fixed"
    fixed.write_bytes(saved(made(), kind=6))
    sparse = run_cli("copy", fixed, "-o", target, "--compress", "zstd")
    assert sparse.code == 2
    assert "fixedram convert" in sparse.err
    assert not target.exists()
