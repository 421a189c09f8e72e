"""Every fault, loaded by a real QEMU with and without multifd: it does what the fault says.

`wrong-memory` is what the guest's memory says after a load that "completed": it is not what the
image would have given without the fault.  What QEMU writes is the verdict's message, to the letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.output import replacing
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation import Receiver, unopened, validate
from fixedram_fmt.write.faults import Fault, Outcome, catalogue
from fixedram_fmt.write.spec import ImageSpec, parse_block
from fixedram_fmt.write.synth import write_image
from support.two_blocks import BLOCKS, load

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.validation import Verdict

pytestmark = pytest.mark.qemu

SPEC = ImageSpec(blocks=[parse_block(block) for block in BLOCKS])
#: What the message depends on besides the image, or what of it the rule does not know.
OTHER_WORDS = {
    "machine-length-huge": "GLib's line begins with the place in its source",
    "capability-count-huge": "GLib's line begins with the place in its source",
    "used-length-huge": "GLib's line begins with the place in its source",
    "pages-offset-wraps": "the first present page is read where the offset wraps to",
    "pages-unaligned": "R13 decides before L07: the list is read on from the unaligned place",
    "flag-xbzrle": "R28 looks into the delta before R06 at its flags",
    "empty-block-name": "R07 decides: the name is read as a record after the list",
    "unknown-capability": "G15 decides before G05",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image without a fault, as QEMU saves it: what the receiver has."""
    folder = tmp_path_factory.mktemp("sound")
    with replacing(folder / "image") as output:
        write_image(SPEC, output)
    loaded = load(folder / "image", multifd=False, save_as=folder / "saved")
    assert loaded.status == "completed"
    return folder


@pytest.fixture(scope="module")
def memory(sound: Path) -> list[bytes]:
    """The memory of the image without a fault."""
    return load(sound / "image", multifd=False).memory


@pytest.fixture(scope="module")
def destination(sound: Path) -> Receiver:
    """The receiver, which has ROMs that the image leaves alone."""
    with Image.open(sound / "saved") as image:
        return Receiver.of_image(image)


@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
def test_qemu_does_what_the_fault_says(
    fault: Fault, memory: list[bytes], destination: Receiver, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    with replacing(image) as output:
        write_image(SPEC, output, [fault])
    loaded = load(image, multifd=False)
    assert loaded.outcome(memory) is fault.plain
    if fault.plain is not Outcome.LOADS and fault.name not in OTHER_WORDS:
        verdict = verdict_on(image, destination)
        if verdict.outcome is Outcome.REFUSES:
            written = "\n".join(loaded.lines)
            assert written.startswith(verdict.message), (written, verdict.message)
            assert verdict.message
    expected = {fault.multifd}
    if fault.plain is Outcome.REFUSES and fault.multifd is Outcome.CRASHES:
        # Whether the failure path of the receive channels gets to its message before it falls over
        # is a race; either way nothing is loaded.
        expected.add(Outcome.REFUSES)
    assert load(image, multifd=True).outcome(memory) in expected


def verdict_on(path: Path, destination: Receiver) -> Verdict:
    try:
        with Image.open(path) as image:
            report = validate(image, destination)
            return report.verdict(LOADERS["qemu-10.0"], multifd=False)
    except FormatError as error:
        return unopened(error).verdict(LOADERS["qemu-10.0"], multifd=False)
