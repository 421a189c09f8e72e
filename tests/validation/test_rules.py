"""Every rule has an image that trips exactly it, and a twin that does not."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixedram_fmt.image import Image
from fixedram_fmt.io.output import replacing
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    LibvirtHeader,
    SaveFormat,
)
from fixedram_fmt.schema.ram import RamRecord, RamSaveFlag
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.validation import Destination, all_rules
from fixedram_fmt.validation.report import ImageReport, Question, ask
from fixedram_fmt.write.elements import FixedBlock, Hole, Literal, Raw, Structure
from fixedram_fmt.write.faults import Fault, Outcome, catalogue, fault_named
from fixedram_fmt.write.faults.fault import Elements, Pieces
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from support.synthetic import PAGE, ordinary, ram_word

SPEC: dict[str, Any] = {
    "blocks": [
        {"name": "pc.ram", "size": 64 * PAGE, "pattern": "counter", "density": 0.5},
        {"name": "pc.rom", "size": 8 * PAGE, "pattern": "text"},
    ],
    "devices": [
        {"name": "timer", "data": "00" * 24},
        {"name": "cpu", "version": 12, "data": "7e" * 40},
        {"name": "rtc", "data": "ff" + "00" * 31},
    ],
}
DENSE = [{"name": name, "size": 8 * PAGE, "pattern": "text"} for name in ("pc.ram", "pc.rom")]
EMPTY = [{"name": "pc.ram", "size": 8 * PAGE, "pattern": "zero"}]
VIDEO = {"name": "vga.vram", "size": 8 * PAGE, "pattern": "text"}
LARGE = {"name": "mem1", "size": "65M", "pattern": "zero"}
LIBVIRT = {"container": {"kind": "libvirt"}}
V4 = {"dialect": "fixed-ram-v4", "multifd": True}
CPU = {**LIBVIRT, "devices": [{"name": "cpu_common", "data": "00" * 8}]}
HEADER = Kind.MAPPED_RAM_HEADER


@dataclass(frozen=True)
class Made:
    """How an image is made: a spec, defects, and what is done to the finished file's bytes."""

    spec: dict[str, Any] | None = None
    faults: tuple[str, ...] = ()
    elements: Callable[[Elements], None] | None = None
    pieces: Callable[[Pieces], None] | None = None
    raw: Callable[[bytes], bytes] | None = None
    destination: Callable[[Destination], Destination] | None = None
    suffix: str = ""
    deep: bool = True

    def write(self, path: Path) -> Path:
        custom = Fault(
            "custom", "", Outcome.LOADS, Outcome.LOADS,
            on_elements=self.elements, on_pieces=self.pieces,
        )  # fmt: skip
        faults = [*map(fault_named, self.faults), custom]
        with replacing(path) as output:
            write_image(spec_from({**SPEC, **(self.spec or {})}), output, faults)
        if self.raw:
            # New bytes in a file without holes, unless they are few.
            path.write_bytes(self.raw(path.read_bytes()))
        return path


@dataclass(frozen=True)
class Recipe:
    """An image that trips the rule and what else it cannot help tripping; its clean twin."""

    bad: Made
    twin: Made = Made()
    also: frozenset[str] = frozenset()


def fault(name: str, also: str = "", **spec: Any) -> Recipe:
    return Recipe(Made(spec, (name,)), Made(spec), frozenset(also.split()))


def elements(change: Callable[[Elements], None], also: str = "", **spec: Any) -> Recipe:
    return Recipe(Made(spec, elements=change), Made(spec), frozenset(also.split()))


def pieces(change: Callable[[Pieces], None], **spec: Any) -> Recipe:
    return Recipe(Made(spec, pieces=change), Made(spec))


def raw(change: Callable[[bytes], bytes], **spec: Any) -> Recipe:
    return Recipe(Made(spec, raw=change), Made(spec))


def destined(change: Callable[[Destination], Destination]) -> Recipe:
    return Recipe(Made(destination=change), Made(destination=lambda fitting: fitting))


def fits(**values: Any) -> Callable[[Destination], Destination]:
    return lambda fitting: msgspec.structs.replace(fitting, **values)


# -- changes to libvirt's header ------------------------------------------------------------------


def header(**values: Any) -> Callable[[bytes], bytes]:
    schema = LIBVIRT_HEADER["little"]

    def change(data: bytes) -> bytes:
        value, size = schema.parse(data)
        return schema.build(replace(value, **values)) + data[size:]

    return change


