"""A receiver from files: what each is is told by its content."""

from __future__ import annotations

import json
import lzma
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixedram_cli.render.tomlout import toml
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.receiver import Receiver, ReceiverError, load_receiver
from fixedram_fmt.results import builtins, dumps
from support.builders import open_bytes, tiny_image
from support.receivers import Sub, number, part, saved
from support.synthetic import made

DOMAIN = """<domain type='kvm'><name>guest</name><memory unit='KiB'>1024</memory>
<os><type arch='x86_64' machine='pc-i440fx-10.0'>hvm</type></os></domain>"""
_CPU = {"vmsd_name": "cpu", "version_id": 1, "minimum_version_id": 1}
DUMP = json.dumps(
    {
        "vmschkmachine": {"Name": "pc-i440fx-10.0"},
        "cpu": {"Name": "cpu", "version_id": 1, "Description": {"name": "cpu", **_CPU}},
    }
)


def load(folder: Path, data: bytes | str, name: str = "vm") -> Receiver:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_receiver(path)


# -- what it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"machine": "pc-i440fx-10.0"}', "JSON"),
        ('\n  {"machine": "pc-i440fx-10.0"}', "JSON"),
        ('machine = "pc-i440fx-10.0"', "TOML"),
        ('# {"a": 1}\nmachine = "pc-i440fx-10.0"', "TOML"),
        (DUMP, "-dump-vmstate"),
        (DOMAIN, "domain"),
        ("\n<!-- made by hand -->\n" + DOMAIN, "domain"),
    ],
)
@pytest.mark.parametrize("name", ["vm", "vm.txt", "vm.img"])
def test_content_tells_what_a_file_is(text: str, kind: str, name: str, tmp_path: Path) -> None:
    found = load(tmp_path, text, name)
    assert found.sources == [f"{kind} {tmp_path / name}"]
    if kind != "domain":
        assert found.machine == "pc-i440fx-10.0"
    assert (found.domain is not None) is (kind == "domain")
    assert (found.vmstate is not None) is (kind == "-dump-vmstate")


@pytest.mark.parametrize("pack", [bytes, lzma.compress])
@pytest.mark.parametrize("name", ["vm", "vm.save"])
def test_an_image_is_a_description_too(pack: Any, name: str, tmp_path: Path) -> None:
    raw = made()
    found = load(tmp_path, pack(raw), name)
    assert found.sources == [f"image {tmp_path / name}"]
    with open_bytes(raw) as image:
        assert msgspec.structs.replace(found, sources=None) == Receiver.of_image(image)


def test_several_places_make_one_receiver(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('machine = "pc"')
    (tmp_path / "b").write_text(DOMAIN)
    found = load_receiver(tmp_path / "a", str(tmp_path / "b"))
    assert found.machine == "pc"
    assert found.domain == DOMAIN
    assert found.sources is not None
    assert len(found.sources) == 2
    assert load_receiver() == Receiver()


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n"])
def test_an_empty_toml_file_says_nothing(text: str, tmp_path: Path) -> None:
    found = load(tmp_path, text, "vm.toml")
    assert msgspec.structs.replace(found, sources=None) == Receiver()


@pytest.mark.parametrize("text", ['machine = "pc"', '{"machine": "pc"}', DOMAIN])
def test_a_pipe_is_read_once(text: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    found = load_receiver(pipe)
    writer.join()
    assert (found.machine or found.domain) in ("pc", DOMAIN)


# -- what is none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("vm", "[]", "object"),
        ("vm", "machine = pc", "line 1"),
        ("vm", "{", "line 1"),
        ("vm", "<domain>", "XML"),
        ("vm", "<html/>", "vm"),
        ("vm", "<!DOCTYPE a [<!ENTITY b 'c'>]><domain>&b;</domain>", "DTD"),
        ("vm", '{"vmschkmachine": 1}', "object"),
        ("vm", '{"vmschkmachine": {"Name": 7}}', "Name"),
        ("vm", DUMP[:-2], "line 1"),
        ("vm.json", "\0\1", "vm.json"),
        ("vm.toml", "QEVM", "vm.toml"),
        ("vm", '{"machine": "\\ud800"}', "surrogates"),
        ("vm", '{"description": "\\ud800"}', "surrogates"),
        ("vm", '{"instances": {"\\ud800": [1]}}', "surrogates"),
        ("vm", '{"contents": {"\\ud800": {}}}', "surrogates"),
        # Values that are compared.
        ("vm", '{"contents": {"d/0": {"n": {"type": "a", "value": "0"}}}}', "contents"),
        ("vm", '{"contents": {"d/0": {"n": {"type": "a", "value": "zz"}}}}', "contents"),
        ("vm", '{"contents": {"d/0": {"n": {"type": "a", "value": 12}}}}', "contents"),
        ("vm", '{"contents": {"d/0": {"n": {"type": 1, "value": "00"}}}}', "contents"),
        ("vm", '{"contents": {"d/0": {"n": {"type": "a"}}}}', "value"),
        ("vm", '{"contents": {"d/0": {"n": "00"}}}', "contents"),
        ("vm", '{"contents": {"d/0": ["00"]}}', "contents"),
        ("vm", '{"contents": []}', "contents"),
        ("vm", '{"description": {}}', "description"),
    ],
)
def test_what_describes_no_receiver_is_told(
    name: str, data: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ReceiverError) as refused:
        load(tmp_path, data, name)
    assert told in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)


def test_a_part_of_an_image_is_no_receiver(tmp_path: Path) -> None:
    raw = tiny_image().file()
    with pytest.raises(FixedRamError):
        load(tmp_path, raw[:40])
    for cut in (len(raw) // 2, len(raw) - 400):
        with pytest.raises(ReceiverError, match="cannot be read to its end"):
            load(tmp_path, raw[:cut])


@pytest.mark.parametrize("place", ["gone", "gone.json", "gone.xml", ".", "a\0b", ""])
def test_what_is_not_there_is_told(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FixedRamError):
        load_receiver(place)


# -- there and back --------------------------------------------------------------------------------


def test_an_image_s_receiver_is_the_same_in_json_and_toml(tmp_path: Path) -> None:
    image = saved(
        '0000:00:02.0/it\'s "odd"\\',
        number("ports", 3, "uint32 equal"),
        part("config", "pci config", bytes(range(256))),
        Sub("x/y", (number("m", 1, "uint8 equal"),)),
    )
    receiver = Receiver.of_image(image)
    assert receiver.contents
    assert receiver.description
    for text, name in ((dumps(receiver), "a.json"), ("".join(toml(builtins(receiver))), "a.toml")):
        found = load(tmp_path, text, name)
        assert msgspec.structs.replace(found, sources=None) == receiver
    assert json.loads(dumps(receiver))["contents"]
