"""`state --format qemu` is what QEMU's analyzer prints, and answers where that gives up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import SHARED, absent, run_cli, shared_entries, unpack
from fixedram_fmt import Image
from fixedram_fmt.vmstate.qemu import document, pieces
from support.builders import StreamBuilder, open_bytes
from support.real_files import ENTRIES, location_of

GOLDEN = [one["name"] for one in shared_entries() if one.get("qemu_state_json")]


if not GOLDEN:

    def test_goldens_are_here() -> None:
        absent("the folder of shared images")


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_the_golden_json_to_the_byte(name: str, unpacked_dir: Path) -> None:
    golden = unpack(SHARED / f"{name}.state.json.zst", unpacked_dir / f"{name}.state.json")
    location = location_of(f"shared/{name}", unpacked_dir)
    assert run_cli("state", location, "--format", "qemu").out == golden.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_every_image_has_an_answer_with_all_its_sections(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        found = document(image, image.state)
        keys = [f"{section.name} ({section.section_id})" for section in image.sections]
        assert list(found) == keys
        assert "".join(pieces(image, image.state)) == json.dumps(found, indent=4)


@pytest.mark.parametrize("name", ["shared/pc-offset-11.1", "shared/libvirt-fx-sparse"])
def test_an_offset_or_a_container_changes_nothing(name: str, unpacked_dir: Path) -> None:
    if name not in ENTRIES:
        absent("the folder of shared images")
    with (
        Image.open(location_of(name, unpacked_dir)) as image,
        Image.open(location_of("shared/pc-11.1", unpacked_dir)) as plain,
    ):
        found, other = (
            {key.rpartition(" (")[0]: value for key, value in document(one, one.state).items()}
            for one in (image, plain)
        )
        assert list(found) == list(other)
        assert found["ram"] == other["ram"]
        assert [list(one) for one in found.values()] == [list(one) for one in other.values()]


@pytest.mark.slow
def test_a_length_byte_that_looks_like_a_brace_misleads_nobody(
    unpacked_dir: Path, tmp_path: Path
) -> None:
    """QEMU's analyzer looks for the first `{` after the last NUL, and finds the length's."""
    source = Path(location_of("sample/pc-once", unpacked_dir))
    with Image.open(source) as image:
        assert image.vmdesc is not None
        start, length = image.vmdesc.json_offset, image.vmdesc.length
        # Whitespace is nothing to JSON: pad until the length's last byte but one is 0x7b.
        padding = -(length - 0x7B00) % 0x10000
        text = image.source.read_exact(start, length) + b" " * padding
        want = document(image, image.state)
    raw = source.read_bytes()[: start - 4] + len(text).to_bytes(4, "big") + text
    assert raw[start - 2] == ord("{")
    trap = tmp_path / "trap"
    trap.write_bytes(raw)
    with Image.open(trap) as image:
        assert document(image, image.state) == want


def test_names_that_are_not_ascii_are_escaped() -> None:
    builder = StreamBuilder().header().configuration(b"pc")
    builder.full(1, "r\u00e9seau \u202e\x7f".encode(), b"\1").eof()
    with open_bytes(builder.file()) as image:
        text = "".join(pieces(image, image.state))
    assert text == '{\n    "r\\u00e9seau \\u202e\\u007f (1)": "01"\n}'
