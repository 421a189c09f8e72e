"""What a verdict covers: nothing that was not looked at counts as judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.results import builtins
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.validation import Receiver, load_receiver, validate
from fixedram_fmt.validation.scope import Extent, Scope
from fixedram_fmt.write.faults import fault_named
from support.builders import open_bytes, tiny_image
from support.reports import image, told, unreadable
from support.synthetic import PAGE, made, ordinary, ram_word

if TYPE_CHECKING:
    from pathlib import Path

FULL, PARTLY, NONE = Extent.FULL, Extent.PARTLY, Extent.NONE


def scope(raw: bytes, destination: Receiver | None = None, *, deep: bool = True) -> Scope:
    with open_bytes(raw) as opened:
        return validate(opened, destination, deep=deep).scope(LOADERS["qemu-11.1"])


def parts(found: Scope) -> tuple[Extent, ...]:
    return found.stream, found.layout, found.memory, found.devices


def test_without_a_receiver_everything_but_the_devices_is_judged() -> None:
    found = scope(made())
    assert parts(found) == (FULL, FULL, FULL, NONE)
    assert len(found.not_judged) == 1
    assert "--destination or --like" in found.not_judged[0]


def test_pages_that_are_not_read_are_not_judged() -> None:
    found = scope(made(), deep=False)
    assert found.memory is PARTLY
    assert "--deep" in found.not_judged[0]


def test_what_comes_after_the_stop_is_not_judged() -> None:
    raw = made(align=1 << 20)
    stop = raw.rindex(b"QEVM") + 40
    in_configuration = scope(raw[:stop])
    assert parts(in_configuration)[0] is PARTLY
    assert parts(in_configuration)[1:] == (NONE, NONE, NONE)
    in_devices = scope(raw[:-9])
    assert parts(in_devices) == (PARTLY, FULL, FULL, NONE)
    with open_bytes(raw[:-9]) as opened:
        assert opened.stopped is not None
        assert f"{opened.stopped.offset:#x}" in in_devices.not_judged[0]


def test_packed_data_that_is_cut_short_is_not_judged_to_its_end(tmp_path: Path) -> None:
    import lzma

    path = tmp_path / "cut.img.xz"
    path.write_bytes(lzma.compress(made(), preset=0)[:-40])
    found = told(path).judged
    assert found.stream is PARTLY


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_empty_knowledge_judges_nothing_and_says_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / ("empty.json" if text == "{}" else "empty.toml")
    path.write_text(text)
    found = scope(made(), load_receiver(path))
    assert found.devices is NONE
    assert "machine, memory and devices" in found.not_judged[-1]
    assert "what was given says nothing" in found.not_judged[-1]


def test_knowledge_in_part_judges_in_part() -> None:
    machine = scope(made(), Receiver(machine="pc-i440fx-10.0"))
    assert machine.devices is PARTLY
    assert "RAM blocks" in machine.not_judged[0]
    capabilities = scope(made(), Receiver(capabilities=["mapped-ram"]))
    assert capabilities.devices is NONE
    assert "machine type" in capabilities.not_judged[0]
    with open_bytes(made()) as good:
        whole = scope(made(), Receiver.of_image(good))
    assert whole.devices is FULL
    assert whole.not_judged == ()


def test_memory_that_is_in_another_file_is_not_judged() -> None:
    blocks = [{"name": "pc.ram", "size": 4 << 20, "ignored": True}]
    found = scope(made(capabilities=["mapped-ram", "x-ignore-shared"], blocks=blocks))
    assert found.memory is PARTLY
    assert "'pc.ram'" in found.not_judged[0]


def test_bitmap_that_cannot_be_read_leaves_memory_open() -> None:
    raw = tiny_image().file()
    with open_bytes(raw) as opened:
        block = opened.blocks[0]
    header = raw.index(block.bitmap_offset.to_bytes(8, "big"))
    far = raw[:header] + (1 << 40).to_bytes(8, "big") + raw[header + 8 :]
    found = scope(far)
    assert found.memory is PARTLY
    assert any("bitmap cannot be read" in one for one in found.not_judged)


def test_block_whose_header_is_cut_off_has_no_bitmap_to_judge() -> None:
    raw = made(faults=[fault_named("cut-in-mapped-ram-header")])
    with open_bytes(raw) as opened:
        assert [block.has_pages for block in opened.blocks] == [False]
    for deep in (False, True):
        found = scope(raw, deep=deep)
        assert parts(found) == (PARTLY, PARTLY, PARTLY, NONE)
        assert any("'pc.ram', whose bitmap cannot be read" in one for one in found.not_judged)


def test_ordinary_stream_is_judged_by_its_records() -> None:
    page = ram_word(0, RamSaveFlag.PAGE) + b"\x06pc.ram" + bytes(PAGE)
    raw = ordinary(page)
    assert scope(raw[:-1]).memory is PARTLY
    assert scope(raw[:-1]).stream is PARTLY


def test_json_has_the_scope_even_of_what_cannot_be_opened(tmp_path: Path) -> None:
    document: dict[str, Any] = builtins(told(image(tmp_path)))
    assert document["judged"] == {
        "stream": "full", "layout": "full", "memory": "full", "devices": "none",
    }  # fmt: skip
    assert document["not_judged"]
    assert set(builtins(unreadable())["judged"].values()) == {"none"}
    no_image = tmp_path / "text"
    no_image.write_text("no image")
    assert builtins(told(no_image))["judged"]["stream"] == "partly"