def packed_stream(data: bytes) -> bytes:
    """A libvirt save whose compressed stream has a fixed layout."""
    xml = b"<domain><memory>256</memory><os><type>hvm</type></os></domain>\0"
    head = LibvirtHeader(QEMU_SAVE_MAGIC, 2, len(xml), 0, SaveFormat.GZIP, 0, bytes(56))
    return LIBVIRT_HEADER["little"].build(head) + xml + gzip.compress(data)


def xml_of(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Other text in the XML, which gets that much longer or shorter."""

    def change(data: bytes) -> bytes:
        value, size = LIBVIRT_HEADER["little"].parse(data)
        xml = data[size : size + value.data_len]
        assert old in xml
        room = xml.replace(old, new).rstrip(b"\0").ljust(value.data_len, b"\0")
        length = len(room) - value.data_len
        assert length == 0, "keep the length: offsets in the stream are the file's"
        return data[:size] + room + data[size + value.data_len :]

    return change


def without_xml(data: bytes) -> bytes:
    value, size = LIBVIRT_HEADER["little"].parse(data)
    return data[:size] + bytes(value.data_len) + data[size + value.data_len :]


# -- ordinary streams -----------------------------------------------------------------------------


def page(address: int = 0) -> bytes:
    name = ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram"))
    return ram_word(address, RamSaveFlag.PAGE) + name + b"x" * PAGE


def delta(payload: bytes, encoding: int = 1) -> bytes:
    head = ram.XBZRLE_PAGE.build(ram.XbzrlePage(encoding, len(payload)))
    return page() + ram_word(0, RamSaveFlag.XBZRLE, RamSaveFlag.CONTINUE) + head + payload


def stream_of(records: bytes) -> Made:
    return Made(raw=lambda _: ordinary(records))


def without_configuration(_: bytes) -> bytes:
    data = ordinary(page())
    machine = stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc"))
    return data.replace(machine, b"")


# -- changes to elements and pieces ---------------------------------------------------------------


def unknown(data: bytes) -> Raw:
    return Raw(Kind.UNKNOWN, "test", Literal(data))


def command(number: int, data: bytes, behind: bytes = b"") -> Callable[[Elements], None]:
    value = stream.Command(SectionType.COMMAND, number, data)

    def change(e: Elements) -> None:
        items = [Structure(Kind.COMMAND, "test", value), unknown(behind)]
        e.insert(e.index(Kind.SECTION_PART), *items)

    return change


def capability(name: bytes) -> Callable[[Elements], None]:
    def change(e: Elements) -> None:
        e.change(Kind.CAPABILITIES, caps_count=2)
        e.insert(e.index(Kind.CAPABILITY) + 1,
                 Structure(Kind.CAPABILITY, "test", stream.Capability(name)))  # fmt: skip

    return change


def subsection(idstr: bytes, body: bytes) -> Callable[[Elements], None]:
    value = stream.Subsection(SectionType.SUBSECTION, idstr, 1)

    def change(e: Elements) -> None:
        e.insert(e.index(Kind.SECTION_START), Structure(Kind.SUBSECTION, "test", value),
                 unknown(body))  # fmt: skip

    return change


def same_section_id(e: Elements) -> None:
    first = e.value(Kind.SECTION_FULL).section_id
    e.change(Kind.SECTION_FULL, 1, section_id=first)
    footer = e.section(Kind.SECTION_FULL, 1).stop - 1
    item = e.items[footer]
    assert isinstance(item, Structure)
    e.items[footer] = replace(item, value=replace(item.value, section_id=first))


def footer_gone(e: Elements) -> None:
    """That of the first of three devices."""
    e.remove(Kind.SECTION_FOOTER, -3)


def zeros_at_the_end(last: str) -> Made:
    """A stream without a description in a longer file, whose last device is called so."""
    named = [{"name": "rtc", "data": "ff"}, {"name": last, "data": "00" * 104}]
    return Made({"vmdesc": False, "devices": named}, raw=lambda data: data + bytes(4096))


def ram_of_id_0(e: Elements) -> None:
    for index, item in enumerate(e.items):
        if isinstance(item, Structure) and getattr(item.value, "section_id", None) == 1:
            e.items[index] = replace(item, value=replace(item.value, section_id=0))


def no_ram(e: Elements) -> None:
    for kind in (Kind.SECTION_END, Kind.SECTION_PART, Kind.SECTION_START):
        del e.items[e.section(kind)]


def fixed_block(e: Elements, number: int, **values: Any) -> None:
    index = e.index(HEADER, number)
    block = e.items[index]
    assert isinstance(block, FixedBlock)
    e.items[index] = replace(block, **values)


def empty_block(e: Elements) -> None:
    length = e.value(Kind.BLOCK).used_length
    fixed_block(e, 0, bitmap=Hole(0), pages=Hole(0))
    e.change(Kind.BLOCK, used_length=0)
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word - length)


def part_pages(e: Elements) -> None:
    """Half a page from one block to the other: the sum stays."""
    for number, more in ((0, 512), (1, -512)):
        length = e.value(Kind.BLOCK, number).used_length + more
        e.change(Kind.BLOCK, number, used_length=length)
        fixed_block(e, number, pages=Hole(length))


def strange_page_size(e: Elements) -> None:
    value = ram.PostcopyPageSize(12345)
    e.insert(e.index(HEADER), Structure(Kind.POSTCOPY_PAGE_SIZE, "test", value))


def pages_at_512(p: Pieces) -> None:
    """Everything from the last block's pages on lies 512 bytes later."""
    start = p.index(Kind.PAGES, -1)
    p.change(HEADER, -1, pages_offset=p.piece(HEADER, -1).value.pages_offset + 512)
    p.items[start:] = [replace(item, offset=item.offset + 512) for item in p.items[start:]]


def cut_in_empty_pages(p: Pieces) -> None:
    p.size = p.piece(Kind.PAGES, -1).stop - PAGE


def bitmap_at(p: Pieces, offset: int) -> None:
    p.change(HEADER, -1, bitmap_offset=offset)


def bitmap_in_device(p: Pieces) -> None:
    """The last device's state begins with the very bits of a dense block of eight pages."""
    bitmap_at(p, p.piece(Kind.DEVICE, -1).offset)


def bitmap_aside(p: Pieces) -> None:
    bitmap_at(p, p.piece(HEADER, -1).value.bitmap_offset + 64)


def pages_before(p: Pieces) -> None:
    p.change(HEADER, 0, pages_offset=0)


def shifted(p: Pieces) -> None:
    for number in range(2):
        value = p.piece(HEADER, number).value
        p.change(HEADER, number, bitmap_offset=value.bitmap_offset + 65536,
                 pages_offset=value.pages_offset + 65536)  # fmt: skip


def last_bitmap_lost(p: Pieces) -> None:
    p.overwrite(Kind.BITMAP, 2, bytes(8))


def tail_bits(p: Pieces) -> None:
    p.overwrite(Kind.BITMAP, 1, b"\x80", at=7)


def vmdesc(**values: Any) -> Callable[[Elements], None]:
    def change(e: Elements) -> None:
        index = e.index(Kind.VMDESCRIPTION_JSON)
        item = e.items[index]
        assert isinstance(item, Raw)
        assert isinstance(item.content, Literal)
        text = json.dumps({**json.loads(item.content.data), **values}).encode()
        e.items[index] = replace(item, content=Literal(text))
        e.change(Kind.VMDESCRIPTION, length=len(text))

    return change


def longer_device(e: Elements) -> None:
    index = e.index(Kind.DEVICE)
    item = e.items[index]
    assert isinstance(item, Raw)
    e.items[index] = replace(item, content=Literal(bytes(25)))


def flush_in(kind: Kind) -> Callable[[Elements], None]:
    value = RamRecord(int(RamSaveFlag.MULTIFD_FLUSH))

    def change(e: Elements) -> None:
        e.insert(e.index(kind) + 1, Structure(Kind.MULTIFD_FLUSH, "test", value))

    return change


def ignored_block(**more: Any) -> dict[str, Any]:
    return {"capabilities": ["x-ignore-shared", "mapped-ram"], **more}


#: What ends the timer (section 2) and begins the rtc (section 3).
SECTION_IN_A_BODY = bytes.fromhex("7e00000002 0400000003 03727464 00000000 00000001")


def devices(**bodies: bytes) -> list[dict[str, Any]]:
    return [{"name": name, "data": body.hex()} for name, body in {**bodies, "rtc": b"r"}.items()]


RECIPES: dict[str, Recipe] = {
    "C01": Recipe(Made({"container": {"kind": "libvirt", "partial": True}}), Made(LIBVIRT)),
    "C02": raw(header(format=0), **LIBVIRT),
    "C03": raw(header(cookie_offset=1 << 20), **LIBVIRT),
    "C04": raw(without_xml, **LIBVIRT),
    "C05": raw(header(unused=b"\1" * 56), **LIBVIRT),
    "C06": raw(lzma.compress),
    "C07": Recipe(
        Made(raw=lambda data: lzma.compress(data)[:-20]),
        Made(raw=lzma.compress),
        frozenset({"S03"}),
    ),
    "C08": raw(packed_stream),
    "C11": raw(header(format=9), **LIBVIRT),
    "C12": raw(xml_of(b"os>", b"so>"), **LIBVIRT),
    "C13": Recipe(
        Made(LIBVIRT, raw=header(cookie_offset=20)), Made(LIBVIRT), frozenset({"C12"})
    ),
    "C14": raw(xml_of(b"pc-i440fx-9.0", b"pc-i440fx-9.1"), machine="pc-i440fx-9.0", **LIBVIRT),
    "C15": raw(xml_of(b">262144<", b">262143<"), **LIBVIRT),
    "C16": raw(xml_of(b"<vcpu>1<", b"<vcpu>2<"), **CPU),
    "C17": Recipe(
        Made({"machine": "pc-i440fx-11.1", **LIBVIRT}, raw=header(format=0)),
        Made({"machine": "pc-i440fx-11.1", **LIBVIRT}),
        frozenset({"C02"}),
    ),
    "C09": raw(header(version=0x7F7F7F7F), **LIBVIRT),
    "C10": raw(header(data_len=1 << 31), **LIBVIRT),
    "S01": fault("wrong-magic"),
    "S02": fault("wrong-version"),
    "S03": fault("cut-in-section-header"),
    "S04": fault("cut-before-eof"),
    "S05": fault("unknown-section-type"),
    "S06": fault("unknown-command"),
    "S07": fault("command-with-wrong-length"),
    "S08": fault("ping"),
    "S09": fault("footer-missing"),
    "S10": fault("footer-of-another-type"),
    "S11": fault("footer-of-another-section"),
    "S12": fault("part-of-nothing"),
    "S13": fault("part-after-end"),
    "S14": elements(same_section_id),
    "S15": fault("start-twice"),
    "S16": fault("no-end"),
    "S17": elements(lambda e: e.change(Kind.SECTION_FULL, idstr=b"\x01dev"), vmdesc=False),
    "S18": fault("trailing-garbage"),
    "S19": elements(footer_gone, vmdesc=False),
    "S20": elements(command(MigCmd.PACKAGED, bytes([0, 0, 0, 1]), b"\0")),
    "S21": Recipe(zeros_at_the_end("fw_cfg"), zeros_at_the_end("globalstate")),
    "S22": elements(lambda e: e.change(Kind.BLOCK, idstr=b"pc.ram\0x"), also="R14"),
    "S23": elements(command(MigCmd.PACKAGED, bytes([0, 0, 0, 4]), b"QEVM"), also="S20"),
    "S24": elements(lambda e: e.change(Kind.SECTION_FULL, idstr=b"block"), "D06 D07"),
    "S25": elements(ram_of_id_0),
    "G01": Recipe(Made(raw=without_configuration), stream_of(page())),
    "G02": fault("empty-machine"),
    "G03": fault("hostile-machine"),
    "G04": fault("machine-length-huge"),
    "G05": elements(capability(b"imagined")),
    "G06": elements(capability(b"xbzrle")),
    "G07": elements(capability(b"mapped-ram")),
    "G08": Recipe(Made(V4), Made()),
    "G09": elements(subsection(b"configuration/imagined", b"\xaa" * 5000)),
    "G10": fault("unknown-subsection"),
    "G11": elements(lambda e: e.change(Kind.SUBSECTION, version_id=2)),
    "G12": elements(
        subsection(b"configuration/uuid", bytes(range(16))),
        uuid="00010203-0405-0607-0809-0a0b0c0d0e0f",
    ),
    "G13": elements(subsection(b"configuration/target-page-bits", (40).to_bytes(4, "big"))),
    "G14": fault("wrong-page-bits", blocks=[SPEC["blocks"][0]]),
    "G15": fault("no-capabilities"),
    "G16": fault("capability-count-huge"),
    "R01": elements(no_ram),
    "R02": fault("no-mem-size"),
    "R03": fault("mem-size-twice"),
    "R04": fault("mem-size-too-small"),
    "R05": fault("no-blocks"),
    "R06": fault("flag-hook"),
    "R07": fault("flag-none"),
    "R08": fault("no-eos"),
    "R09": fault("flag-full"),
    "R10": fault("mem-size-continued"),
    "R11": fault("eos-with-address"),
    "R12": fault("duplicate-block"),
    "R13": fault("mem-size-too-large"),
    "R14": fault("hostile-block"),
    "R15": fault("escaping-block"),
    "R16": elements(empty_block),
    "R17": elements(part_pages, blocks=EMPTY * 1 + [{**EMPTY[0], "name": "pc.rom"}]),
    "R18": fault("used-length-huge", also="L06 L09 L18 R04"),
    "R19": fault("ram-version-99"),
    "R20": fault("ram-instance-1"),
    "R21": fault("ram-sent-as-full"),
    "R22": fault("no-parts"),
    "R23": Recipe(Made({"rounds": 5000}), Made({"rounds": 50})),
    "R24": Recipe(stream_of(page(1 << 30)), stream_of(page())),
    "R25": elements(strange_page_size),
    "R26": Recipe(stream_of(delta(b"\0\x01y" * PAGE)), stream_of(delta(b"\0\x01y"))),
    "R27": Recipe(stream_of(delta(b"\1\1A\0\1B")), stream_of(delta(b"\1\1A\1\1B"))),
    "R28": Recipe(stream_of(delta(b"", 2)), stream_of(delta(b"")), frozenset({"S03"})),
    "L01": fault("header-version-2"),
    "L02": fault("header-version-0"),
    "L03": fault("page-size-zero"),
    "L04": fault("page-size-huge"),
    "L05": elements(lambda e: e.change(HEADER, page_size=4095)),
    "L06": fault("bitmap-past-end"),
    "L07": pieces(pages_at_512),
    "L08": pieces(cut_in_empty_pages, blocks=[SPEC["blocks"][0], {**EMPTY[0], "name": "pc.rom"}]),
    "L09": fault("overlapping-blocks", blocks=DENSE),
    "L10": pieces(bitmap_in_device, blocks=DENSE),
    "L11": pieces(shifted),
    "L12": Recipe(
        Made(pieces=pages_before), also=frozenset({"L09", "L10", "R07", "R13", "B02", "B05"})
    ),
    "L13": Recipe(Made(pieces=bitmap_aside), also=frozenset({"B07"})),
    "L14": Recipe(Made({"align": PAGE})),
    "L15": fault("ignored-without-capability"),
    "L16": Recipe(Made(ignored_block())),
    "L17": fault("padding-not-zero"),
    "L18": fault("bitmap-offset-wraps"),
    "B01": pieces(tail_bits),
    "B02": Recipe(Made({"byte_order": "big"})),
    "B03": fault("bitmaps-empty"),
    "B04": fault("cut-in-pages"),
    "B05": fault("present-page-in-hole"),
    "B06": Recipe(Made({"blocks": EMPTY})),
    "B07": fault("bitmap-lost"),
    "B08": Recipe(Made({"blocks": [*SPEC["blocks"], VIDEO]}, pieces=last_bitmap_lost),
                  Made({"blocks": [*SPEC["blocks"], VIDEO]})),
    # Rewritten, a file has no holes.
    "B09": Recipe(Made({"blocks": [*SPEC["blocks"], LARGE]}, raw=bytes, deep=False),
                  Made({"blocks": [*SPEC["blocks"], LARGE]}, deep=False)),
    "P01": fault("stale-page"),
    "P02": fault("stored-zero-page", blocks=DENSE),
    "D01": Recipe(Made({"vmdesc": False})),
    "D02": fault("vmdesc-no-json"),
    "D03": fault("cut-in-vmdesc"),
    "D04": fault("vmdesc-length-huge"),
    "D05": elements(vmdesc(page_size=12345)),
    "D06": fault("unknown-device"),
    "D07": elements(lambda e: e.items.__delitem__(e.section(Kind.SECTION_FULL, 1))),
    "D08": elements(longer_device),
    "D09": elements(lambda e: e.change(Kind.SECTION_FULL, 1, version_id=13)),
    "D10": Recipe(Made({"devices": []})),
    "D11": Recipe(
        Made({"devices": devices(timer=b"a" + SECTION_IN_A_BODY + b"z"), "vmdesc": False}),
        Made({"devices": devices(timer=b"az"), "vmdesc": False}),
    ),
    "Y01": fault("flag-multifd-flush"),
    "Y02": Recipe(Made({**V4, "multifd": False}), Made(V4)),
    "Y03": elements(flush_in(Kind.SECTION_END), **V4),
    "Y04": Recipe(Made({**V4, "multifd": False}, elements=flush_in(Kind.SECTION_PART)), Made(V4)),
    "Y05": Recipe(stream_of(page()), also=frozenset({"D01", "D10", "R22", "S16"})),
    "T01": destined(fits(machine="q35")),
    "T02": destined(fits(capabilities=[])),
    "T03": Recipe(
        Made({"target_page_bits": True}, destination=fits(target_page_size=16384)),
        Made({"target_page_bits": True}, destination=fits(target_page_size=4096)),
        frozenset({"L05"}),
    ),
    "T04": destined(fits(blocks={"pc.ram": "256K"})),
    "T05": destined(fits(blocks={"pc.ram": "256K", "pc.rom": "32K", "more": "1M"})),
    "T06": destined(fits(blocks={"pc.ram": "128K", "pc.rom": "32K"})),
    "T07": destined(fits(blocks={"pc.ram": "512K", "pc.rom": "32K"})),
    "T08": destined(fits(sections={"ram": 4, "timer": 1, "cpu": 12})),
    "T09": destined(fits(sections={"ram": 4, "timer": 1, "cpu": 11, "rtc": 1})),
    "T10": destined(fits(sections={"ram": 4, "timer": 1, "cpu": 13, "rtc": 1})),
    "T11": destined(fits(sections={"ram": 4, "timer": 1, "cpu": 12, "rtc": 1, "more": 1})),
}  # fmt: skip


def findings(made: Made, path: Path, fitting: Destination | None) -> ImageReport:
    made.write(path)
    destination = made.destination(fitting) if made.destination and fitting else None
    report = ask(str(path), Question("qemu-10.0", deep=made.deep, destination=destination))
    assert not report.error
    return report


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Destination:
    with Image.open(Made().write(tmp_path_factory.mktemp("fitting") / "image")) as image:
        return Destination.of_image(image)


def rules_of(report: ImageReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.slow
@pytest.mark.parametrize("rule_id", all_rules())
def test_rule_is_tripped_by_exactly_what_it_is_about(
    rule_id: str, tmp_path: Path, fitting: Destination
) -> None:
    recipe = RECIPES[rule_id]
    twin = rules_of(findings(recipe.twin, tmp_path / "twin", fitting))
    assert rule_id not in twin
    bad = findings(recipe.bad, tmp_path / "bad", fitting)
    assert rules_of(bad) - twin - recipe.also == {rule_id}
    found = [finding for finding in bad.findings if finding.rule == rule_id]
    assert all(finding.message for finding in found)
    assert any(finding.found or finding.expected for finding in found) or rule_id in {"S20", "C07"}


def test_twins_have_nothing_else(tmp_path: Path, fitting: Destination) -> None:
    assert rules_of(findings(Made(), tmp_path / "image", fitting)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_fault_trips_a_rule_and_gets_the_verdict_qemu_gives_it(name: str, tmp_path: Path) -> None:
    spec = {
        "blocks": [
            {"name": "pc.ram", "size": "16M", "pattern": "counter", "density": 0.2},
            {"name": "mem1", "size": "8M", "pattern": "text", "density": 0.2},
        ],
        "devices": [],
    }
    good = Made(spec).write(tmp_path / "good")
    with Image.open(good) as image:
        destination = Destination.of_image(image)
    question = Question("qemu-10.0", deep=True, destination=destination)
    before = ask(str(good), question)
    path = str(Made(spec, (name,)).write(tmp_path / "image"))
    for multifd in (False, True):
        report = ask(path, replace(question, multifd=multifd))
        assert report.verdict is not None
        fault = fault_named(name)
        assert report.verdict is (fault.multifd if multifd else fault.plain)
    new = rules_of(report) - rules_of(before)
    assert new or name in {"unasked-uuid"}
    assert (report.decided_by is None) == (report.verdict is Outcome.LOADS)
