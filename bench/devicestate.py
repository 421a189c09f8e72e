"""Device state: the compiled decoder against a plain interpreter of the description.

The interpreter (tests/support/naive_state.py) reads one field after the other; both make the same
values of the same bodies, which is checked first.  "decoding" leaves out what each does once a
description: parsing its JSON, and compiling it here; "from the text" has all of it.
"""

from __future__ import annotations

import json
import lzma
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from fixedram_fmt import Image
from fixedram_fmt.vmstate.description import Description
from measure import BARE, FIXEDRAM, ROOT, Figure, bare, command, compare

if TYPE_CHECKING:
    from pathlib import Path

sys.path.insert(0, str(ROOT / "tests"))
from naive_state import Interpreter, interpret

#: Samples and the ratio that decoding them must not exceed.
_SAMPLES = {"pc-once": 0.2, "q35-dimm": 0.2, "aarch64-virt": 0.2, "ppc64-pseries": 0.2}
_TIMES = 20


def device_state(folder: Path) -> list[Figure]:
    """Decoding, and what the command costs that shows one value or all of them."""
    found = []
    for name, promise in _SAMPLES.items():
        path = folder / f"{name}.img"
        path.write_bytes(lzma.decompress((ROOT / "samples" / f"{name}.img.xz").read_bytes()))
        with Image.open(path) as image:
            text, bodies = _content(image)
        if _decoded(text, bodies) != interpret(text, bodies):
            sys.exit("the values are wrong, so the speed does not matter")
        description = Description(text, name=name)
        structures = [description.structure(device) for device in description.devices]
        devices = json.loads(text)["devices"]
        ours = partial(_repeat, lambda s=structures, b=bodies: [
            one.decode(body) for one, body in zip(s, b, strict=True)
        ])  # fmt: skip
        theirs = partial(_repeat, lambda d=devices, b=bodies: [
            Interpreter(body).structure(one) for one, body in zip(d, b, strict=True)
        ])  # fmt: skip
        whole = partial(_repeat, partial(_decoded, text, bodies))
        plain = partial(_repeat, partial(interpret, text, bodies))
        what = "plain interpreter"
        found += [
            compare(f"decoding state, {name}", ours, what, theirs, promise),
            compare(f"state from the text, {name}", whole, what, plain, 1),
        ]
    for options in (("cpu*/env.eip",), ("--format", "qemu")):
        run = command(*FIXEDRAM, "state", folder / "q35-dimm.img", *options)
        found.append(compare(f"state q35-dimm {' '.join(options)}", run, BARE, bare, 25))
    return found


def _content(image: Image) -> tuple[bytes, list[bytes]]:
    """The description, and the bodies in its order."""
    description = Description.of_image(image)
    assert description is not None
    devices = {(one.name, one.instance_id): one for one in image.state.devices}
    wanted = [devices[one.name, one.instance_id] for one in description.devices]
    return description.text, [one.read(0, one.size) for one in wanted]


def _decoded(text: bytes, bodies: list[bytes]) -> list[dict[str, Any]]:
    description = Description(text, name="bench")
    pairs = zip(description.devices, bodies, strict=True)
    return [description.structure(device).decode(body) for device, body in pairs]


def _repeat(act: Any) -> None:
    for _ in range(_TIMES):
        act()
