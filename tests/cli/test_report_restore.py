"""The page's section on the receiver: both sides, what is refused, and nothing that acts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.test_report import CEILING, HOSTILE, checked, many_blocks, many_devices
from conftest import run_cli
from fixedram_cli.render.htmlreport import html_report
from fixedram_fmt import Image
from fixedram_fmt.receiver import Receiver
from support.builders import Block, StreamBuilder, device, open_bytes, page, uint
from support.image_pairs import FIELDS, with_device
from support.real_files import location_of


def part_of(document: str) -> str:
    """The HTML of the section."""
    found = re.search(r'<section id="restore">.*?</section>', document, re.S)
    assert found is not None
    return found[0]


def row_of(document: str, name: str) -> str:
    """The first row of a table that begins with a name, without its elements."""
    found = re.search(rf"<tr><td ><bdi>{re.escape(name)}</bdi>.*?</tr>", part_of(document), re.S)
    assert found is not None, name
    return re.sub(r"<[^>]*>", " ", found[0])


def page_of(data: bytes, destination: Receiver | None = None) -> str:
    with open_bytes(data) as image:
        return html_report(image, "guest.img", destination=destination)


def receiver_of(data: bytes) -> Receiver:
    with open_bytes(data) as image:
        return Receiver.of_image(image)


@pytest.mark.slow
def test_two_samples_stand_side_by_side(unpacked_dir: Path, tmp_path: Path) -> None:
    names = ("sample/q35-devices", "sample/q35-dimm")
    sent, own = (location_of(name, unpacked_dir) for name in names)
    out = tmp_path / "page.html"
    assert run_cli("report", sent, "--like", own, "-o", out).code == 0
    document = out.read_text("utf-8")
    text = " ".join(checked(document).texts)
    assert "The receiver, as told by" in text
    assert f"image {own}" in text
    with Image.open(sent) as image, Image.open(own) as other:
        told = {section.name for section in (*image.sections, *other.sections)} - {"ram"}
        told |= {block.name for block in (*image.blocks, *other.blocks)}
        for name in told:
            row_of(document, name)
    assert "no such device" in row_of(document, "0000:00:01.0/xhci")
    assert "T08" in row_of(document, "0000:00:01.0/xhci")
    assert "no section" in row_of(document, "0000:00:01.0/virtio-rng")
    changed = row_of(document, "0000:00:1f.0/ICH9LPC")
    assert "other" in changed
    assert "the same -m slots=" in changed
    assert "alike" in row_of(document, "timer")
    assert "no such block" in row_of(document, "pc.ram")
    answer = run_cli("validate", sent, "--like", own, "--json").json["images"][0]
    for part in answer["not_judged"]:
        assert part in text


@pytest.mark.slow
def test_several_sources_add_up_and_contradictions_are_told(
    unpacked_dir: Path, tmp_path: Path
) -> None:
    sample = location_of("sample/pc-live", unpacked_dir)
    written = tmp_path / "vm.toml"
    written.write_text('machine = "another"\n')
    out = tmp_path / "page.html"
    result = run_cli("report", sample, "--like", sample, "--destination", written, "-o", out)
    assert result.code == 0
    assert "told in two ways" in result.err
    text = " ".join(checked(out.read_text("utf-8")).texts)
    assert "Told in two ways" in text
    assert f"TOML {written}" in text
    assert run_cli("report", sample, "--like", written, "-o", written, "--force").code == 2
    assert written.read_text() == 'machine = "another"\n'


def test_without_a_receiver_it_says_by_what_it_is_judged() -> None:
    text = " ".join(checked(page_of(with_device(bytes(40), *FIELDS))).texts)
    assert "no receiver was given (--destination, --like)" in text
    assert "qemu-11.1" in text
    assert "whether the receiver's machine, memory and devices match" in text


def test_a_device_of_another_layout_has_what_is_refused_and_the_advice() -> None:
    own = receiver_of(with_device(bytes(44), *FIELDS, uint("more"), name="dev"))
    document = page_of(with_device(bytes(40), *FIELDS, name="dev"), own)
    row = row_of(document, "dev")
    assert "other" in row
    assert "T12" in row
    assert "give the destination's dev" in row.replace("&#x27;", "'")


def test_what_the_receiver_does_not_tell_is_said() -> None:
    document = page_of(with_device(bytes(40), *FIELDS, name="dev"), Receiver(machine="pc"))
    assert part_of(document).count("not told") == 3
    row = row_of(document, "dev")
    assert "not known" in row


def test_names_of_both_sides_are_text_whatever_they_hold() -> None:
    def image(first: int) -> bytes:
        blocks = [Block(name, page(at, 256)) for at, name in enumerate(HOSTILE[first:], 1)]
        builder = StreamBuilder().header().configuration(HOSTILE[first]).mapped_ram(*blocks)
        devices = []
        for at, name in enumerate(HOSTILE[first:], 3):
            builder.full(at, name, bytes(8))
            told = device(name.decode("utf-8", "replace"), 8)
            devices.append({**told, "fields": [uint("<b>field</b>", 8)]})
        return builder.described(*devices).file()

    told = receiver_of(image(0))
    own = Receiver(
        **{name: getattr(told, name) for name in told.__struct_fields__}
        | {
            "capabilities": [name.decode("utf-8", "replace") for name in HOSTILE],
            "sources": [name.decode("utf-8", "replace") for name in HOSTILE],
            "contradictions": [name.decode("utf-8", "replace") for name in HOSTILE],
        }
    )
    for sent, receiver in ((image(2), own), (image(0), receiver_of(image(2)))):
        document = page_of(sent, receiver)
        parser = checked(document)
        assert HOSTILE[0].decode() in " ".join(parser.texts)
        assert "<script>document" not in part_of(document)
        assert not set("\x1b\x07\x00\u202e\u2066\u200f") & set(part_of(document))


@pytest.mark.slow
@pytest.mark.untraced
def test_a_hostile_receiver_does_not_make_the_page_long() -> None:
    many = {f"{number:05d}{'<&' * 120}": 1 for number in range(20_000)}
    contradictions = [name * 3 for name in list(many)[:1000]]
    own = Receiver(
        machine="<" * 100_000, blocks=dict.fromkeys(many, 4096), sections=many,
        sources=list(many)[:1000], contradictions=contradictions, capabilities=list(many),
    )  # fmt: skip
    for data in (many_blocks(2000), many_devices(200)):
        document = page_of(data, own)
        checked(document)
        assert len(document.encode()) < CEILING
        assert len(part_of(document)) < 1 << 20
        assert "more</p>" in part_of(document)
