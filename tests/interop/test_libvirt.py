"""virsh restore is the judge of what is said of libvirt saves."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING, Any

import pytest

import fixedram_fmt as fx
from fixedram_fmt import Image
from fixedram_fmt.io.output import replacing
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.recovery import Purpose
from fixedram_fmt.validation.report import Question, ask
from fixedram_fmt.write.packing import COMPRESSORS, write_packed
from fixedram_fmt.write.rewrite import RewriteOptions, rewrite
from support.saves import built
from support.virsh import Virsh, driver, saved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_DOMAIN = """\
<domain type='qemu'>
  <name>fx</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-9.2'>hvm</type></os>
  <features><acpi/></features>
  <devices><emulator>{qemu}</emulator><memballoon model='none'/></devices>
</domain>
"""


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Virsh]:
    """The driver, and a save of a guest."""
    with driver() as root:
        yield saved(root, _DOMAIN)


CASES: dict[str, dict[str, Any]] = {
    "as saved": {},
    "other byte order": {"order": ">"},
    "magic of an unfinished save": {"magic": b"LibvirtQemudPart"},
    "version 1": {"version": 1, "form": 1},
    "version 3": {"version": 3},
    "zstd": {"form": 5},
    "sparse": {"form": 6},
    "unknown format": {"form": 7},
    "gzip": {"form": 1, "stream": gzip.compress},
    "bzip2": {"form": 2, "stream": bz2.compress},
    "xz": {"form": 3, "stream": lambda data: lzma.compress(data, preset=0)},
    "raw called gzip": {"form": 1},
    "gzip called raw": {"stream": gzip.compress},
    "gzip called xz": {"form": 3, "stream": gzip.compress},
    "gzip cut": {"form": 1, "stream": lambda data: gzip.compress(data)[:-2000]},
    "no length": {"data_len": 0, "cookie": 0},
    "length past the end": {"data_len": 10**7},
    "cookie outside": {"cookie": 70_000},
    "cookie in the XML": {"cookie": 50},
    "no cookie named": {"cookie": 0},
    "XML cut": {"xml": (b"</os>", b"\0/os>")},
    "another element": {"xml": (b"<domain ", b"<network")},
    "less memory": {"xml": (b"32768", b"16384")},
    "more memory": {"xml": (b"32768", b"65536")},
    "another machine": {"xml": (b"pc-i440fx-9.2", b"pc-i440fx-9.1")},
    "another vCPU": {"xml": (b">1</vcpu>", b">2</vcpu>")},
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_is_what_virsh_does(name: str, libvirt: Virsh, tmp_path: Path) -> None:
    data = built(libvirt.save, **CASES[name])
    path = tmp_path / "asked.save"
    path.write_bytes(data)
    report = ask(str(path), Question("libvirt-9.0"))
    outcome, text = libvirt.restore(data)
    assert report.verdict is outcome, text
    if outcome is Outcome.REFUSES and not report.message.startswith("("):
        assert report.message.removesuffix(" > 2)") in text


@pytest.mark.parametrize("compression", sorted({*COMPRESSORS} - {"zstd"}))  # 9.0 knows no zstd
def test_virsh_restores_what_copy_compresses(
    compression: str, libvirt: Virsh, tmp_path: Path
) -> None:
    path, target = tmp_path / "raw.save", tmp_path / "packed.save"
    path.write_bytes(libvirt.save)
    with Image.open(path) as image, replacing(target) as output:
        write_packed(rewrite(image, RewriteOptions(compress=compression)), output, compression)
    outcome, text = libvirt.restore(target.read_bytes())
    assert outcome is Outcome.LOADS, text
    assert target.stat().st_size < path.stat().st_size


def test_virsh_restores_what_rescue_set_right_and_refuses_what_is_a_part(
    libvirt: Virsh, tmp_path: Path
) -> None:
    unfinished = b"LibvirtQemudPart" + libvirt.save[16:]
    done = fx.rescue(unfinished, tmp_path / "out")
    assert done.purpose is Purpose.RESTORE
    assert (tmp_path / "out").read_bytes() == libvirt.save
    with fx.open(libvirt.save) as image:
        cut = image.sections[-3].body_offset + 1
    done = fx.rescue(libvirt.save[:cut], tmp_path / "part")
    assert done.purpose is Purpose.FORENSICS
    assert libvirt.restore((tmp_path / "out").read_bytes())[0] is Outcome.LOADS
    assert libvirt.restore((tmp_path / "part").read_bytes())[0] is Outcome.REFUSES
