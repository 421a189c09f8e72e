"""Every fault, loaded by a real QEMU with and without multifd: it does what the fault says.

`wrong-memory` is what the guest's memory says after a load that "completed": it is not what the
image would have given without the fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt.build.faults import Fault, Outcome, catalogue
from two_blocks import BLOCKS, load, outcome_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

OPTIONS = [word for block in BLOCKS for word in ("--block", block)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The memory of the image without a fault."""
    image = tmp_path_factory.mktemp("sound") / "image"
    assert run_cli("synth", "-o", image, *OPTIONS).code == 0
    status, memory = load(image, multifd=False)
    assert status == "completed"
    return memory


@pytest.mark.parametrize("multifd", [False, True], ids=["plain", "multifd"])
@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
def test_qemu_does_what_the_fault_says(
    fault: Fault, multifd: bool, sound: list[bytes], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    made = run_cli("synth", "-o", image, *OPTIONS, "--fault", fault.name)
    assert made.code == 0, made.err
    observed = outcome_of(*load(image, multifd=multifd), sound)
    expected = {fault.multifd if multifd else fault.plain}
    if multifd and fault.plain is Outcome.REFUSES:
        # Whether the failure path of the receive channels gets to its message before it falls over
        # is a race; either way nothing is loaded.
        expected |= {Outcome.REFUSES} if fault.multifd is Outcome.CRASHES else set()
    assert observed in expected
