"""Descriptions that ask for more than they weigh: `state` stays within the promise of SECURITY.md.

Each kind is a product: names times elements, devices times values, nesting, bytes as text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fixedram_fmt.vmstate.paths import Pattern
from support.builders import StreamBuilder, open_bytes

if TYPE_CHECKING:
    from pathlib import Path

MEMORY_BOUND = 150 << 20
#: Seconds of CPU; all take a few.
TIME_BOUND = 40

#: Runs a command, its output thrown away but for the last line: exit code, memory, CPU.
_SCRIPT = """
import json, os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
told = {"code": done.returncode, "err": done.stderr.decode()[-4000:],
        "memory": used.ru_maxrss * 1024, "seconds": used.ru_utime + used.ru_stime}
print(json.dumps(told))
"""


def measured(*arguments: str | Path) -> dict[str, Any]:
    command = [sys.executable, "-c", _SCRIPT, sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def bare() -> int:
    return int(measured("-c", "pass")["memory"])


def entry(name: str, fields: list[Any], instance_id: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "instance_id": instance_id,
        "vmsd_name": name,
        "version": 1,
        "fields": fields,
        **more,
    }


def struct(name: str, size: int, count: int | None, fields: list[Any]) -> dict[str, Any]:
    array = {} if count is None else {"array_len": count}
    inner = {"vmsd_name": "s", "version": 1, "fields": fields}
    return {"name": name, "type": "struct", "size": size, **array, "struct": inner}


def plain(name: str, type_: str, size: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "size": size, **more}


def stream(bodies: list[tuple[str, int, bytes]], devices: list[Any] | bytes) -> bytes:
    builder = StreamBuilder().header().configuration(b"pc")
    for number, (name, instance_id, body) in enumerate(bodies):
        builder.full(number + 3, name.encode(), body, instance_id=instance_id)
    text = devices if isinstance(devices, bytes) else json.dumps({"devices": devices}).encode()
    return builder.eof().vmdesc(text).file()


U8 = plain("x", "uint8", 1)
LONG = "n" * 255
MANY = 1000


def names_times_elements() -> bytes:
    fields = [struct("A" * 4000, 1, 60_000, [U8])]
    return stream([("timer", 0, bytes(60_000))], [entry("timer", fields)])


def allowed_names_times_elements() -> bytes:
    fields = [struct(LONG, 1, 200_000, [U8])]
    return stream([("timer", 0, bytes(200_000))], [entry("timer", fields)])


def deep_names() -> bytes:
    fields = [struct(LONG, 1, 20_000, [plain(LONG, "uint8", 1)])]
    for _ in range(20):
        fields = [struct(LONG, 20_000, None, fields)]
    return stream([("timer", 0, bytes(20_000))], [entry("timer", fields)])


def arrays_of_arrays_of_nothing() -> bytes:
    fields = [struct("b", 0, 1000, [struct("a", 0, 900, [])]), U8]
    return stream([("timer", 0, b"\1")], [entry("timer", fields)])


def devices_at_their_ceiling() -> bytes:
    fields = [struct("a", 0, 1_000_000, []), U8]
    names = [(f"d{number}", 0, b"\1") for number in range(MANY)]
    return stream(names, [entry(name, fields) for name, _, _ in names])


def devices_that_do_not_fit() -> bytes:
    fields = [struct("a", 0, 60_000, []), plain("x", "uint8", 2)]
    names = [("d", number, b"\1") for number in range(MANY)]
    return stream(names, [entry("d", fields, number) for number in range(MANY)])


def subsections_in_a_row() -> bytes:
    fields = [struct("a", 0, 1000, [])]
    below = [{"vmsd_name": "d/s", "version": 1, "fields": fields}]
    body = b"\1" + (b"\5\3d/s" + (1).to_bytes(4, "big")) * 3000
    names = [("d", number, body) for number in range(100)]
    return stream(names, [entry("d", [U8], number, subsections=below) for number in range(100)])


def a_long_body() -> bytes:
    size = 1 << 25
    return stream([("big", 0, b"A" * size)], [entry("big", [plain("state", "buffer", size)])])


def a_number_without_end() -> bytes:
    fields = [plain("x", "int32", 200_000)]
    return stream([("big", 0, b"\xff" * 200_000)], [entry("big", fields)])


def fields_without_end() -> bytes:
    fields = b",".join([b'{"size":0,"name":"a","type":"u"}'] * 300_000)
    head = b'{"devices":[{"name":"b","instance_id":0,"vmsd_name":"b","fields":['
    return stream([("b", 0, b"A")], head + fields + b"]}]}")


def subsections_of_nothing() -> bytes:
    head = b'{"devices":[{"name":"b","instance_id":0,"fields":[],"subsections":['
    return stream([("b", 0, b"A")], head + b"0," * 7_000_000 + b"0]}]}")


def one_array_written_apart() -> bytes:
    fields = [plain("a", "uint8", 1, index=number) for number in range(100_000)]
    return stream([("s", 0, bytes(100_000))], [entry("s", fields)])


KINDS = {
    function.__name__: function
    for function in (
        names_times_elements,
        allowed_names_times_elements,
        deep_names,
        arrays_of_arrays_of_nothing,
        devices_at_their_ceiling,
        devices_that_do_not_fit,
        subsections_in_a_row,
        a_long_body,
        a_number_without_end,
        fields_without_end,
        subsections_of_nothing,
        one_array_written_apart,
    )
}

FORMS = {
    "list": (),
    "flat": ("--flat",),
    "json": ("--json",),
    "qemu": ("--format", "qemu"),
    "pattern": ("*/*", "--json", "--offsets"),
}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_description_costs_more_than_is_promised(
    kind: str, form: str, tmp_path: Path, bare: int
) -> None:
    path = tmp_path / "image"
    path.write_bytes(KINDS[kind]())
    told = measured("-m", "fixedram_cli", "state", path, *FORMS[form])
    assert told["code"] in (0, 2), told["err"]
    assert "Traceback" not in told["err"]
    assert "internal error" not in told["err"]
    assert told["memory"] - bare < MEMORY_BOUND
    assert told["seconds"] < TIME_BOUND


SECTIONS = 60_000


def sections_of_one_name() -> bytes:
    bodies = [("cpu", number, b"abc") for number in range(SECTIONS)]
    fields = [plain("x", "uint8", 1)] * 3
    return stream(bodies, [entry("cpu", fields, number) for number in range(SECTIONS)])


def sections_nobody_describes() -> bytes:
    return stream([("timer", number, b"abcdefgh" * 40) for number in range(SECTIONS)], [])


#: What looks into no device, and another form of the same, is run on one of the two.
CROWDS = {
    sections_of_one_name: (
        "info", "validate", "diff {image}", "report -o page", "map",
        "state", "state --summary", "state --json",
    ),
    sections_nobody_describes: (
        "info --json", "validate", "dump --depth 1", "diff {image}", "digest", "sync",
        "state --json",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def crowds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("crowds")
    for maker in CROWDS:
        (folder / maker.__name__).write_bytes(maker())
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize(
    ("kind", "command"),
    [(maker.__name__, command) for maker, commands in CROWDS.items() for command in commands],
)
def test_sections_without_number_cost_what_is_promised(
    kind: str, command: str, crowds: dict[str, Path], tmp_path: Path, bare: int
) -> None:
    crowd = crowds[kind]
    name, *options = command.replace("{image}", str(crowd)).replace("page", f"{tmp_path}/p").split()
    told = measured("-m", "fixedram_cli", name, crowd, *options)
    assert told["code"] in (0, 1, 2), told["err"]
    assert "Traceback" not in told["err"]
    assert "internal error" not in told["err"]
    assert told["memory"] - bare < MEMORY_BOUND
    assert told["seconds"] < TIME_BOUND


@pytest.mark.parametrize("size", [1 << 63, 1 << 62, (1 << 64) - 1, 1 << 49])
def test_sizes_that_no_device_has_are_our_error(size: int) -> None:
    fields = [plain("a", "buffer", size, array_len=0), U8]
    with open_bytes(stream([("timer", 0, b"\7")], [entry("timer", fields)])) as image:
        (device,) = (one for one in image.state.devices if one.name == "timer")
        assert device.structure is None
        assert "description" in device.problem
        assert device.read(0, 1) == b"\7"


@pytest.mark.slow
def test_the_budget_is_the_image_s_and_not_the_device_s() -> None:
    with open_bytes(devices_at_their_ceiling()) as image:
        devices = [one for one in image.state.devices if one.name != "configuration"]
    decoded = [one for one in devices if one.structure is not None]
    assert 1 <= len(decoded) <= 3
    assert all("of one image" in one.problem for one in devices if one.structure is None)


@pytest.mark.slow
def test_a_pattern_looks_only_where_it_can_match() -> None:
    with open_bytes(allowed_names_times_elements()) as image:
        device = image.state.devices[-1]
        assert not list(device.find(Pattern("timer/no/x")))
        found = list(device.find(Pattern("timer/*[7]/x")))
    assert [one.path for one in found] == [f"timer/{LONG}[7]/x"]


def test_json_in_pieces_is_the_json_of_the_whole() -> None:
    """Members, elements and bytes on both sides of what is decoded at once."""
    from fixedram_fmt.results import plain as as_plain
    from fixedram_fmt.vmstate.jsontext import value_pieces

    inner = [plain("n", "uint16", 2), plain("b", "buffer", 3)]
    fields = [
        struct("few", 5, 3, inner),
        struct("many", 5, 3000, inner),
        plain("numbers", "int32", 4, array_len=5000),
        plain("long", "buffer", 200_000),
        plain("longs", "buffer", 70_000, array_len=2),
        plain("apart", "uint8", 1, index=0),
        plain("apart", "uint8", 1, index=1, array_len=2),
        struct("none", 5, 0, inner),
    ]
    size = sum(one["size"] * one.get("array_len", 1) for one in fields)
    body = bytes(number * 7 % 251 for number in range(size))
    with open_bytes(stream([("d", 0, body)], [entry("d", fields)])) as image:
        device = image.state.devices[-1]
        pieces = list(value_pieces(device.root))
        assert json.loads("".join(pieces)) == as_plain(device.fields)
    assert max(map(len, pieces)) < 1 << 18
