"""Strange streams, loaded by a real QEMU 10: each does what the table says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.io.output import replacing
from fixedram_fmt.write.faults import Fault, Outcome
from fixedram_fmt.write.spec import ImageSpec, parse_block
from fixedram_fmt.write.synth import write_image
from support.stream_cases import CASES
from support.two_blocks import BLOCKS, load

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.qemu, pytest.mark.untraced]

SPEC = ImageSpec(blocks=[parse_block(block) for block in BLOCKS])


def write(path: Path, *faults: Fault) -> Path:
    with replacing(path) as output:
        write_image(SPEC, output, list(faults))
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The memory of the image without a fault."""
    loaded = load(write(tmp_path_factory.mktemp("sound") / "image"), multifd=False)
    assert loaded.status == "completed"
    return loaded.memory


@pytest.mark.parametrize("name", CASES)
def test_qemu_does_what_the_table_says(name: str, sound: list[bytes], tmp_path: Path) -> None:
    change, outcome = CASES[name]
    image = write(
        tmp_path / "image", Fault(name, "", Outcome.LOADS, Outcome.LOADS, on_elements=change)
    )
    assert load(image, multifd=False).outcome(sound) is outcome
