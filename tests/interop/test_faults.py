"""Every fault, loaded by a real QEMU with and without multifd: it does what the fault says.

`wrong-memory` is what the guest's memory says after a load that "completed": it is not what the
image would have given without the fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.build.faults import Fault, Outcome, catalogue
from fixedram_fmt.build.output import replacing
from fixedram_fmt.build.spec import ImageSpec, parse_block
from fixedram_fmt.build.synth import write_image
from two_blocks import BLOCKS, load, outcome_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

SPEC = ImageSpec(blocks=[parse_block(block) for block in BLOCKS])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The memory of the image without a fault."""
    image = tmp_path_factory.mktemp("sound") / "image"
    with replacing(image) as output:
        write_image(SPEC, output)
    status, memory = load(image, multifd=False)
    assert status == "completed"
    return memory


@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
def test_qemu_does_what_the_fault_says(fault: Fault, sound: list[bytes], tmp_path: Path) -> None:
    image = tmp_path / "image"
    with replacing(image) as output:
        write_image(SPEC, output, [fault])
    assert outcome_of(*load(image, multifd=False), sound) is fault.plain
    expected = {fault.multifd}
    if fault.plain is Outcome.REFUSES and fault.multifd is Outcome.CRASHES:
        # Whether the failure path of the receive channels gets to its message before it falls over
        # is a race; either way nothing is loaded.
        expected.add(Outcome.REFUSES)
    assert outcome_of(*load(image, multifd=True), sound) in expected
