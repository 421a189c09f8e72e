"""hypothesis strategies: specs, the images they describe, and broken ones.

For property tests of programs that read images; needs hypothesis, which the package does not
install.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fixedram_fmt.dialect import DIALECTS
from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.write.faults import catalogue, fault_named
from fixedram_fmt.write.spec import ImageSpec, Pattern, spec_from
from fixedram_fmt.write.synth import write_image

__all__ = ["broken_images", "image_bytes", "image_specs", "images", "mutated_images"]

_PAGE_SIZES = (1024, 4096, 8192)
_NAMES = st.text(st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E), min_size=1,
                 max_size=30)  # fmt: skip


def image_bytes(spec: ImageSpec, *faults: str) -> bytes:
    """The image that spec describes, in memory; keep it small."""
    output = BufferOutput()
    write_image(spec, output, [fault_named(name) for name in faults])
    return bytes(output.data)


@st.composite
def image_specs(draw: st.DrawFn, *, max_blocks: int = 3, max_pages: int = 32) -> ImageSpec:
    """Specs of sound images, each at most some hundred KiB."""
    page_size = draw(st.sampled_from(_PAGE_SIZES))
    names = draw(st.lists(_NAMES, min_size=1, max_size=max_blocks, unique=True))
    blocks = [
        {
            "name": name,
            "size": page_size * draw(st.integers(1, max_pages)),
            "pattern": draw(st.sampled_from([pattern.value for pattern in Pattern])),
            "density": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        }
        for name in names
    ]
    devices = [
        {"name": name, "data": draw(st.binary(max_size=40)).hex()}
        for name in draw(st.lists(_NAMES, max_size=2, unique=True))
        if name != "ram"
    ]
    document: dict[str, Any] = {
        "machine": draw(st.sampled_from(["pc", "q35", "virt", "s390-ccw-virtio"])),
        "dialect": draw(st.sampled_from([dialect.name for dialect in DIALECTS])),
        "page_size": page_size,
        "align": draw(st.sampled_from([page_size, 1 << 16])),
        "blocks": blocks,
        "devices": devices,
        "rounds": draw(st.integers(1, 3)),
        "multifd": draw(st.booleans()),
        "multifd_flush_after_each_section": draw(st.booleans()),
        "vmdesc": draw(st.booleans()),
        "seed": draw(st.integers(0, 3)),
    }
    return spec_from(document)


def images() -> st.SearchStrategy[bytes]:
    """Sound images, as bytes."""
    return image_specs().map(image_bytes)


@st.composite
def broken_images(draw: st.DrawFn) -> tuple[str, bytes]:
    """A fault's name and an image that has it."""
    fault = draw(st.sampled_from([fault for fault in catalogue().values() if fault.blocks == 1]))
    spec = spec_from({
        "blocks": [{"name": "pc.ram", "size": 8 * 4096, "pattern": "counter", "density": 0.5}],
        "align": 4096,
        "seed": draw(st.integers(0, 3)),
    })  # fmt: skip
    return fault.name, image_bytes(spec, fault.name)


@st.composite
def mutated_images(draw: st.DrawFn, *, changes: int = 6) -> bytes:
    """Images in which some bytes were changed, put in or taken out at random."""
    raw = bytearray(draw(images()))
    for _ in range(draw(st.integers(1, changes))):
        # Headers are where it hurts, and they are at both ends.
        near = min(400, len(raw) - 1)
        at = draw(st.one_of(st.integers(0, near), st.integers(len(raw) - 1 - near, len(raw) - 1)))
        raw[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(raw)
