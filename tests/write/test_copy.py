"""copy: the same to the byte by default, and what the options say otherwise."""

from __future__ import annotations

import filecmp
from typing import TYPE_CHECKING, Any

import pytest

from conftest import SAMPLES, SHARED, absent, run_cli, sample_entries, shared_entries, unpack
from fixedram_fmt import FixedRamError, HostLong, Image
from fixedram_fmt.io.output import BufferOutput, replacing
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from fixedram_fmt.write.faults import fault_named
from fixedram_fmt.write.placing import write_pieces
from fixedram_fmt.write.rewrite import RewriteOptions, rewrite, stale_bytes
from support.memory import block_memory
from support.sparse import same_bytes
from support.synthetic import PAGE, image_of, made

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = {entry["name"]: entry for entry in sample_entries()}
REAL = [f"sample-{name}" for name in ENTRIES] + [
    f"shared-{entry['name']}" for entry in shared_entries()
]


def located(name: str, folder: Path) -> tuple[Path, str]:
    """File of a sample or shared image, and the location that opens it."""
    where, _, name = name.partition("-")
    entries = ENTRIES if where == "sample" else {e["name"]: e for e in shared_entries()}
    packed = (SAMPLES if where == "sample" else SHARED) / entries[name]["file"]
    path = unpack(packed, folder / f"{where}-{name}")
    offset = entries[name]["stream_offset"]
    bare = offset and not name.startswith("libvirt")
    return path, f"{path}@{offset}" if bare else str(path)


