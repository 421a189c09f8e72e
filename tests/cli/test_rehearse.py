"""`fixedram rehearse` as it is typed: its plan, its answers, its exit codes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from conftest import SAMPLES, run_cli, unpack
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.rehearsal.monitor import require_qmp
from support.fake_qemu import fake


@pytest.fixture
def image(unpacked_dir: Path) -> Path:
    return unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "pc-once")


@pytest.mark.slow
def test_a_plan_starts_nothing(image: Path, tmp_path: Path) -> None:
    program = fake(tmp_path, "start", "dies")
    words = ("--qemu", program, "--plan", "--", "-m", "24", "-nodefaults", "-pidfile", "x")
    done = run_cli("rehearse", image, *words)
    assert done.code == 0, done.err
    argv = shlex.split(done.out)
    assert argv[:4] == [str(program), "-m", "24", "-nodefaults"]
    assert {"-S", "-incoming", "-sandbox"} <= set(argv)
    assert "-pidfile x left out" in done.err
    assert not (tmp_path / "pid").exists()


@pytest.mark.slow
def test_json_has_its_keys_and_1_says_that_it_does_not_load(image: Path, tmp_path: Path) -> None:
    program = fake(tmp_path, "failed", "")
    done = run_cli("rehearse", image, "--json", "--qemu", program, "--", "-m", "1")
    assert done.code == 1, done.err
    told = json.loads(done.out)
    assert told["status"] == "failed"
    assert told["qemu"]["version"] == "1.2.3"
    assert told["qemu"]["argv"][0] == str(program)
    assert told["memory_equal"] is None
    assert told["messages"] == ["load of migration failed: words"]
    assert {"seconds", "causes", "adapted", "uncertain", "changed", "memory"} <= set(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--qemu", "/absent"), "there is no /absent here"),
        (("--qemu", sys.executable, "--", "-unknown"), "does not know QEMU's option '-unknown'"),
        (("--qemu", sys.executable, "--", "-plugin", "x"), "-plugin cannot be rehearsed"),
        (("--accel", "xen"), "'xen' is not tcg or kvm"),
    ],
)
def test_2_says_that_it_could_not_be_tried(words: tuple[str, ...], said: str, image: Path) -> None:
    done = run_cli("rehearse", image, *words)
    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qemu.qmp", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'fixedram\[qemu\]'"):
        require_qmp()
