"""Every fault, loaded by a real QEMU with and without multifd: it does what the fault says.

`wrong-memory` is what the guest's memory says after a load that "completed": it is not what the
image would have given without the fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt.build.faults import Fault, Outcome, catalogue
from qemu_vm import QemuError, QemuVM, require_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

MIB = 1 << 20
#: Two blocks: the machine's RAM below, a DIMM at 4 GiB.
BLOCKS = ("--block", "pc.ram=16M:counter:0.2", "--block", "mem1=8M:text:0.2")
GUEST = (
    "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "pc",
    "-m", "16M,slots=1,maxmem=64M", "-object", "memory-backend-ram,id=mem1,size=8M",
    "-device", "pc-dimm,id=dimm1,memdev=mem1", "-incoming", "defer",
)  # fmt: skip
#: Guest-physical ranges that show both blocks; QEMU's own tables lie below 1 MiB.
RANGES = ((MIB, 16 * MIB), (1 << 32, (1 << 32) + 8 * MIB))
#: A load that hangs counts as a crash: nobody gets a guest from it.
TIME_LIMIT = 20


def outcome(image: Path, *, multifd: bool) -> tuple[str, list[bytes]]:
    """`completed`, `failed` or `crashed`, and the guest's memory after a load that completed."""
    with QemuVM(require_qemu("x86_64"), timeout=TIME_LIMIT) as vm:
        vm.start(GUEST)
        vm.set_capabilities("mapped-ram", *(["multifd"] if multifd else []))
        try:
            status = vm.incoming_from_file(image)
        except (QemuError, TimeoutError):
            return "crashed", []
        if status != "completed":
            return status, []
        return status, [vm.pmemsave(start, stop) for start, stop in RANGES]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The memory of the image without a fault."""
    image = tmp_path_factory.mktemp("sound") / "image"
    assert run_cli("synth", "-o", image, *BLOCKS).code == 0
    status, memory = outcome(image, multifd=False)
    assert status == "completed"
    return memory


@pytest.mark.parametrize("multifd", [False, True], ids=["plain", "multifd"])
@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
def test_qemu_does_what_the_fault_says(
    fault: Fault, multifd: bool, sound: list[bytes], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    made = run_cli("synth", "-o", image, *BLOCKS, "--fault", fault.name)
    assert made.code == 0, made.err
    status, memory = outcome(image, multifd=multifd)
    observed = {
        "failed": Outcome.REFUSES,
        "crashed": Outcome.CRASHES,
        "completed": Outcome.LOADS if memory == sound else Outcome.WRONG_MEMORY,
    }[status]
    expected = {fault.multifd if multifd else fault.plain}
    if multifd and fault.plain is Outcome.REFUSES:
        # Whether the failure path of the receive channels gets to its message before it falls over
        # is a race; either way nothing is loaded.
        expected |= {Outcome.REFUSES} if fault.multifd is Outcome.CRASHES else set()
    assert observed in expected
