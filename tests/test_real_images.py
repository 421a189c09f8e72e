"""info and dump against what real QEMUs said of the images they made.

Oracles: QEMU's `info ramblock`, sha256 of guest memory as QEMU's monitor dumped it, and the section
names that QEMU's own analyzer printed; presence is checked by decoding memory naively.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED, absent, run_cli, shared_entries, unpack
from fixedram_fmt import Image
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from support.memory import block_memory, main_block

pytestmark = pytest.mark.slow

ENTRIES = {entry["name"]: entry for entry in shared_entries()}
LIBVIRT = ("libvirt-fx-raw.save", "libvirt-fx-sparse.save")
ALL = [*ENTRIES, *LIBVIRT]
FAILED = "failed-ignore-shared-10.0"


def packed(name: str) -> Path:
    file = ENTRIES[name]["file"] if name in ENTRIES else f"{name}.zst"
    return SHARED / file


@pytest.fixture
def location(request: pytest.FixtureRequest, unpacked_dir: Path) -> str:
    """PATH or PATH@OFFSET of the image the test is parametrised with."""
    name = request.param
    path = unpack(packed(name), unpacked_dir / f"shared-{name}")
    offset = ENTRIES.get(name, {}).get("stream_offset", 0)
    return f"{path}@{offset}" if offset else str(path)


def on(names: list[str]) -> Any:
    if not names:
        return pytest.mark.parametrize("location", [pytest.param(None, marks=[])], indirect=True)
    return pytest.mark.parametrize("location", names, indirect=True, ids=names)


if not ENTRIES:

    def test_shared_images_are_here() -> None:
        absent("the folder of shared images")

else:

    @on(list(ENTRIES))
    def test_unpacked_image_is_the_one_of_the_manifest(location: str) -> None:
        path = Path(location.partition("@")[0])
        entry = ENTRIES[path.name.removeprefix("shared-")]
        assert path.stat().st_size == entry["size"]
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]

    @on(list(ENTRIES))
    def test_info_agrees_with_the_qemu_that_saved(location: str) -> None:
        entry = ENTRIES[Path(location.partition("@")[0]).name.removeprefix("shared-")]
        result = run_cli("info", location, "--json")
        assert result.code == 0
        info = result.json
        truth = used_lengths(entry["info_ramblock"])
        assert {block["name"]: block["used_length"] for block in info["blocks"]} == truth
        # Only these are sent (migration/savevm.c should_validate_capability).
        sent = {"mapped-ram", "x-ignore-shared"} & set(entry["capabilities"])
        assert set(info["capabilities"]) == sent
        assert info["size"] == entry["size"]
        assert info["container"]["stream_offset"] == entry["stream_offset"]
        assert info["complete"] is (entry["migration"] == "completed")
        mapped = "mapped-ram" in entry["capabilities"]
        assert info["dialect"] == ("mapped-ram" if mapped else "ordinary")
        assert (info["vmdesc"] is None) is ("no-vmdesc" in entry["name"] or entry["name"] == FAILED)
        if "-machine" in entry["command"]:
            assert info["machine"]
        for block in info["blocks"]:
            assert block["pages_total"] == block["used_length"] // block["page_size"]
            assert block["ignored"] or 0 <= block["pages_present"] <= block["pages_total"]

    @on([name for name in ENTRIES if "qemu_state_json" in ENTRIES[name]])
    def test_sections_are_those_qemus_analyzer_names(location: str, unpacked_dir: Path) -> None:
        entry = ENTRIES[Path(location.partition("@")[0]).name.removeprefix("shared-")]
        state = unpack(SHARED / entry["qemu_state_json"], unpacked_dir / entry["qemu_state_json"])
        theirs = {key for key in json.loads(state.read_text()) if key != "configuration"}
        with Image.open(location) as image:
            ours = {f"{section.name} ({section.section_id})" for section in image.sections}
            assert {section.delimited_by for section in image.sections} == {"records", "vmdesc"}
        assert ours == theirs

    @on([name for name in ENTRIES if "guest_physical_sha256" in ENTRIES[name]])
    def test_memory_hashes_as_qemus_monitor_dumped_it(location: str) -> None:
        entry = ENTRIES[Path(location.partition("@")[0]).name.removeprefix("shared-")]
        with Image.open(location) as image:
            main = main_block(image, entry["command"])
            if main.ignored or not image.complete:
                # It lies elsewhere, or its bitmap was never written: nothing may be claimed.
                bitmap = image.bitmap(main)
                assert bitmap is None or bitmap.count() == 0
                return
            memory = block_memory(image, main)
        low = [part for part in entry["guest_physical_sha256"] if part["end"] <= len(memory)]
        assert low
        for part in low:
            digest = hashlib.sha256(memory[part["start"] : part["end"]]).hexdigest()
            assert digest == part["sha256"], f"{part['start']:#x}..{part['end']:#x}"

    @on(ALL)
    @pytest.mark.parametrize("deep", [False, True], ids=["", "deep"])
    def test_every_byte_has_exactly_one_owner(location: str, deep: bool) -> None:
        with Image.open(location) as image:
            at = image.container.stream_offset
            paths = []
            for leaf in leaves(image, deep=deep):
                assert leaf.offset == at
                assert leaf.length > 0
                assert leaf.kind is not Kind.GAP
                at = leaf.stop
                paths.append(leaf.path)
            assert at == image.source.size
            assert (paths[-1] == "unparsed") is False
        assert len(set(paths)) == len(paths)
        owners = set(paths)
        for path in paths:
            steps = path.split("/")
            assert not owners & {"/".join(steps[:n]) for n in range(1, len(steps))}

    @on(ALL)
    def test_dump_json_tiles_the_file(location: str) -> None:
        result = run_cli("dump", location, "--json")
        assert result.code == 0
        dump = result.json
        # What stands before a stream that is not in a container has no owner.
        at = dump["records"][0]["offset"]
        assert at in (0, dump["stream_offset"])
        for record in dump["records"]:
            assert record["offset"] == at
            at += record["length"]
        assert at == dump["size"]

    @on(["libvirt-fx-sparse.save"])
    def test_libvirt_sparse_save_is_read_through_its_header(location: str) -> None:
        info = run_cli("info", location, "--json").json
        assert info["container"]["kind"] == "libvirt"
        assert info["container"]["libvirt"]["format"] == "sparse"
        assert info["container"]["libvirt"]["domain"] == "fixture"
        raw = Path(location).read_bytes()
        data_len = int.from_bytes(raw[20:24], "little")
        assert info["container"]["stream_offset"] == 92 + data_len
        assert raw[92 + data_len :].startswith(b"QEVM")
        assert info["dialect"] == "mapped-ram"
        assert info["complete"] is True

    @on(["pc-offset-10.0"])
    def test_search_finds_a_stream_further_in(location: str) -> None:
        path, _, offset = location.partition("@")
        assert run_cli("info", path).code == 2
        found = run_cli("info", path, "--search", "--json").json
        assert found["container"] == {"kind": "offset", "stream_offset": int(offset)}

    @on(["pc-live-10.0"])
    def test_stale_pages_are_absent_pages_that_hold_bytes(location: str) -> None:
        raw = Path(location).read_bytes()
        with Image.open(location) as image:
            block = image.blocks[0]
            bits = raw[block.bitmap_offset : block.bitmap_offset + block.pages_total // 8]
            naive = {
                page
                for page in range(block.pages_total)
                if not bits[page // 8] >> page % 8 & 1
                and any(
                    raw[block.pages_offset + page * 4096 : block.pages_offset + (page + 1) * 4096]
                )
            }
            stale = {
                page
                for leaf in leaves(image, deep=True)
                if leaf.kind is Kind.PAGES and leaf.value.state == "stale"
                for page in range(leaf.value.first_page, leaf.value.first_page + leaf.value.pages)
            }
        assert naive
        assert stale == naive


def used_lengths(lines: list[str]) -> dict[str, int]:
    """`info ramblock`: name and the Used column."""
    rows = [line.split() for line in lines[1:]]
    return {row[0]: int(row[4], 16) for row in rows}
