"""The vectors of spec/vectors: read here, read by a naive loop, and loaded by a real QEMU."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from qemu_vm import QemuError, QemuVM, require_qemu
from specification.vectors import read_vector, write_vector
from support.schemas import validator
from support.two_blocks import GUEST, RANGES, TIME_LIMIT, outcome_of

FOLDER = ROOT / "spec" / "vectors"


def vectors(name: str) -> dict[str, Any]:
    document = json.loads((FOLDER / f"{name}.json").read_text())
    return {vector["name"]: vector for vector in document["vectors"]}


SOUND, BROKEN = vectors("sound"), vectors("broken")
ALL = {**SOUND, **BROKEN}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sound", "broken"])
def test_the_files_are_as_their_schema_says(name: str) -> None:
    validator("vectors").validate(json.loads((FOLDER / f"{name}.json").read_text()))


def test_no_two_vectors_have_a_name_in_common() -> None:
    assert len(ALL) == len(SOUND) + len(BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_this_reader_finds_what_is_expected(name: str, tmp_path: Path) -> None:
    assert read_vector(ALL[name], tmp_path / "image") == ALL[name]["expected"]


# -- a reader that knows nothing of this library --------------------------------------------------


class Naive:
    """Reads a sound image front to back, as the grammar of FORMAT.md says."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.at = start

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def name(self, form: str = "B") -> str:
        length = self.take(form)
        return str(self.take(f"{length}s").decode())

    def read(self) -> dict[str, Any]:
        assert self.take("4s") == b"QEVM"
        assert self.take("I") == 3
        assert self.take("B") == 7
        found: dict[str, Any] = {"machine": self.name("I"), "capabilities": []}
        found |= {"blocks": [], "sections": []}
        while self.data[self.at] == 5:
            self.subsection(found)
        while kind := self.take("B"):
            self.item(kind, found)
        return found

    def subsection(self, found: dict[str, Any]) -> None:
        self.take("B")
        name = self.name()
        assert self.take("I") == 1
        if name == "configuration/capabilities":
            found["capabilities"] = [self.name() for _ in range(self.take("I"))]
        else:
            self.at += {"configuration/uuid": 16, "configuration/target-page-bits": 4}[name]

    def item(self, kind: int, found: dict[str, Any]) -> None:
        if kind == 8:
            self.take("H")
            length = self.take("H")
            self.at += length
            return
        number = self.take("I")
        name = "ram"
        if kind in (1, 4):
            name, instance, version = self.name(), self.take("I"), self.take("I")
            found["sections"].append(
                {"id": number, "name": name, "instance_id": instance, "version": version}
            )
        if name == "ram":
            self.ram(found)
        else:
            self.at = self.data.index(struct.pack(">BI", 0x7E, number), self.at)
        assert self.take("B") == 0x7E
        assert self.take("I") == number

    def ram(self, found: dict[str, Any]) -> None:
        while True:
            word = self.take("Q")
            if word == 0x10:
                return
            if word == 0x200:
                continue
            assert word & 0xFF == 4
            left = word & ~0xFF
            while left:
                block = self.block()
                found["blocks"].append(block)
                left -= block["used_length"]

    def block(self) -> dict[str, Any]:
        name, length = self.name(), self.take("Q")
        assert self.take("I") == 1
        page_size, bitmap, pages = self.take("Q"), self.take("Q"), self.take("Q")
        self.at = pages + length
        return {
            "name": name,
            "used_length": length,
            "page_size": page_size,
            "bitmap_offset": bitmap,
            "pages_offset": pages,
        }


def present(data: bytes, block: dict[str, Any], *, big: bool) -> dict[str, str]:
    """Hashes of the pages whose bit is set, bit by bit."""
    found = {}
    for page in range(block["used_length"] // block["page_size"]):
        byte, bit = divmod(page, 8)
        if big:
            byte = page // 64 * 8 + 7 - page % 64 // 8
        if data[block["bitmap_offset"] + byte] >> bit & 1:
            start = block["pages_offset"] + page * block["page_size"]
            content = data[start : start + block["page_size"]]
            found[str(page)] = hashlib.sha256(content).hexdigest()
    return found


@pytest.mark.parametrize("name", SOUND)
def test_a_naive_reader_finds_what_is_expected(name: str, tmp_path: Path) -> None:
    vector = SOUND[name]
    expected = vector["expected"]
    data = write_vector(vector, tmp_path / "image").read_bytes()
    found = Naive(data, expected["stream_offset"]).read()
    big = expected["byte_order"] == "big"
    for block in found["blocks"]:
        block |= {"ignored": False, "pages": present(data, block, big=big)}
    assert found == {key: expected[key] for key in found}


# -- a real QEMU ----------------------------------------------------------------------------------


def load(path: Path, offset: int) -> tuple[str, list[bytes]]:
    """As two_blocks.load, from an offset."""
    with QemuVM(require_qemu("x86_64"), timeout=TIME_LIMIT) as vm:
        vm.start(GUEST)
        vm.set_capabilities("mapped-ram")
        try:
            status = vm.incoming_from_file(path, offset)
        except (QemuError, TimeoutError):
            return "crashed", []
        memory = [vm.pmemsave(*part) for part in RANGES] if status == "completed" else []
        return status, memory


def meant() -> list[bytes]:
    """The guest's memory in the sound vectors, as their pages say."""
    data = {"pc.ram": bytearray(16 << 20), "mem1": bytearray(8 << 20)}
    for block in SOUND["plain"]["expected"]["blocks"]:
        for page in block["pages"]:
            start = int(page) * 4096
            mark = hashlib.sha256(f"{block['name']} {page}".encode()).digest()[:16]
            data[block["name"]][start : start + 16] = mark
            found = hashlib.sha256(data[block["name"]][start : start + 4096]).hexdigest()
            assert found == block["pages"][page]
    return [bytes(data["pc.ram"][1 << 20 :]), bytes(data["mem1"])]


FOR_QEMU = [
    name
    for name, vector in ALL.items()
    # One that makes QEMU hang costs its whole time limit; tests/interop/test_faults.py waits.
    if vector["destination"] and vector["expected"]["verdicts"]["qemu-10.0"] != "crashes"
]


@pytest.mark.qemu
@pytest.mark.parametrize("name", FOR_QEMU)
def test_a_real_qemu_does_what_the_vector_says(name: str, tmp_path: Path) -> None:
    vector = ALL[name]
    path = write_vector(vector, tmp_path / "image")
    offset = vector["expected"].get("stream_offset", 0)
    observed = outcome_of(*load(path, offset), meant())
    assert observed == vector["expected"]["verdicts"]["qemu-10.0"]
