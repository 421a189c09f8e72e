"""Verdicts of virsh restore on libvirt saves; tests/interop/test_libvirt.py asks the real one."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from conftest import SHARED, absent, run_cli, unpack
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.report import ImageReport, Question, ask
from support.containers import libvirt
from support.synthetic import PAGE, made, ordinary

if TYPE_CHECKING:
    from pathlib import Path


XML = b"<domain><memory unit='KiB'>%d</memory><os><type>hvm</type></os></domain>\0"
STREAM = ordinary(b"", length=4 * PAGE)
#: Without a date: parameters are the same in each worker of the tests.
GZIP = gzip.compress(STREAM, mtime=0)
REFUSES, CRASHES, LOADS = Outcome.REFUSES, Outcome.CRASHES, Outcome.LOADS


def verdict(folder: Path, data: bytes, loader: str | None = None) -> ImageReport:
    path = folder / "guest.save"
    path.write_bytes(data)
    return ask(str(path), Question(loader))


@pytest.mark.parametrize(
    ("kind", "stream", "outcome"),
    [
        (0, STREAM, LOADS),
        (1, GZIP, LOADS),
        (1, STREAM, CRASHES),
        (3, GZIP, CRASHES),
        (0, GZIP, REFUSES),
        (6, STREAM, REFUSES),
        (7, STREAM, REFUSES),
        (1, GZIP[:-9], REFUSES),
    ],
)
def test_format_of_the_header_decides_who_reads_the_stream(
    kind: int, stream: bytes, outcome: Outcome, tmp_path: Path
) -> None:
    save = libvirt(xml=XML % 16, kind=kind) + stream
    assert verdict(tmp_path, save).verdict is outcome
    # Put away in a compressed file it is the same save.
    assert verdict(tmp_path, lzma.compress(save)).verdict is outcome
    assert verdict(tmp_path, gzip.compress(save)).verdict is outcome


def test_formats_came_one_after_the_other(tmp_path: Path) -> None:
    raw = made(container={"kind": "libvirt"})
    found = [verdict(tmp_path, raw, f"libvirt-{one}").verdict for one in ("9.0", "11.3", "12.8")]
    assert found == [REFUSES, LOADS, LOADS]
    old = verdict(tmp_path, raw, "libvirt-9.0")
    assert old.message == "Invalid compressed save format 6"


def test_save_is_judged_by_libvirt_unless_someone_else_is_asked(tmp_path: Path) -> None:
    raw = made(container={"kind": "libvirt", "partial": True})
    found = verdict(tmp_path, raw)
    assert (found.loader, found.verdict) == ("libvirt-12.8", REFUSES)
    assert found.message == "save image is incomplete"
    assert verdict(tmp_path, raw, "qemu-11.1").verdict is LOADS
    assert verdict(tmp_path, made()).loader == "qemu-11.1"
    assert verdict(tmp_path, b"LibvirtQemudSave" + b"\x7f" * 100).loader == "libvirt-12.8"


def test_xml_is_the_destination(tmp_path: Path) -> None:
    for memory, outcome in ((16, LOADS), (8, REFUSES), (32, REFUSES)):
        assert verdict(tmp_path, libvirt(xml=XML % memory) + STREAM).verdict is outcome
    for xml in (b"\0" * 40, b"<network/>\0", b"<domain/>\0", b"<domain><os>\0"):
        assert verdict(tmp_path, libvirt(xml=xml) + STREAM).verdict is REFUSES
    nothing = verdict(tmp_path, libvirt(xml=b"") + STREAM)
    assert nothing.message == "invalid header data length: 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("part-but-complete", "C01"), ("xml-edited", "C14"), ("xml-as-saved", None),
        ("libvirt-zstd", None), ("main-ram-bitmap-zeroed", "B07"), ("cut-in-devices-q35", "S03"),
    ],
)  # fmt: skip
def test_real_failures_are_told(name: str, rule: str | None, tmp_path: Path) -> None:
    packed = SHARED.parent / "cases" / f"{name}.save.xz"
    if not packed.exists():
        absent("the folder of shared cases")
    path = unpack(packed, tmp_path / "guest.save")
    outcome = "wrong-memory" if rule == "B07" else "refuses" if rule else "loads"
    for asked in (path, packed):
        (told,) = run_cli("validate", asked, "--json").json["images"]
        assert (told["decided_by"] or {}).get("rule") == rule
        assert told["verdict"] == outcome
        assert told["judged"]["devices"] == "partly"
