"""Receivers and images that ask for more than they weigh: an answer, soon, in little memory."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conftest import run_cli
from fixedram_fmt.receiver import Receiver, ReceiverError, load_receiver
from fixedram_fmt.receiver.judging import misfits
from fixedram_fmt.results import dumps
from hostile.test_hostile_state import (
    KINDS,
    MEMORY_BOUND,
    U8,
    entry,
    measured,
    plain,
    stream,
    struct,
)
from support.builders import open_bytes
from support.receivers import number, part, saved

pytestmark = pytest.mark.untraced
#: Seconds.  Each takes one or two; machines of a CI are shared.
SECONDS = 15


def arrays_of_empty_values() -> bytes:
    fields = [struct("a", 0, 100_000, [plain("x", "uint8 equal", 0)])]
    return stream(
        [("t", n, b"") for n in range(1000)], [entry("t", fields, n) for n in range(1000)]
    )


def long_configurations() -> bytes:
    fields = [struct("a", 1 << 16, 500, [plain("x", "pci config", 1 << 16)])]
    return stream([("t", 0, bytes(500 << 16))], [entry("t", fields)])


def thousands_of_subsections() -> bytes:
    names = [f"t/{number_}" for number_ in range(5000)]
    body = b"".join(b"\5%c%s\0\0\0\1\0" % (len(name), name.encode()) for name in names)
    below = [{"vmsd_name": name, "version": 1, "fields": [U8]} for name in names]
    return stream([("t", 0, b"\0" + body)], [entry("t", [U8], subsections=below)])


def thousands_of_pointers() -> bytes:
    names = ["ich9_pm/tco"] * 5000
    body = b"".join(b"\5%c%s\0\0\0\1\0" % (len(name), name.encode()) for name in names)
    below = [{"vmsd_name": name, "version": 1, "fields": [U8]} for name in names]
    return stream([("t", 0, b"\0" + body)], [entry("t", [U8], subsections=below)])


def deep_values() -> bytes:
    fields = [plain("x", "uint8 equal", 1)]
    for _ in range(28):
        fields = [struct("s", 1, None, fields)]
    return stream(
        [("t", n, b"\0") for n in range(500)], [entry("t", fields, n) for n in range(500)]
    )


def counts_without_end() -> bytes:
    fields = [
        struct("a", 0, 1 << 48, [plain("x", "uint8 equal", 0)]),
        plain("b", "uint8", 0, array_len=1 << 48),
    ]
    return stream([("t", 0, b"")], [entry("t", fields)])


def fields_that_are_hard_to_align() -> bytes:
    def device(salt: int) -> list[Any]:
        return [plain("ab"[(n * n + salt) // 3 % 2], "buffer", 1) for n in range(900)]

    return stream(
        [(f"t{n}", 0, bytes(900)) for n in range(250)],
        [entry(f"t{n}", device(n)) for n in range(250)],
    )


ALL = {
    **KINDS,
    **{
        one.__name__: one
        for one in (
            arrays_of_empty_values,
            long_configurations,
            thousands_of_subsections,
            thousands_of_pointers,
            deep_values,
            counts_without_end,
            fields_that_are_hard_to_align,
        )
    },
}


def longer(receiver: Receiver) -> Receiver:
    """Every device with a field more, at its start and at its end."""
    try:
        document = json.loads(receiver.description or "{}")
        for device in document.get("devices", ()):
            device["fields"] = [plain("first", "uint8", 1), *device["fields"],
                                plain("last", "uint8", 1)]  # fmt: skip
    except (ValueError, TypeError, RecursionError):
        return receiver
    return msgspec.structs.replace(receiver, description=json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_no_description_takes_long_to_compare(kind: str) -> None:
    with open_bytes(ALL[kind]()) as image:
        _ = image.state.devices
        start = time.process_time()
        own = Receiver.of_image(image)
        assert list(misfits(image, own)) == []
        for _ in misfits(image, longer(own)):
            pass
        assert time.process_time() - start < SECONDS


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["deep_names", "arrays_of_empty_values", "long_configurations", "deep_values"]
)
def test_no_description_takes_more_memory_than_is_promised(kind: str, tmp_path: Path) -> None:
    bare = measured("-c", "pass")["memory"]
    image, vm = tmp_path / "image", tmp_path / "vm.json"
    image.write_bytes(ALL[kind]())
    with open_bytes(image.read_bytes()) as opened:
        vm.write_text(dumps(longer(Receiver.of_image(opened))))
    for words in (("destination", image), ("validate", image, "--destination", vm)):
        told = measured("-m", "fixedram_cli", *words)
        assert told["code"] in (0, 1, 2), told["err"]
        assert "Traceback" not in told["err"]
        assert told["memory"] - bare < MEMORY_BOUND
        assert told["seconds"] < SECONDS


# -- documents -------------------------------------------------------------------------------------


def of_many_devices(count: int) -> Receiver:
    return Receiver(
        sections={f"0000:00/{n}/d{n % 9}": 1 for n in range(count)},
        instances={f"0000:00/{n}/d{n % 9}": [0] for n in range(count // 10)},
    )


@pytest.mark.slow
def test_a_receiver_of_very_many_devices_is_judged_soon(tmp_path: Path) -> None:
    vm = tmp_path / "vm.json"
    vm.write_text(dumps(of_many_devices(100_000)))
    bodies = [(f"d{n % 9}", n, b"\0") for n in range(2000)]
    image = tmp_path / "image"
    image.write_bytes(stream(bodies, [entry(name, [U8], n) for name, n, _ in bodies]))
    told = measured("-m", "fixedram_cli", "validate", image, "--destination", vm, "--json")
    assert told["code"] == 1
    assert "Traceback" not in told["err"]
    assert told["seconds"] < SECONDS
    assert told["memory"] - measured("-c", "pass")["memory"] < MEMORY_BOUND


@pytest.mark.parametrize("length", [10, 30, 60, 75])
def test_a_dump_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    dump = '{"vmschkmachine": {"Name": "pc"}, "cpu": {"Name": "cpu", "version_id": 12}}'
    (tmp_path / "dump").write_text(dump[: min(length, len(dump) - 1)])
    with pytest.raises(ReceiverError, match="line 1"):
        load_receiver(tmp_path / "dump")


ESCAPES = "\x1b[31m\x1b]0;owned\x07\u202e\r\n"
#: What a terminal would act on, or turn around; ESC [ from our own colours is not asked for.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.slow
@pytest.mark.parametrize("form", [(), ("--explain",), ("--json",)])
def test_names_are_never_raw_on_a_terminal(form: tuple[str, ...], tmp_path: Path) -> None:
    odd = f"d{ESCAPES}"
    image = saved(odd, number(f"n{ESCAPES}", 1, "uint8 equal"), number(f"m{ESCAPES}", 1),
                  part(f"c{ESCAPES}", "pci config", bytes(64)))  # fmt: skip
    own = saved(odd, number(f"n{ESCAPES}", 2, "uint8 equal"),
                part(f"c{ESCAPES}", "pci config", bytes([9]) * 64))  # fmt: skip
    (tmp_path / "image").write_bytes(image.source.read_exact(0, image.source.size))
    (tmp_path / "own").write_bytes(own.source.read_exact(0, own.source.size))
    vm = tmp_path / "vm.json"
    receiver = Receiver.of_image(own)
    vm.write_text(dumps(msgspec.structs.replace(receiver, machine=odd, sources=[ESCAPES])))
    for words in (("--destination", vm), ("--like", tmp_path / "own")):
        told = run_cli("validate", tmp_path / "image", *words, *form)
        assert told.code in (1, 2)
        assert not RAW.search(told.out + told.err)
        assert "Traceback" not in told.err


@pytest.mark.slow
def test_a_file_s_name_and_its_content_are_never_raw_in_an_error(tmp_path: Path) -> None:
    image = tmp_path / "image"
    raw = saved("d", number("n", 1))
    image.write_bytes(raw.source.read_exact(0, raw.source.size))
    for number_, text in enumerate((
        json.dumps({ESCAPES: 1}), json.dumps({"blocks": {ESCAPES: -1}}),
        json.dumps({"blocks": {"a": ESCAPES}}), json.dumps({"contents": {ESCAPES: {"a": 1}}}),
        f'"{ESCAPES[:-2]}" = 1', f"<domain>{ESCAPES}</domain>",
    )):  # fmt: skip
        vm = tmp_path / f"{number_}\x1b[31m"
        vm.write_text(text)
        told = run_cli("validate", image, "--destination", vm)
        assert told.code == 2, text
        assert not RAW.search(told.out + told.err)
        assert len(told.err.splitlines()) == 1
