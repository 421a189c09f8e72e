"""`fixedram load`: what it prints, what it refuses, and where it writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from conftest import (
    absent,
    run_cli,
    shared_entries,
)
from fixedram_fmt import Image
from fixedram_fmt.write.faults import fault_named
from support.builders import Block, StreamBuilder, page
from support.memory import block_memory
from support.real_files import MAPPED, location_of
from support.synthetic import PAGE, made

MIB = 1 << 20


def test_shared_images_are_part_of_this() -> None:
    if not shared_entries():
        absent("the folder of shared images")


@pytest.fixture
def real(request: pytest.FixtureRequest, unpacked_dir: Path) -> tuple[str, str]:
    """Location of a real image, and the loader that is taken by default, or the first that fits."""
    # QEMU 11 does not load the CPU of loongarch that 10 saves.
    older = "loongarch64-virt" in request.param and "11.1" not in request.param
    return location_of(request.param, unpacked_dir), "qemu-10.0" if older else "qemu-11.1"


def oracle(location: str | Path) -> dict[str, bytes]:
    with Image.open(location) as image:
        return {
            block.name: block_memory(image, block) if block.has_pages else bytes(block.used_length)
            for block in image.blocks
        }


def present_bytes(location: str) -> int:
    """Bytes of the pages whose bits are set, looking at one after the other."""
    total = 0
    with Image.open(location) as image:
        for block in image.blocks:
            length = block.bitmap_length() if block.has_pages else 0
            bits = image.source.read_exact(block.bitmap_offset, length)
            set_bits = sum(bits[n // 8] >> n % 8 & 1 for n in range(length and block.pages_total))
            total += set_bits * block.page_size
    return total


def image_in(folder: Path, **spec: Any) -> Path:
    path = folder / "image"
    path.write_bytes(made(**spec))
    return path


# -- what it says ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("real", [n for n in MAPPED if n.startswith("sample/")], indirect=True)
def test_json_has_the_hash_of_every_blocks_memory(real: tuple[str, str]) -> None:
    location, loader = real
    named = ["--loader", loader] if loader != "qemu-11.1" else []
    result = run_cli("load", location, "--json", "--channels", "3", *named)
    assert (result.code, result.err) == (0, "")
    told = result.json
    assert told["channels"] == 3
    assert told["syncs"] == 1
    assert told["loader"] == loader
    assert told["unsynced_jobs"] == 0
    assert told["bytes"] == present_bytes(location)
    assert (told["jobs"] > 0) is (told["bytes"] > 0)
    assert told["seconds"] > 0
    memory = oracle(location)
    assert [(b["name"], b["length"], b["sha256"], b["file"]) for b in told["blocks"]] == [
        (name, len(content), hashlib.sha256(content).hexdigest(), None)
        for name, content in memory.items()
    ]


@pytest.mark.parametrize(
    "options", [["--json", "--no-digest"], ["--output", "json", "--no-digest"]]
)
def test_digests_are_left_out_when_nobody_wants_them(options: list[str], tmp_path: Path) -> None:
    told = run_cli("load", image_in(tmp_path), "--no-digest", *options).json
    assert [block["sha256"] for block in told["blocks"]] == [None, None]
    assert told["jobs"] > 0


def test_text_is_one_line_for_people(tmp_path: Path) -> None:
    result = run_cli("load", image_in(tmp_path), "--channels", "1")
    assert result.code == 0
    assert result.err == ""
    assert result.out.count("\n") == 1
    assert "32 KiB of 2 blocks loaded: 3 jobs" in result.out
    assert "on 1 channel, 1 sync (qemu-11.1)" in result.out


@pytest.mark.slow
def test_image_of_a_big_endian_host_is_refused_here_and_loads_all_the_same(tmp_path: Path) -> None:
    blocks = [{"name": "pc.ram", "size": 1001 * PAGE, "pattern": "random", "density": 0.5}]
    little = image_in(tmp_path, blocks=blocks)
    expected = hashlib.sha256(oracle(little)["pc.ram"]).hexdigest()
    big = tmp_path / "big"
    big.write_bytes(made(blocks=blocks, byte_order="big"))
    for options in ([], ["--byte-order", "big"]):
        refused = run_cli("load", big, "--json", *options)
        assert refused.code == 1
        assert (refused.json["verdict"], refused.json["jobs"]) == ("wrong-memory", 0)
        assert "big-endian host" in refused.note
        loaded = run_cli("load", big, "--json", "--ignore-verdict", *options)
        assert loaded.code == 1
        assert loaded.json["blocks"][0]["sha256"] == expected
    # As QEMU on this host would read it.
    wrong = run_cli("load", big, "--json", "--byte-order", "little").json
    assert wrong["blocks"][0]["sha256"] != expected


def test_pages_of_256_bytes(tmp_path: Path) -> None:
    memory = b"".join(page(n, 256) if n % 3 else bytes(256) for n in range(300))
    builder = StreamBuilder(page_size=256).header().configuration(b"2009", page_bits=8)
    path = tmp_path / "image"
    path.write_bytes(builder.mapped_ram(Block(b"ram", memory)).eof().file())
    told = run_cli("load", path, "--json").json
    assert told["jobs"] == 100
    assert told["blocks"][0]["sha256"] == hashlib.sha256(memory).hexdigest()


@pytest.mark.parametrize("options", [["--channels", "0"], ["--channels", "x"], ["--loader", "q"]])
def test_wrong_usage_is_exit_code_2(options: list[str], tmp_path: Path) -> None:
    result = run_cli("load", image_in(tmp_path), *options)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


# -- images a loader would not load ---------------------------------------------------------------

V4 = {"dialect": "fixed-ram-v4", "multifd": True, "rounds": 3, "devices": []}
EACH_SECTION = {**V4, "multifd_flush_after_each_section": True}
FLUSH = {**V4, "faults": [fault_named("flag-multifd-flush")]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "options", "outcome"),
    [
        (FLUSH, ["--loader", "mapped-ram"], "refuse"),
        (FLUSH, ["--loader", "qemu-11.1"], "refuse"),
        (FLUSH, ["--loader", "fixed-ram-v4"], "crash or hang"),
        (EACH_SECTION, ["--loader", "fixed-ram-v4"], "wrong memory"),
        (
            EACH_SECTION,
            ["--loader", "fixed-ram-v4", "--multifd-flush-after-each-section"],
            "wrong memory",
        ),
    ],
    ids=["flush, merged", "flush, 11.1", "second sync", "no sync", "no sync, property on"],
)
def test_image_the_loader_would_not_load_is_exit_code_1_unless_told_to_ignore_it(
    spec: dict[str, Any], options: list[str], outcome: str, tmp_path: Path
) -> None:
    path = image_in(tmp_path, **spec)
    refused = run_cli("load", path, "--json", *options)
    assert refused.code == 1
    assert refused.json["verdict"] != "loads"
    assert (refused.json["jobs"], refused.json["bytes"], refused.json["seconds"]) == (0, 0, 0)
    assert [block["sha256"] for block in refused.json["blocks"]] == [None, None]
    assert f"{options[1]} would " in refused.note
    assert outcome in refused.err
    anyway = run_cli("load", path, "--json", "--ignore-verdict", *options)
    assert anyway.code == 1
    assert anyway.err == refused.err
    assert [block["sha256"] for block in anyway.json["blocks"]] == [
        hashlib.sha256(content).hexdigest() for content in oracle(path).values()
    ]
    told = anyway.json
    assert told["unsynced_jobs"] == (told["jobs"] if told["syncs"] == 0 else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legacy-stream", "libvirt-fx-raw"])
def test_ordinary_stream_cannot_be_loaded_by_channels(name: str, unpacked_dir: Path) -> None:
    asked = run_cli("load", location_of(f"sample/{name}", unpacked_dir), "--json")
    assert asked.code == 2
    assert "ordinary stream" in asked.json["error"]
    assert asked.json["verdict"] is None
    result = run_cli("load", location_of(f"sample/{name}", unpacked_dir))
    assert result.code == 2
    assert "ordinary stream" in result.note
    assert "save with mapped-ram on" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["bitmap-past-end", "pages-past-end", "cut-in-pages"])
def test_image_that_cannot_be_read_is_an_error_even_if_told_to_ignore_it(
    fault: str, tmp_path: Path
) -> None:
    path = image_in(tmp_path, faults=[fault_named(fault)])
    assert run_cli("load", path).code == 1
    target = tmp_path / "out"
    result = run_cli("load", path, "--ignore-verdict", "-o", target)
    assert result.code == 2
    assert "fixedram: error: at 0x" in result.err
    assert len(result.err.splitlines()) == 2
    assert not target.exists()


# -- into files -----------------------------------------------------------------------------------


def check_folder(folder: Path, memory: dict[str, bytes]) -> list[str]:
    """The files are the memory, holes are holes, and nothing else is there; their names."""
    listed = json.loads((folder / "blocks.json").read_text())["files"]
    assert [(file["block"], file["bytes"]) for file in listed] == [
        (name, len(content)) for name, content in memory.items()
    ]
    for file, content in zip(listed, memory.values(), strict=True):
        path = folder / file["file"]
        assert path.read_bytes() == content
        zero = bytes(PAGE)
        used = sum(content[at : at + PAGE] != zero for at in range(0, len(content), PAGE))
        assert path.stat().st_blocks * 512 <= used * PAGE * 1.2 + 64 * 1024
    names = [file["file"] for file in listed]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "blocks.json"])
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    "real",
    [
        f"sample/{name}"
        for name in ("pc-once", "pc-live", "q35-dimm", "avr-uno", "s390x-virtio", "pc-offset",
                     "libvirt-fx-sparse", "pc-ignore-shared-11.1")
    ],
    indirect=True,
)  # fmt: skip
def test_files_hold_the_memory_and_its_holes(real: tuple[str, str], tmp_path: Path) -> None:
    location, loader = real
    folder = tmp_path / "a" / "new" / "folder"
    result = run_cli("load", location, "-o", folder, "--json", "--loader", loader)
    assert (result.code, result.err) == (0, "")
    memory = oracle(location)
    names = check_folder(folder, memory)
    assert [(block["file"], block["sha256"]) for block in result.json["blocks"]] == [
        (name, hashlib.sha256(content).hexdigest())
        for name, content in zip(names, memory.values(), strict=True)
    ]


HOSTILE = [
    b"../../x", b"/etc/passwd", b"..", b".", b"a/../../b", b"PC.RAM", b"pc.ram", b"x" * 255,
    b"x" * 254, b"\x1b[2J\x1b[31m[red]", b"\xff\xfe", b"-rf", b"blocks.json", b"a\0b", b"a\nb",
]  # fmt: skip


def tree(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")
    }  # fmt: skip


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    builder = StreamBuilder(page_size=PAGE, align=PAGE).header().configuration()
    builder.mapped_ram(*(Block(name, page(n, PAGE)) for n, name in enumerate(HOSTILE)))
    path = tmp_path / "image"
    path.write_bytes(builder.eof().file())
    folder = tmp_path / "one" / "two" / "out"
    folder.parent.mkdir(parents=True)
    before, system = tree(tmp_path), Path("/etc/passwd").stat()
    result = run_cli("load", path, "-o", folder, "--ignore-verdict")
    assert result.code == 1
    assert "\x1b" not in result.err
    outside = {name: when for name, when in tree(tmp_path).items() if "out" not in name}
    assert set(outside) == set(before)
    assert Path("/etc/passwd").stat().st_mtime_ns == system.st_mtime_ns
    names = check_folder(folder, oracle(path))
    assert len({name.lower() for name in names}) == len(HOSTILE)


def test_files_that_are_there_are_kept_unless_forced(tmp_path: Path) -> None:
    path, folder = image_in(tmp_path), tmp_path / "out"
    folder.mkdir()
    (folder / "pc.rom.ram").write_text("old")
    (folder / "other").write_text("other")
    refused = run_cli("load", path, "-o", folder)
    assert refused.code == 2
    assert "is there already; --force overwrites it" in refused.note
    assert (folder / "pc.rom.ram").read_text() == "old"
    assert sorted(file.name for file in folder.iterdir()) == ["other", "pc.rom.ram"]
    assert run_cli("load", path, "-o", folder, "--force").code == 0
    assert (folder / "other").read_text() == "other"
    (folder / "other").unlink()
    check_folder(folder, oracle(path))


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize("dangling", [False, True])
def test_link_in_the_folder_does_not_lead_out_of_it(
    force: list[str], dangling: bool, tmp_path: Path
) -> None:
    path, folder, outside = image_in(tmp_path), tmp_path / "out", tmp_path / "outside"
    folder.mkdir()
    if not dangling:
        outside.write_text("old")
    (folder / "pc.ram.ram").symlink_to(outside)
    result = run_cli("load", path, "-o", folder, *force)
    assert result.code == 2
    assert "is a link" in result.note
    assert outside.exists() is not dangling
    assert dangling or outside.read_text() == "old"
    assert [file.name for file in folder.iterdir()] == ["pc.ram.ram"]


def test_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    path = image_in(tmp_path)
    result = run_cli("load", path, "-o", path)
    assert result.code == 2
    assert "cannot make" in result.note


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc-ignore-shared-11.1", "pc-ignore-shared-none"])
def test_what_a_current_qemu_writes_loads_without_being_told_who_wrote_it(
    name: str, unpacked_dir: Path
) -> None:
    location = location_of(f"sample/{name}", unpacked_dir)
    loaded = run_cli("load", location, "--json", "--no-digest")
    assert (loaded.code, loaded.json["verdict"]) == (0, "loads")
    synced = run_cli("sync", location, "--json")
    assert (synced.code, synced.json["loader"]) == (0, loaded.json["loader"])


def test_json_answers_of_what_is_no_image_too(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no image at all")
    result = run_cli("load", path, "--json")
    assert result.code == 2
    assert result.json["blocks"] == []
    assert "neither a QEMU migration stream" in result.json["error"]