def test_shared_images_are_part_of_this() -> None:
    if not shared_entries():
        absent("the folder of shared images")


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_copy_of_a_real_image_is_the_same_to_the_byte_with_its_holes(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    path, location = located(name, unpacked_dir)
    again = tmp_path / "again"
    result = run_cli("copy", location, "-o", again)
    assert result.code == 0, result.err
    assert same_bytes(path, again)
    assert again.stat().st_blocks <= path.stat().st_blocks * 1.05 + 64


#: What the options of the command say to the library.
WAYS: dict[str, dict[str, Any]] = {
    "--rebase 1234567": {"start": 1234567},
    "--container libvirt": {"container": "libvirt"},
    "--align 64K": {"align": 64 << 10},
    "--drop-stale": {"drop_stale": True},
    "--byte-order big": {"host_long": HostLong.BIG_64},
    "--byte-order little-32": {"host_long": HostLong.LITTLE_32},
    "--rebase 0 --drop-stale --byte-order big-32 --align 2M": {
        "start": 0, "drop_stale": True, "host_long": HostLong.BIG_32, "align": 2 << 20,
    },
}  # fmt: skip


def rewritten(location: str, out: Path, **options: Any) -> None:
    with Image.open(location) as image, replacing(out) as output:
        write_pieces(rewrite(image, RewriteOptions(**options)), output)


@pytest.mark.slow
@pytest.mark.parametrize("words", WAYS)
@pytest.mark.parametrize("name", ["sample-pc-live", "sample-libvirt-fx-sparse", "sample-avr-uno"])
def test_memory_devices_and_rest_survive_every_rewrite(
    name: str, words: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    options = dict(WAYS[words])
    if "libvirt" in name and "start" in options:
        options["container"] = "none"
    _, location = located(name, unpacked_dir)
    out = tmp_path / "out"
    rewritten(location, out, **options)
    with (
        Image.open(location) as before,
        Image.open(out, search=True, host_long=options.get("host_long")) as after,
    ):
        assert after.complete
        assert meaning(before) == meaning(after)
        if options.get("drop_stale"):
            states = [leaf.value.state for leaf in leaves(after, deep=True) if leaf.kind == "pages"]
            assert "stale" not in states


@pytest.mark.parametrize("words", WAYS)
def test_the_command_writes_what_the_library_does(
    words: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    _, location = located("sample-avr-uno", unpacked_dir)
    rewritten(location, tmp_path / "library", **WAYS[words])
    result = run_cli("copy", location, "-o", tmp_path / "command", *words.split())
    assert result.code == 0, result.err
    assert filecmp.cmp(tmp_path / "library", tmp_path / "command", shallow=False)


def meaning(image: Image) -> dict[str, Any]:
    """What an image says, wherever it lies."""
    source = image.source
    return {
        "machine": image.machine,
        "capabilities": image.capabilities,
        "presence": {
            block.name: list(bitmap.runs())
            for block in image.blocks
            if (bitmap := image.bitmap(block)) is not None
        },
        "sections": [
            (
                section.name, section.section_id, section.version_id, section.parts,
                section.full and source.read_exact(section.body_offset, section.body_length or 0),
            )
            for section in image.sections
        ],
        "pages": {
            block.name: [
                source.read_exact(block.pages_offset + page * block.page_size, block.page_size)
                for run in image.bitmap(block).runs()
                if run.present
                for page in range(run.start, run.stop)
            ]
            for block in image.blocks
            if block.has_pages
        },
        "vmdesc": image.vmdesc and source.read_exact(image.vmdesc.offset, image.vmdesc.length + 5),
    }  # fmt: skip


@pytest.mark.slow
def test_there_and_back_is_the_same_file(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = located("sample-pc-once", unpacked_dir)
    moved, back = tmp_path / "moved", tmp_path / "back"
    for words in (["--container", "libvirt"], ["--rebase", "70001"], ["--align", "4M"]):
        assert run_cli("copy", path, "--force", "-o", moved, *words).code == 0
        with Image.open(moved, search=True) as image:
            location = f"{moved}@{image.container.stream_offset}"
        assert run_cli("copy", location, "--force", "-o", back, "--rebase", "0").code == 0
        assert filecmp.cmp(path, back, shallow=False), words


def test_stale_pages_are_counted_and_left_out(unpacked_dir: Path, tmp_path: Path) -> None:
    _, location = located("sample-pc-live", unpacked_dir)
    with Image.open(location) as image:
        held = sum(
            leaf.length
            for leaf in leaves(image, deep=True)
            if leaf.kind is Kind.PAGES and leaf.value.state == "stale"
        )
    assert held
    result = run_cli("copy", location, "-o", tmp_path / "out", "--drop-stale")
    assert f"({held:,} bytes)" in result.err


@pytest.mark.slow
def test_devices_can_be_left_out(unpacked_dir: Path, tmp_path: Path) -> None:
    for name in ("sample-pc-once", "sample-s390x-virtio", "sample-ppc64-pseries"):
        _, location = located(name, unpacked_dir)
        out = tmp_path / name
        assert run_cli("copy", location, "-o", out, "--drop-devices").code == 0
        with Image.open(out) as image, Image.open(location) as before:
            assert [section.name for section in image.sections] == ["ram"]
            assert image.complete
            assert block_memory(image, image.blocks[0]) == block_memory(before, before.blocks[0])


def test_what_cannot_be_laid_out_is_refused() -> None:
    whole, early = image_of(made()), image_of(made()[: 5 * PAGE])
    for image, options, why in (
        (whole, RewriteOptions(align=100), "aligned to their size"),
        (whole, RewriteOptions(start=5, container="libvirt"), "right after the XML"),
        (early, RewriteOptions(drop_devices=True), "stops early"),
    ):
        with pytest.raises(FixedRamError, match=why):
            list(rewrite(image, options))


def test_leaving_devices_out_leaves_their_description_out_too() -> None:
    image = image_of(made())
    output = BufferOutput()
    write_pieces(rewrite(image, RewriteOptions(drop_devices=True)), output)
    bare = image_of(bytes(output.data))
    assert [section.name for section in bare.sections] == ["ram"]
    assert bare.vmdesc is None
    for before, after in zip(image.blocks, bare.blocks, strict=True):
        assert block_memory(bare, after) == block_memory(image, before)
    assert stale_bytes(image) == stale_bytes(bare) == 0


def test_stale_bytes_are_those_of_absent_pages_that_are_not_zero() -> None:
    image = image_of(made(faults=[fault_named("stale-page")]))
    naive = 0
    for block in image.blocks:
        bitmap = image.bitmap(block)
        assert bitmap is not None
        for run in bitmap.runs():
            for page in range(run.start, run.stop) if not run.present else ():
                at = block.pages_offset + page * block.page_size
                naive += PAGE * any(image.source.read_exact(at, PAGE))
    assert stale_bytes(image) == naive > 0


@pytest.mark.slow
@pytest.mark.parametrize("moved", [4096, 66765, -70001])
def test_image_moved_without_its_offsets_is_told_and_repaired(moved: int, tmp_path: Path) -> None:
    raw = made(offset=70001)
    broken = raw[70001:]
    broken = bytes(moved) + broken if moved > 0 else broken
    path, repaired = tmp_path / "broken", tmp_path / "repaired"
    path.write_bytes(broken)
    start = max(moved, 0)
    location = f"{path}@{start}" if start else str(path)
    bias = 70001 - start
    info = run_cli("info", location, "--json").json
    assert info["offset_bias"] == bias
    assert info["complete"] is True
    told = run_cli("copy", location, "-o", tmp_path / "same")
    assert f"{bias:+,}" in told.err
    assert (tmp_path / "same").read_bytes() == broken
    assert run_cli("copy", location, "-o", repaired, "--rebase", "auto").code == 0
    with Image.open(f"{repaired}@{start}" if start else str(repaired)) as image:
        assert image.offset_bias == 0
        assert image.complete
        with Image.open(location) as before:
            assert meaning(image)["pages"] == meaning(before)["pages"]


@pytest.mark.slow
def test_plan_is_printed_and_nothing_is_written(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = located("sample-pc-once", unpacked_dir)
    out = tmp_path / "out"
    plan = run_cli("copy", path, "-o", out, "--rebase", "1M", "--plan", "--json").json["pieces"]
    assert not out.exists()
    at = 1 << 20
    for piece in plan:
        assert piece["offset"] == at
        at += piece["length"]
    assert run_cli("copy", path, "-o", out, "--rebase", "1M").code == 0
    assert out.stat().st_size == at
    assert "mapped_ram_header" in run_cli("copy", path, "--plan").out


@pytest.mark.slow
def test_json_is_what_info_gives_for_the_new_file(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = located("sample-pc-once", unpacked_dir)
    out = tmp_path / "out"
    said = run_cli("copy", path, "-o", out, "--json").json
    assert said == run_cli("info", out, "--json").json


@pytest.mark.parametrize(
    "options",
    [["--rebase", "soon"], ["--align", "100"], ["--align", "512"], ["--container", "zip"],
     ["--rebase", "5", "--container", "libvirt"],
     ["--xml", "missing.xml", "--container", "libvirt"]],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_nothing_is_left(
    options: list[str], tmp_path: Path
) -> None:
    path, folder = tmp_path / "image", tmp_path / "out"
    path.write_bytes(made())
    folder.mkdir()
    result = run_cli("copy", path, "-o", folder / "out", *options)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_image_that_stops_early_is_copied_but_not_moved(tmp_path: Path) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    path.write_bytes(made()[: 5 * PAGE])
    assert run_cli("copy", path, "-o", out).code == 0
    assert filecmp.cmp(path, out, shallow=False)
    refused = run_cli("copy", path, "-o", out, "--rebase", "0")
    assert refused.code == 2
    assert "stops early" in refused.err
    assert filecmp.cmp(path, out, shallow=False), "the old file stays"


@pytest.mark.slow
def test_trailing_bytes_and_unknown_parts_stay(tmp_path: Path) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    raw = made() + b"trailing" * 10
    path.write_bytes(raw)
    assert run_cli("copy", path, "-o", out).code == 0
    assert out.read_bytes() == raw
    assert run_cli("copy", path, "--force", "-o", out, "--rebase", "9999").code == 0
    assert out.read_bytes().endswith(b"trailing" * 10)
