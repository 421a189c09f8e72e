"""The verbs of the package: the examples in spec/API.md run as they stand, and keep promises."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import fixedram_fmt as fx
from conftest import ROOT, SAMPLES, unpack

#: The part of the reference on the package itself.
REFERENCE = (ROOT / "spec" / "API.md").read_text().split("\n## ")[1]
_EXAMPLE = re.compile(r"^### (\w+)\(.*?(?=^### |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?:^    .*\n|^\n)+", re.MULTILINE)


def examples() -> Iterator[tuple[str, str]]:
    """Each verb with each of its programs."""
    for section in _EXAMPLE.finditer(REFERENCE):
        for code in _CODE.finditer(section[0]):
            program = textwrap.dedent(code[0]).strip()
            if "import fixedram_fmt as fx" in program:
                yield section[1], program


EXAMPLES = list(examples())


@pytest.fixture
def folder(tmp_path: Path, unpacked_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with guest.img and other.img, which is the current one."""
    for name, sample in (("guest.img", "pc-once"), ("other.img", "pc-live")):
        shutil.copy(unpack(SAMPLES / f"{sample}.img.xz", unpacked_dir / sample), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_verb_has_an_example() -> None:
    verbs = {name for name in fx.__all__ if name.islower() and not name.startswith("_")}
    assert verbs == {name for name, _ in EXAMPLES}
    assert len(fx.__all__) <= 24


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "program"), EXAMPLES)
def test_the_examples_of_the_reference_run(verb: str, program: str, folder: Path) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, f"the example of {verb}", "exec"), {})
    assert printed.getvalue() or set(folder.iterdir()) - {folder / "guest.img"}


@pytest.mark.slow
def test_an_image_that_is_given_stays_open(folder: Path) -> None:
    with fx.open("guest.img") as image:
        assert fx.validate(image).error is None
        assert fx.diff(image, image).same
        written = fx.extract(image, "ram", block=image.blocks[0].name)
        assert written.size == image.blocks[0].used_length
        assert image.memory(image.blocks[0]).read(0, 16) == (folder / "ram").read_bytes()[:16]


@pytest.mark.slow
def test_bytes_are_an_image_for_every_verb(folder: Path) -> None:
    data = (folder / "guest.img").read_bytes()
    assert fx.digest(data).image == fx.digest("guest.img").image
    assert fx.diff(data, "guest.img").same
    assert fx.validate(data).verdict == fx.validate("guest.img").verdict
    fx.convert(data, "stream", to="stream")
    assert fx.digest("stream").image == fx.digest(data).image


def test_a_broken_image_by_the_name_of_its_fault(tmp_path: Path) -> None:
    made = fx.synth(
        {"machine": "pc"}, tmp_path / "i", blocks=["pc.ram=64K"], faults=["header-version-2"]
    )
    assert made.size == made.path.stat().st_size
    assert fx.validate(made.path, loader="qemu-10.0").verdict == "refuses"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.size = 0


def test_results_say_what_is_wrong_with_the_question(tmp_path: Path) -> None:
    made = fx.synth(None, tmp_path / "i", blocks=["pc.ram=64K"])
    with pytest.raises(fx.FormatError, match="there is no block 'x'"):
        fx.extract(made.path, tmp_path / "ram", block="x")
    with pytest.raises(fx.UnsupportedError, match="no format 'tar'"):
        fx.extract(made.path, tmp_path / "ram", format="tar")
    with pytest.raises(fx.FixedRamError, match="there already"):
        fx.copy(made.path, made.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i"]


@pytest.mark.slow
def test_load_fills_the_callers_memory_or_says_why_not(folder: Path) -> None:
    with fx.open("guest.img") as image:
        memory = {block.name: bytearray(block.used_length) for block in image.blocks}
        done = fx.load(image, channels=3, buffers=memory)
        assert done.channels == 3
        for block in image.blocks:
            assert bytes(memory[block.name]) == image.memory(block).read(0, block.used_length)
    assert done.blocks == fx.load("guest.img").blocks
    broken = fx.synth(None, folder / "b", blocks=["pc.ram=64K"], faults=["header-version-2"])
    with pytest.raises(fx.FixedRamError, match="refuses"):
        fx.load(broken.path)
