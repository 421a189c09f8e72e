"""What commands print with --json has a schema, and every key in it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import SAMPLES, run_cli, sample_entries, unpack
from fixedram_cli.app import COMMANDS, application
from support.builders import ordinary_image
from support.qcow2 import DiskBuilder, State
from support.schemas import SCHEMAS, validator
from support.xen import XenSaveBuilder

ENTRIES = {entry["name"]: entry for entry in sample_entries()}

#: One of each kind: hand-coded sections, ordinary streams, containers, what is shared or absent.
VARIOUS = (
    "avr-uno",
    "failed-ignore-shared",
    "legacy-stream",
    "legacy-xbzrle",
    "libvirt-fx-sparse",
    "microvm-uuid",
    "pc-dirty-bitmap",
    "pc-ignore-shared-11.1",
    "pc-no-vmdesc",
    "pc-offset",
    "s390x-virtio",
)


def check(name: str, *arguments: str | Path, codes: tuple[int, ...] = (0,)) -> Any:
    """Run the command with --json, in this process, and hold its output to the schema."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        code = application()([name, *map(str, arguments), "--json"], standalone_mode=False) or 0
    assert code in codes, err.getvalue()
    document = json.loads(out.getvalue())
    errors = validator(name).iter_errors(document)
    worst = jsonschema.exceptions.best_match(errors)
    assert worst is None, f"{worst.json_path}: {worst.message[:500]}"
    return document


def location(entry: dict[str, Any], folder: Path) -> str:
    """The sample as commands take it, with where its stream starts if that must be told."""
    path = SAMPLES / entry["file"]
    offset = entry.get("stream_offset", 0)
    if not offset or "libvirt" in entry["name"]:
        return str(path)
    return f"{unpack(path, folder / path.stem)}@{offset}"


def objects(node: Any) -> Any:
    """Every schema inside a schema that describes an object."""
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_schemas_are_sound_and_closed(path: Path) -> None:
    document = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    assert all(found["additionalProperties"] is False for found in objects(document))


def test_keys_that_no_type_has_fail() -> None:
    document = check("rules")
    document["rules"][0]["new"] = 1
    assert not validator("rules").is_valid(document)
    del document["rules"][0]["new"]
    assert validator("rules").is_valid(document)
    del document["rules"][0]["why"]
    assert not validator("rules").is_valid(document)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_samples_print_what_the_schemas_say(name: str, unpacked_dir: Path) -> None:
    check("info", location(ENTRIES[name], unpacked_dir))
    check("validate", location(ENTRIES[name], unpacked_dir), codes=(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIOUS)
def test_samples_of_each_kind_are_taken_apart_as_the_schemas_say(
    name: str, unpacked_dir: Path
) -> None:
    path = location(ENTRIES[name], unpacked_dir)
    check("dump", path, "--bytes")
    check("state", path)
    check("state", path, "--summary")
    check("sync", path, codes=(0, 1))


def test_every_command_with_json_has_a_schema() -> None:
    named = {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json")}
    assert set(COMMANDS) - {"mount"} <= named


@pytest.fixture(scope="module")
def live() -> Path:
    return SAMPLES / "pc-live.img.xz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schemas")


@pytest.mark.slow
def test_commands_that_write_print_what_the_schemas_say(folder: Path) -> None:
    made = folder / "made.img"
    block = ("--block", "pc.ram=1M:counter:0.5", "--rounds", "2")
    check("synth", "-o", made, *block)
    check("synth", *block, "--plan")
    check("synth", "--list-faults")
    check("copy", made, "-o", folder / "copied.img")
    check("copy", made, "--plan", "--rebase", "4096")
    check("convert", made, "--to", "stream", "-o", folder / "stream.img")
    check("rescue", made, "-o", folder / "rescued.img", codes=(1,))
    check("rescue", made, "--plan", codes=(1,))
    check("extract", made, "--block", "pc.ram", "-o", folder / "ram.bin")
    check("load", made, "-o", folder / "loaded")
    check("load", made)
    check("report", made, "-o", folder / "report.html")


@pytest.mark.slow
def test_commands_that_read_print_what_the_schemas_say(live: Path, folder: Path) -> None:
    check("read", live, "--phys", "0x100000", "64")
    check("read", live, "--virt", "0x100000", "--explain", "64")
    check("read", live, "--list")
    check("state", live, "--summary")
    check("state", live, "timer/*")
    check("map", live)
    check("map", live, "--deep")
    check("sync", live, "--compare", codes=(0, 1))
    check("sync", "--explain")
    check("sync", live, "--loader", "fixed-ram-v4", "--explain", codes=(0, 1))
    check("rules")
    check("rules", "--message", "Missing section footer for ram")
    check("diagnose", live)
    check("diagnose", live, "--log", "Missing section footer for ram", codes=(1,))
    check("volatility-path")
    document = check("destination", live)
    told = folder / "destination.json"
    told.write_text(json.dumps(document))
    check("validate", live, "--destination", told, codes=(0, 1))


@pytest.mark.slow
def test_diff_and_digest_print_what_the_schemas_say(live: Path, folder: Path) -> None:
    check("diff", live, SAMPLES / "pc-once.img.xz", codes=(1,))
    check("diff", live, live)
    check("digest", live)
    listed = folder / "digests"
    listed.write_text(run_cli("digest", live).out)
    check("digest", "--check", listed)


@pytest.mark.slow
def test_what_is_said_of_containers_is_what_the_schemas_say(folder: Path) -> None:
    disk, save = folder / "disk.qcow2", folder / "guest.xl"
    stream = ordinary_image().file()
    states = [State(stream), State(b"", "d", "2")]
    disk.write_bytes(DiskBuilder(9, size=2000, content=b"x" * 2000, states=states).build())
    for writer in ("xl", "libvirt", "libxl"):
        save.write_bytes(XenSaveBuilder(stream, writer=writer).build())
        check("info", save)
        check("dump", save)
        check("dump", save, "--container")
    check("info", f"{disk}#saved")
    check("dump", f"{disk}#saved")
    check("dump", disk)
    check("snapshots", disk)


def test_a_broken_image_is_judged_in_the_same_words(folder: Path) -> None:
    broken = folder / "broken.img"
    broken.write_bytes(b"QEVM\0\0\0\3\7\0\0\0\2pc\1")
    check("validate", broken, codes=(1,))
    check("info", broken)
    check("dump", broken)
    check("validate", folder / "absent.img", codes=(2,))
