"""volatility3's command with our plugins, and `fixedram volatility-path`.

What drives volatility3 and reads its results is, by its licence, offered under that too: this file
may be used under the Volatility Software License 1.0 as well as under the MIT License.
"""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from conftest import SAMPLES
from fixedram_cli.command import flattened
from fixedram_cli.commands.volatility import volatility_path
from fixedram_fmt import Image
from fixedram_fmt.forensics import volatility_path as plugin_folder
from support.synthetic import PAGE, made
from support.volatility import BANNER, MIB, poke, run_vol, sample, synthesise

# Files that volatility3 opens are closed when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.slow
def test_the_framework_knows_layer_and_stacker(tmp_path: Path) -> None:
    done = run_vol("frameworkinfo.FrameworkInfo", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FixedRamLayer" in done.stdout
    assert "FixedRamStacker" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "container", [{}, {"container": {"kind": "libvirt"}}, {"offset": 5 * MIB + 3}]
)
def test_banners_are_found_wherever_the_stream_begins(
    container: dict[str, Any], tmp_path: Path
) -> None:
    blocks = [{"name": "pc.ram", "size": 8 * MIB, "pattern": "random"}]
    image = synthesise(tmp_path / "an image#1", blocks=blocks, **container)
    poke(image, 0x345678, BANNER + b"\0")
    done = run_vol("-f", image, "-r", "csv", "banners", folder=tmp_path)
    assert f"0x345678,{BANNER.decode()}" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_compressed_image_is_read_as_it_is(tmp_path: Path) -> None:
    packed = SAMPLES / "pc-once.img.xz"
    done = run_vol("-f", packed, "layerwriter", "--list", folder=tmp_path)
    assert "FixedRamLayer" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_image_that_only_volatility_can_open_is_read_through_it(
    vol: Any, unpacked_dir: Path, tmp_path: Path
) -> None:
    plain = sample("pc-once", unpacked_dir)
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(plain, "guest.img")
    context = vol.contexts.Context()
    context.config["file.location"] = f"jar:file:{tmp_path}/images.zip!guest.img"
    base = vol.physical.FileLayer(context, "file", "base")
    context.add_layer(base)
    layer = vol.layer.FixedRamStacker.stack(context, "base")
    reads: list[int] = []
    base.read = lambda offset, length, read=base.read: reads.append(offset) or read(offset, length)
    with Image.open(plain) as image:
        for address in (*range(0, 2 * MIB, PAGE), *range(0, 2 * MIB, 16 * PAGE)):
            assert layer.read(address, PAGE) == image.physical_memory.read(address, PAGE)
    assert 0 < len(reads) <= 2 * MIB >> 16, "64 KiB at once, and none a second time"
    # volatility3 leaves the archive open; here, not in the middle of some other test.
    del layer, context, base
    gc.collect()


@pytest.mark.slow
def test_a_hostile_name_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    blocks = [
        {"name": "pc.ram", "size": 16 * PAGE, "pattern": "random"},
        {"name": "pc.rom\x1b]0;owned\x07\x1b[31m", "size": 16 * PAGE, "pattern": "random"},
    ]
    image = tmp_path / "image"
    image.write_bytes(made(blocks=blocks, align=PAGE, machine="pc-i440fx-10.0")[: 30 * PAGE])
    done = run_vol("-f", image, "layerwriter", "--list", folder=tmp_path)
    assert "FixedRamLayer" in done.stdout
    assert "not whole" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.slow
def test_a_broken_image_is_told_of_and_left_to_volatility(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(made(machine="no-such-machine"))
    done = run_vol("-f", image, "layerwriter", "--list", folder=tmp_path)
    assert "cannot be read: no memory map: no rules for the machine" in done.stderr
    assert "Traceback" not in done.stderr


# -- volatility-path -------------------------------------------------------------------------------


def test_the_folder_is_printed_alone_on_its_line() -> None:
    app = typer.Typer()
    app.command()(flattened(volatility_path))
    done = CliRunner().invoke(app)
    assert done.exit_code == 0
    assert done.stdout == f"{plugin_folder()}\n"
    assert (Path(done.stdout.strip()) / "fixedram_layer.py").is_file()
    assert plugin_folder().is_absolute()
    done = CliRunner().invoke(app, ["--json"])
    assert f'"path": "{plugin_folder()}"' in done.stdout
