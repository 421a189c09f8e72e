"""Images for volatility3, and its command.

What drives volatility3 and reads its results is, by its licence, offered under that too: this file
may be used under the Volatility Software License 1.0 as well as under the MIT License.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from conftest import absent
from fixedram_fmt import Image
from fixedram_fmt.forensics import volatility_path as plugin_folder
from fixedram_fmt.io.output import replacing
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from support.real_files import location_of
from support.synthetic import PAGE

__all__ = ["BANNER", "GIB", "MIB", "Opener", "poke", "run_vol", "sample", "synthesise"]

MIB, GIB = 1 << 20, 1 << 30
BANNER = b"Linux version 6.1.0-test (gcc 12.2.0) #1 SMP"

#: Opens the image at a path: the layer, None where the stacker gives none.
Opener = Callable[[Path], AbstractContextManager[Any]]


def run_vol(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`vol -p FOLDER ARGUMENTS` as a user runs it, results in folder; without the network."""
    if importlib.util.find_spec("volatility3") is None:
        absent("the Python package volatility3")
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    program = "import sys; sys.argv[0] = 'vol'; from volatility3.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "-q", "--offline", "--cache-path", str(cache),
         "-o", str(folder), "-p", str(plugin_folder()), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
    )  # fmt: skip


def sample(name: str, folder: Path) -> Path:
    return Path(location_of(f"sample/{name}", folder).partition("@")[0])


def synthesise(path: Path, **spec: Any) -> Path:
    with replacing(path) as output:
        write_image(spec_from({"machine": "pc-i440fx-10.0", **spec}), output)
    return path


def poke(path: Path, address: int, data: bytes) -> None:
    """Write into the pages of an image's pc.ram, which are present there."""
    with Image.open(path, search=True) as image:
        block = next(block for block in image.blocks if block.name == "pc.ram")
        memory = image.memory(block)
        for at in range(address // PAGE * PAGE, address + len(data), PAGE):
            assert memory.is_present(at)
        offset = block.pages_offset + address
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
