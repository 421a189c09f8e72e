"""States of VMs in qcow2 images: read in place, hostile tables refused."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from conftest import run_cli
from fixedram_fmt import FixedRamError, FormatError, Image, SourceError, UnsupportedError
from fixedram_fmt.commandline import command_line
from fixedram_fmt.container.qcow2 import QcowDisk
from fixedram_fmt.container.qcow2clusters import ClusterSource
from fixedram_fmt.container.wrapper import Place
from fixedram_fmt.failures import rescue
from fixedram_fmt.io.output import OutputError
from fixedram_fmt.io.source import Source
from fixedram_fmt.snapshots import list_snapshots
from fixedram_fmt.verbs import convert, copy, extract
from support.builders import ordinary_image, tiny_image
from support.qcow2 import DiskBuilder, State

STREAM = ordinary_image().file()
MAPPED = tiny_image().file()

GEOMETRIES = {
    "512": DiskBuilder(9, size=1 << 16),
    "4K": DiskBuilder(12),
    "64K": DiskBuilder(16),
    "2M": DiskBuilder(21),
    "version-2": DiskBuilder(12, version=2),
    "extended": DiskBuilder(14, extended=True),
    "extended-64K": DiskBuilder(16, extended=True),
    "deflate": DiskBuilder(12, compressed="zlib"),
    "deflate-64K": DiskBuilder(16, compressed="zlib"),
    "deflate-extended": DiskBuilder(14, extended=True, compressed="zlib"),
    "zstd": DiskBuilder(12, compressed="zstd"),
}


def patterned(length: int, seed: int = 1) -> bytes:
    """Bytes that compress, with holes between them."""
    chance = random.Random(seed)
    parts = []
    while sum(map(len, parts)) < length:
        size = chance.choice((100, 700, 5000, 40000))
        parts.append(bytes(size) if chance.random() < 0.4 else chance.randbytes(50) * (size // 50))
    return b"".join(parts)[:length]


def built(builder: DiskBuilder, *states: State, **more: object) -> bytes:
    return replace(builder, states=list(states), **more).build()


def disk_of(raw: bytes) -> QcowDisk:
    return QcowDisk.at(Place(Source.from_buffer(raw), 0))


def state_of(raw: bytes, name: str = "saved") -> ClusterSource:
    disk = disk_of(raw)
    return disk.state(disk.snapshot(name))


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_bytes_are_those_that_were_saved(name: str) -> None:
    data = patterned(300_001)
    state = state_of(built(GEOMETRIES[name], State(data)))
    assert state.size == len(data)
    assert state.read_exact(0, state.size) == data
    chance = random.Random(2)
    for _ in range(60):
        start = chance.randrange(len(data))
        length = chance.randrange(len(data) - start + 1)
        assert state.read_exact(start, length) == data[start : start + length]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_extents_tile_the_state_and_holes_are_zeros(name: str) -> None:
    data = patterned(200_000, seed=3)
    state = state_of(built(GEOMETRIES[name], State(data)))
    for start, stop in ((0, state.size), (4097, 150_000), (199_999, 200_000)):
        extents = list(state.extents(start, stop))
        assert (extents[0].start, extents[-1].stop) == (start, stop)
        assert all(a.stop == b.start and a.data is not b.data for a, b in pairwise(extents))
        assert not any(data[a:b].strip(b"\0") for a, b, is_data in extents if not is_data)
    assert name == "2M" or any(not one.data for one in state.extents())


@pytest.mark.parametrize("disk_size", [0, 1, 4096 * 512, 4096 * 512 + 1, 1 << 40])
def test_the_state_lies_after_the_disk_as_it_was_then(disk_size: int) -> None:
    data = patterned(50_000)
    if disk_size > 1 << 30:  # an L1 table for 1 TiB of 4 KiB clusters is 4 MiB
        assert state_of(built(DiskBuilder(16), State(data, disk_size=disk_size))).size == len(data)
        return
    state = state_of(built(DiskBuilder(12, size=1 << 30), State(data, disk_size=disk_size)))
    assert state.read_exact(0, state.size) == data


@pytest.mark.parametrize("extra", [0, 8, 16, 24])
def test_entries_of_older_versions_say_less(extra: int) -> None:
    data = patterned(50_000)
    state = state_of(built(DiskBuilder(12), State(data, extra=extra)))
    assert state.read_exact(0, state.size) == data


def test_a_state_that_is_longer_than_its_entry_says_is_read_whole() -> None:
    data = patterned(100_000)
    state = state_of(built(DiskBuilder(12), State(data, said=5000)))
    assert state.size == -(-len(data) // 4096) * 4096
    assert state.read_exact(0, len(data)) == data


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [STREAM, MAPPED], ids=["stream", "mapped-ram"])
def test_every_command_takes_path_and_name(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(stream, "a b"), State(stream[:200], "c", "2")))
    with Image.open(f"{path}#a b") as image:
        assert image.complete
        assert image.container.kind == "qcow2"
    with Image.open(f"{path}#2") as image:
        assert not image.complete
    assert run_cli("info", f"{path}#a b", "--json").json["container"]["qcow2"]["snapshot_id"] == "1"
    assert run_cli("copy", f"{path}#a b", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == stream


def test_a_command_line_says_that_qemu_does_not_read_it_there(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(MAPPED, "saved")))
    told = run_cli("destination", f"{path}#saved", "--output", "command", "--json").json
    assert any("out of a disk image" in sentence for sentence in told["uncertain"])


def test_a_file_that_is_called_so_wins(tmp_path: Path) -> None:
    (tmp_path / "a#b").write_bytes(STREAM)
    (tmp_path / "a#b#c").write_bytes(built(DiskBuilder(12), State(MAPPED, "d#e")))
    with Image.open(str(tmp_path / "a#b")) as image:
        assert image.container.kind == "bare"
    with Image.open(str(tmp_path / "a#b#c#d#e")) as image:
        assert image.container.kind == "qcow2"


def test_without_a_name_the_states_are_named(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "before"), State(STREAM, "after", "2")))
    done = run_cli("info", path)
    assert done.code == 2
    assert "2 states of VMs in it: 'before', 'after'" in done.note
    assert f"{path}#before" in done.note
    assert run_cli("info", path, "--search").code == 2


@pytest.mark.slow
def test_the_disk_that_has_the_state_is_never_written_over(tmp_path: Path) -> None:
    path, link = tmp_path / "disk.qcow2", tmp_path / "link"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a"), State(STREAM, "b", "2")))
    link.hardlink_to(path)
    before = path.read_bytes()
    for words in (("copy",), ("convert",), ("rescue",), ("extract", "--block", "pc.ram")):
        for out in (path, link):
            assert run_cli(*words, f"{path}#a", "-o", out, "--force").code == 2
    for verb in (copy, convert, rescue, partial(extract, block="pc.ram")):
        with pytest.raises(OutputError, match="is what the image lies in"):
            verb(f"{path}#a", path, force=True)
    assert path.read_bytes() == before


def test_a_name_that_is_long_or_shared_is_not_what_the_hint_tells_to_type(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    for name in ("long" * 10_000, "", "same"):
        states = State(STREAM, name), State(STREAM, "same", "2")
        path.write_bytes(built(DiskBuilder(16), *states))
        done = run_cli("info", path)
        assert f"as in {path}#1" in done.note
        assert len(done.note) < 1000
        assert run_cli("info", f"{path}#1").code == 0
    assert "the id of one: 1, 2" in run_cli("info", f"{path}#same").note


def test_loadvm_looks_for_an_id_before_a_name() -> None:
    states = [State(STREAM, name, str(number)) for number, name in enumerate("213aa", 1)]
    disk = disk_of(built(DiskBuilder(12), *states))
    taken = {name: disk.taken_by_loadvm(name).id for name in "123a"}
    assert taken == {"1": "1", "2": "2", "3": "3", "a": "4"}


def test_what_is_accepted_of_a_snapshot_is_not_accepted_of_another(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM[:300], "a"), State(STREAM[:300], "b")))
    known = tmp_path / "known.json"
    run_cli("validate", f"{path}#a", "--write-baseline", known)
    assert run_cli("validate", f"{path}#a", "--baseline", known, "--fail-on", "note").code == 0
    assert run_cli("validate", f"{path}#b", "--baseline", known, "--fail-on", "note").code == 1


def test_a_snapshot_is_called_by_its_name_wherever_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a")))
    with Image.open(f"{path}#a") as image:
        assert image.source.name == f"{path}#a"
        assert not image.container.in_place
        assert any("-loadvm" in text for text in command_line(image).uncertain)


def test_nothing_after_the_sign_names_none(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a")))
    done = run_cli("info", f"{path}#")
    assert (done.code, "there is no snapshot ''; expected 'a'" in done.note) == (2, True)


def test_a_volume_whose_content_is_a_state_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "vm-100-state-x.qcow2"
    path.write_bytes(replace(DiskBuilder(16, compressed="zlib"), content=STREAM).build())
    with Image.open(path) as image:
        assert image.complete
        assert (image.container.kind, image.source.size) == ("qcow2", 3 << 20)


@pytest.mark.parametrize(
    ("location", "error"),
    [("#nothing", SourceError), ("#twice", SourceError), ("#disk", SourceError)],
)
def test_names_that_mean_no_state_are_refused(
    location: str, error: type[FixedRamError], tmp_path: Path
) -> None:
    path = tmp_path / "disk.qcow2"
    states = State(STREAM, "twice"), State(STREAM, "twice", "2"), State(b"", "disk", "3")
    path.write_bytes(built(DiskBuilder(12), *states))
    with pytest.raises(error):
        Image.open(f"{path}{location}")
    with Image.open(f"{path}#2") as image:
        assert image.complete


def test_a_name_in_what_has_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(STREAM)
    with pytest.raises(SourceError, match="nothing in this file has a name"):
        Image.open(f"{path}#saved")


# -- the list --------------------------------------------------------------------------------------


def test_the_list_of_a_name_has_that_alone(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a"), State(STREAM, "b", "2")))
    assert [one.name for one in list_snapshots(f"{path}#b").snapshots] == ["b"]
    assert run_cli("snapshots", f"{path}#c").code == 2


def test_the_list_says_what_each_is() -> None:
    states = (
        State(STREAM, "whole"), State(MAPPED, "fixed", "2"), State(STREAM[:200], "cut", "3"),
        State(b"", "disk alone", "4"), State(b"junk" * 99, "junk", "5"),
    )  # fmt: skip
    found = list_snapshots(built(DiskBuilder(12), *states)).snapshots
    assert [(one.id, one.name, one.kind, one.complete) for one in found] == [
        ("1", "whole", "stream", True), ("2", "fixed", "mapped-ram", True),
        ("3", "cut", "stream", False), ("4", "disk alone", "disk", None),
        ("5", "junk", "unreadable", None),
    ]  # fmt: skip
    assert {(one.date, one.vm_clock) for one in found} == {("2023-11-14T22:13:20Z", 61.5)}
    assert found[0].vm_state_size == len(STREAM)


def test_the_list_is_printed_without_what_could_act_on_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(built(DiskBuilder(12), State(STREAM, "a\x1b[2Jb")))
    done = run_cli("snapshots", path)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "stream, pc" in done.out
    path.write_bytes(STREAM)
    assert run_cli("snapshots", path).code == 2


# -- hostile ones ----------------------------------------------------------------------------------


def patched(raw: bytes, offset: int, form: str, value: int) -> bytes:
    return raw[:offset] + struct.pack(f">{form}", value) + raw[offset + struct.calcsize(form) :]


HOSTILE = {"crypt": (32, "I", 2), "aes": (32, "I", 1), "data file": (72, "Q", 4),
           "unknown feature": (72, "Q", 1 << 40), "version": (4, "I", 4)}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_read_is_named(name: str) -> None:
    raw = patched(built(DiskBuilder(12), State(STREAM)), *HOSTILE[name])
    with pytest.raises(UnsupportedError):
        disk_of(raw)


@pytest.mark.parametrize("value", [0, 1, 8, 22, 63, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_size_of_clusters_that_cannot_be_is_refused(value: int) -> None:
    with pytest.raises(FixedRamError):
        list_snapshots(patched(built(DiskBuilder(12), State(STREAM)), 20, "I", value))


@pytest.mark.parametrize("value", [0x10001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_number_of_snapshots_that_cannot_be_is_refused(value: int) -> None:
    with pytest.raises(FormatError, match="too many snapshots"):
        list_snapshots(patched(built(DiskBuilder(12), State(STREAM)), 60, "I", value))


@pytest.mark.parametrize("value", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_table_that_is_too_long_is_refused(value: int) -> None:
    raw = built(DiskBuilder(12), State(STREAM))
    with pytest.raises(FormatError, match="L1 table is too long"):
        state_of(patched(raw, disk_of(raw).snapshots[0].offset + 8, "I", value))


def test_a_table_named_twice_is_refused() -> None:
    raw = bytearray(built(DiskBuilder(9, size=0), State(patterned(80_000))))
    snapshot = disk_of(bytes(raw)).snapshots[0]
    start = snapshot.l1_table_offset
    raw[start + 8 : start + 16] = raw[start : start + 8]
    with pytest.raises(FormatError, match="the same L2 table"):
        state_of(bytes(raw))


@pytest.mark.parametrize("value", [1 << 55, 0xFFFF_FFFF_FFFF_FFFF, 1 << 40, 513, 1 << 62])
def test_entries_of_tables_are_distrusted(value: int) -> None:
    raw = built(DiskBuilder(12, size=0), State(patterned(80_000)))
    l1 = disk_of(raw).snapshots[0].l1_table_offset
    l2 = int.from_bytes(raw[l1 : l1 + 8], "big") & 0xFFFFFFFFFFFE00
    for place in (l1, l2, l2 + 8):
        try:
            state = state_of(patched(raw, place, "Q", value))
            for extent in state.extents():
                state.read_exact(extent.start, extent.stop - extent.start)
        except FixedRamError:
            continue
        assert state.size >= 80_000


def test_a_cluster_mapped_again_and_again_is_refused() -> None:
    raw = bytearray(built(DiskBuilder(16, size=0), State(patterned(80_000))))
    l1 = disk_of(bytes(raw)).snapshots[0].l1_table_offset
    l2 = int.from_bytes(raw[l1 : l1 + 8], "big") & 0xFFFFFFFFFFFE00
    raw[l2 : l2 + 65536] = raw[l2 : l2 + 8] * 8192
    with pytest.raises(FormatError, match="more clusters are mapped than the file has"):
        state_of(bytes(raw))


@pytest.mark.slow
@pytest.mark.untraced
def test_snapshots_that_share_a_huge_table_cost_seconds_at_most(tmp_path: Path) -> None:
    path, entries, count = tmp_path / "disk.qcow2", 1 << 20, 100
    states = [State(STREAM, "a" * 60_000, str(number)) for number in range(count)]
    raw = built(DiskBuilder(9, size=0), *states)
    table = -(-len(raw) // 512) * 512
    with path.open("wb") as file:
        file.write(raw)
        for one in disk_of(raw).snapshots:
            file.seek(one.offset)
            file.write(struct.pack(">QI", table + entries * 512, entries))
        file.seek(table + entries * 512)
        file.write(np.arange(table, table + entries * 512, 512).astype(">u8").tobytes())
    begun = process_time()
    found = list_snapshots(str(path)).snapshots
    assert len(found) == count
    assert {one.kind for one in found} == {"unreadable", "unread"}
    assert process_time() - begun < 10
    assert len(run_cli("snapshots", path).out) < count * 400


@pytest.mark.slow
def test_a_file_cut_anywhere_is_refused_or_read() -> None:
    raw = built(DiskBuilder(9, size=1024, compressed="zlib"), State(STREAM))
    whole = list_snapshots(raw).snapshots[0]
    assert whole.complete
    for length in range(0, len(raw), 37):
        try:
            found = list_snapshots(raw[:length]).snapshots
        except FixedRamError:
            continue
        assert found[0].kind in ("stream", "unreadable")
