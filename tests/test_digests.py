"""digest: one SHA-256 for what an image means, against the definition written out naively."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conftest import run_cli, sample_entries
from fixedram_fmt import HostLong, Image
from fixedram_fmt.digests import digest_file, digest_image
from fixedram_fmt.stream.records import Kind
from support.conversions import Guest, peak, sample, whole_stream
from support.memory import block_memory
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = [entry["name"] for entry in sample_entries() if entry["migration"] == "completed"]
MIB = 1 << 20


def sha(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


def name(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def naive(image: Image) -> tuple[str, str, str]:
    """The definition, read from the docstring: whole image, memory, devices."""
    size = image.target_page_size
    blocks = []
    for block in sorted(image.blocks, key=lambda block: block.idstr):
        memory = bytes(block.used_length) if block.ignored else block_memory(image, block)
        content = b"".join(
            struct.pack(">Q", page) + memory[page * size : (page + 1) * size]
            for page in range(len(memory) // size)
            if any(memory[page * size : (page + 1) * size])
        )
        blocks.append(
            name(block.idstr) + struct.pack(">QQ", block.used_length, size) + sha(content)
        )
    memory = sha(b"fixedram memory 1\n", struct.pack(">I", len(blocks)), *blocks)
    sections: dict[int, bytes] = {}
    machine, current = b"", 0
    for record in image.records():
        if record.kind is Kind.CONFIGURATION:
            machine = record.value.name
        elif record.kind in (Kind.SECTION_START, Kind.SECTION_FULL):
            value = record.value
            current = value.section_id
            if value.idstr != b"ram":
                numbers = struct.pack(">II", value.instance_id, value.version_id)
                sections[current] = name(value.idstr) + numbers
        elif record.kind in (Kind.SECTION_PART, Kind.SECTION_END):
            current = record.value.section_id
        elif record.kind is Kind.DEVICE:
            body = image.source.read_exact(record.offset, record.length)
            sections[current] += struct.pack(">Q", len(body)) + body
    devices = sha(
        b"fixedram devices 1\n", struct.pack(">I", len(sections)), *map(sha, sections.values())
    )
    whole = sha(b"fixedram image 1\n", name(machine), memory, devices)
    return whole.hex(), memory.hex(), devices.hex()


@pytest.mark.slow
@pytest.mark.parametrize("which", WHOLE)
def test_digest_of_a_real_image_is_the_definitions(which: str, unpacked_dir: Path) -> None:
    _, location = sample(which, unpacked_dir)
    found = digest_file(location)
    with Image.open(location) as image:
        assert (found.image, found.memory, found.devices) == naive(image)


CHANGES = {
    "copy": ["copy"],
    "rebase": ["copy", "--rebase", "123457"],
    "libvirt": ["copy", "--container", "libvirt"],
    "drop-stale": ["copy", "--drop-stale"],
    "align": ["copy", "--align", "64K"],
    "byte-order": ["copy", "--byte-order", "big"],
    "stream": ["convert", "--to", "stream"],
}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["pc-live", "avr-uno"])
def test_copies_and_conversions_have_one_digest(
    which: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    path, _ = sample(which, unpacked_dir)
    expected = digest_file(path)
    for number, (command, *words) in enumerate(CHANGES.values()):
        out = tmp_path / str(number)
        assert run_cli(command, path, "-o", out, *words).code == 0
        order = HostLong.BIG_64 if "big" in words else None
        found = digest_file(out, search=True, host_long=order)
        assert replace(found, path=expected.path) == expected, words


@pytest.mark.parametrize("spec", [
    {"align": 65536}, {"dialect": "fixed-ram-v4", "multifd": True},
    {"container": {"kind": "libvirt"}}, {"byte_order": "little-32"}, {"offset": 777},
    {"uuid": "9f1c8a52-5a0e-4f83-9c41-0d8b1f5f2a77"}, {"vmdesc": False},
], ids=str)  # fmt: skip
def test_layout_rounds_and_dialect_make_no_difference(
    spec: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(made(**spec))
    where = f"{path}@777" if "offset" in spec else path
    assert digest_file(where).image == naive(image_of(made()))[0]


def test_sections_that_pages_come_in_make_no_difference(tmp_path: Path) -> None:
    guest = Guest(5)
    acts = [("page", 0, 0, 9), ("page", 1, 0, 2), ("zero", 0, 4, 3), ("delta", 0, 1, 5)]
    records = [guest.records(*act) for act in acts]
    digests = set()
    for number, parts in enumerate((records, [b"".join(records)], [b"", *records, b""])):
        path = tmp_path / str(number)
        path.write_bytes(whole_stream(parts))
        digests.add(digest_file(path).image)
    assert len(digests) == 1


def test_zero_pages_and_stale_pages_make_no_difference() -> None:
    raw = bytearray(made(blocks=[{"name": "ram", "size": 64 * PAGE, "pattern": "text",
                                  "density": 0.5}]))  # fmt: skip
    image = image_of(bytes(raw))
    block = image.blocks[0]
    expected = digest_image(image)
    bitmap = image.bitmap(block)
    assert bitmap is not None
    absent = next(page for page in range(64) if page not in bitmap)
    stale = raw.copy()
    stale[block.pages_offset + absent * PAGE] = 7
    assert digest_image(image_of(bytes(stale))) == expected
    raw[block.bitmap_offset + absent // 8] |= 1 << absent % 8
    assert digest_image(image_of(bytes(raw))) == expected
    stale[block.bitmap_offset + absent // 8] |= 1 << absent % 8
    assert digest_image(image_of(bytes(stale))).image != expected.image


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data())
def test_one_bit_of_memory_or_device_state_makes_a_difference(data: st.DataObject) -> None:
    raw = bytearray(made())
    image = image_of(bytes(raw))
    expected = digest_image(image)
    kinds = [record for record in image.records() if record.kind is Kind.DEVICE]
    block = image.blocks[data.draw(st.integers(0, 1))]
    bitmap = image.bitmap(block)
    assert bitmap is not None
    if data.draw(st.booleans()):
        page = data.draw(st.sampled_from([p for p in range(bitmap.pages) if p in bitmap]))
        at = block.pages_offset + page * PAGE + data.draw(st.integers(0, PAGE - 1))
        same = "devices"
    else:
        record = data.draw(st.sampled_from(kinds))
        at = record.offset + data.draw(st.integers(0, record.length - 1))
        same = "memory"
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    found = digest_image(image_of(bytes(raw)))
    assert found.image != expected.image
    assert getattr(found, same) == getattr(expected, same)


@pytest.mark.parametrize("spec", [
    {"machine": "other"},
    {"devices": [{"name": "timer", "data": "00" * 24}]},
    {"devices": [{"name": "timer", "data": "00" * 24}, {"name": "cpv", "data": "7e" * 40}]},
    {"devices": [{"name": "timer", "data": "00" * 25}, {"name": "cpu", "data": "7e" * 40}]},
    {"blocks": [{"name": "pc.ram", "size": 8 * PAGE, "pattern": "counter", "density": 0.5}]},
], ids=str)  # fmt: skip
def test_names_lengths_and_machine_make_a_difference(spec: dict[str, object]) -> None:
    assert digest_image(image_of(made(**spec))).image != digest_image(image_of(made())).image


@pytest.mark.slow
@pytest.mark.parametrize("which", ["pc-live", "legacy-xbzrle", "aarch64-virt"])
def test_blocks_are_what_load_prints(which: str, unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = sample(which, unpacked_dir)
    (entry,) = run_cli("digest", path, "--blocks", "--json").json["images"]
    mapped = path
    if which.startswith("legacy"):
        mapped = tmp_path / "mapped"
        assert run_cli("convert", path, "-o", mapped).code == 0
    loaded = run_cli("load", mapped, "--json").json["blocks"]
    assert [block["sha256"] for block in entry["blocks"]] == [block["sha256"] for block in loaded]
    with Image.open(path) as image:
        for block, found in zip(image.blocks, entry["blocks"], strict=True):
            assert found["name"] == block.name
            assert found["sha256"] == hashlib.sha256(block_memory(image, block)).hexdigest()


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_list_of_digests_is_checked_as_sha256sum_does(tmp_path: Path) -> None:
    names = ["plain", "with  space", "back\\slash", "new\nline", "@5"]
    for number, which in enumerate(names):
        (tmp_path / which).write_bytes(made(seed=number, blocks=[
            {"name": "ram", "size": 4 * PAGE, "pattern": "random"}]))  # fmt: skip
    paths = [tmp_path / which for which in names]
    printed = run_cli("digest", *paths)
    assert printed.code == 0
    assert len({line[-90:] for line in printed.out.splitlines()}) == len(names)
    listed = tmp_path / "LIST"
    listed.write_text("# a comment\n\n" + printed.out)
    assert run_cli("digest", "--check", listed).code == 0
    assert run_cli("digest", "-c", "-", stdin=printed.out.encode()).out.count(": OK\n") == 5
    (tmp_path / "plain").write_bytes(made(seed=99))
    result = run_cli("digest", "--check", listed)
    assert result.code == 1
    assert result.out.splitlines()[0] == f"{tmp_path / 'plain'}: FAILED"
    assert result.out.count(": OK\n") == 4
    found = run_cli("digest", "--check", listed, "--json")
    assert (found.code, found.json["failed"], found.json["ok"]) == (1, 1, 4)
    (tmp_path / "plain").unlink()
    result = run_cli("digest", "--check", listed)
    assert result.code == 2
    assert "FAILED open or read" in result.out


@pytest.mark.slow
def test_name_that_is_no_text_is_listed_as_its_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.img"
    with open(path, "wb") as file:
        file.write(made())
    words = [sys.executable, "-m", "fixedram_cli", "digest"]
    listed = subprocess.run([*words, path], capture_output=True, check=True, timeout=60).stdout
    assert listed.endswith(b"  " + path + b"\n")
    assert run_cli("digest", "--check", "-", stdin=listed).code == 0


@pytest.mark.slow
def test_lines_are_those_of_sha256sum(tmp_path: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("sha256sum is absent")
    for which in ("plain", "back\\slash", "new\nline"):
        path = tmp_path / which
        path.write_bytes(made())
        ours = run_cli("digest", path).out
        theirs = subprocess.run([tool, path], capture_output=True, text=True, check=True).stdout
        start = theirs.index("  ")
        mark = theirs.startswith("\\")
        assert ours.startswith("\\") is mark
        assert ours[64 + mark :] == theirs[start:]


@pytest.mark.slow
def test_parts_have_digests_of_their_own(tmp_path: Path) -> None:
    path, other = tmp_path / "image", tmp_path / "other"
    path.write_bytes(made())
    other.write_bytes(made(devices=[{"name": "cpu", "data": "00"}]))
    for part, same in (("image", False), ("memory", True), ("devices", False)):
        lines = run_cli("digest", path, other, "--part", part).out.splitlines()
        assert (lines[0][:64] == lines[1][:64]) is same
        listed = tmp_path / "LIST"
        listed.write_text(lines[0] + "\n")
        assert run_cli("digest", "--check", listed, "--part", part).code == 0
        (tmp_path / "LIST").write_text(f"{lines[0][:64]}  {other}\n")
        assert run_cli("digest", "--check", listed, "--part", part).code == (not same)


def test_stream_comes_through_a_pipe(unpacked_dir: Path) -> None:
    path, _ = sample("legacy-stream", unpacked_dir)
    piped = run_cli("digest", "-", stdin=path.read_bytes())
    assert piped.out == f"{digest_file(path).image}  -\n"


@pytest.mark.parametrize("raw", [
    b"", b"junk", made()[:-900], made()[: 5 * PAGE], ordinary(ram_word(0)[:5]),
    ordinary(ram_word(3 << 40)),
], ids=len)  # fmt: skip
def test_what_is_not_whole_has_no_digest(raw: bytes, tmp_path: Path) -> None:
    path, good = tmp_path / "bad", tmp_path / "good"
    path.write_bytes(raw)
    good.write_bytes(made())
    result = run_cli("digest", path, good)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.out.splitlines() == [f"{digest_file(good).image}  {good}"], "the others have"


@pytest.mark.parametrize("text", ["", "nonsense\n", "abc  image\n", "0" * 64 + " image", "#\n"])
def test_file_that_is_no_list_gives_2(text: str, tmp_path: Path) -> None:
    listed = tmp_path / "LIST"
    listed.write_text(text)
    result = run_cli("digest", "--check", listed)
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_usage_errors_give_2(tmp_path: Path) -> None:
    for words in ([], ["x", "--check", "y"], ["--check", tmp_path / "none"], ["x", "--part", "y"]):
        assert run_cli("digest", *words).code == 2


@pytest.mark.slow
def test_memory_not_in_the_image_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(made(blocks=[{"name": "shared", "size": 8 * PAGE, "ignored": True}]))
    result = run_cli("digest", path)
    assert result.code == 0
    assert "shared is not in the image" in result.err
    stream = tmp_path / "stream"
    assert run_cli("convert", path, "-o", stream, "--to", "stream").code == 0
    assert run_cli("digest", stream).out[:64] == result.out[:64]


@pytest.mark.slow
def test_huge_sparse_guest_costs_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    made_now = run_cli("synth", "-o", path, "--block", "pc.ram=1T:text:0.0001")
    assert made_now.code == 0, made_now.err
    assert peak("digest", path) < 150 * MIB


@pytest.mark.slow
def test_bitmap_full_of_ones_over_a_hole_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image"
    assert run_cli("synth", "-o", path, "--block", "pc.ram=512G:zero").code == 0
    expected = digest_file(path)
    with Image.open(path) as image, path.open("r+b") as file:
        file.seek(image.blocks[0].bitmap_offset)
        file.write(b"\x55" * (512 << 30 >> 15))
    done = subprocess.run([sys.executable, "-m", "fixedram_cli", "digest", path],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.startswith(expected.image)
