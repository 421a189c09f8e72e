"""Images from specs: deterministic, as asked for, refused by field where impossible."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import run_cli
from fixedram_fmt import FixedRamError, Image, PageBitmap
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from fixedram_fmt.write.faults import catalogue, fault_named
from fixedram_fmt.write.spec import SpecError, load_spec, parse_block, spec_from
from support.memory import block_memory
from support.real_files import location_of
from support.synthetic import PAGE, image_of, made

if TYPE_CHECKING:
    from pathlib import Path


def test_same_spec_and_seed_give_the_same_bytes() -> None:
    one = made(seed=7, rounds=3, blocks=[{"name": "a", "size": "1M", "density": 0.3}])
    assert made(seed=7, rounds=3, blocks=[{"name": "a", "size": "1M", "density": 0.3}]) == one
    assert made(seed=8, rounds=3, blocks=[{"name": "a", "size": "1M", "density": 0.3}]) != one


@pytest.mark.slow
@settings(max_examples=60)
@given(
    pages=st.integers(1, 300),
    density=st.sampled_from([0, 0.001, 0.2, 0.5, 0.97, 1]),
    pattern=st.sampled_from(["zero", "random", "counter", "text"]),
    rounds=st.integers(1, 3),
    page_size=st.sampled_from([256, 1024, 4096, 65536]),
    order=st.sampled_from([order.label for order in HostLong]),
)
def test_present_pages_are_those_that_are_not_zero_in_the_end(**drawn: Any) -> None:
    size = drawn["pages"] * drawn["page_size"]
    block = {"name": "a", "size": size, "pattern": drawn["pattern"], "density": drawn["density"]}
    raw = made(
        blocks=[block], rounds=drawn["rounds"], page_size=drawn["page_size"],
        byte_order=drawn["order"], align=drawn["page_size"], devices=[],
    )  # fmt: skip
    image = image_of(raw)
    assert image.complete
    assert not image.notes
    (ours,) = image.blocks
    order = HostLong.from_label(drawn["order"])
    bitmap = PageBitmap.of_block(image.source, ours, order)
    assert bitmap.tail_bits() == 0
    for page in range(ours.pages_total):
        start = ours.pages_offset + page * ours.page_size
        held = any(raw[start : start + ours.page_size])
        if page in bitmap:
            assert held
        elif held:
            assert drawn["rounds"] > 1, "stale pages need rounds"
    if drawn["density"] == 1 and drawn["pattern"] != "zero" and drawn["rounds"] == 1:
        assert bitmap.count() == drawn["pages"]


def test_counter_pages_hold_the_words_that_are_documented() -> None:
    raw = made(blocks=[{"name": "a", "size": 4 * PAGE, "pattern": "counter"}])
    image = image_of(raw)
    memory = block_memory(image, image.blocks[0])
    for page in range(4):
        for word in range(PAGE // 4):
            at = page * PAGE + word * 4
            expected = (page * 0x9E3779B1 + word) % (1 << 32)
            assert int.from_bytes(memory[at : at + 4], "little") == expected


def test_rounds_leave_parts_and_stale_pages() -> None:
    image = image_of(made(rounds=4, blocks=[{"name": "a", "size": 40 * PAGE}]))
    assert image.sections[0].parts == 5, "a PART a round, and END"
    states = {leaf.value.state for leaf in leaves(image, deep=True) if leaf.kind is Kind.PAGES}
    assert states == {"present", "stale"}


FLUSH = [
    ("mapped-ram", True, False, 0),
    ("mapped-ram", True, True, 0),
    ("fixed-ram-v4", True, False, 1),
    ("fixed-ram-v4", True, True, 0),
    ("fixed-ram-v4", False, False, 0),
]


@pytest.mark.parametrize(("dialect", "multifd", "each_section", "flushes"), FLUSH)
def test_flush_is_where_the_dialect_has_it(
    dialect: str, multifd: bool, each_section: bool, flushes: int
) -> None:
    raw = made(
        dialect=dialect, multifd=multifd, multifd_flush_after_each_section=each_section, rounds=3
    )
    image = image_of(raw)
    records = list(image.records())
    found = [index for index, record in enumerate(records) if record.kind is Kind.MULTIFD_FLUSH]
    assert len(found) == flushes
    assert image.dialect == dialect
    for index in found:
        assert records[index - 1].kind is Kind.SECTION_END
        assert records[index + 1].kind is Kind.EOS


def test_file_gives_a_block_its_memory(tmp_path: Path) -> None:
    content = bytes(PAGE) + b"x" * PAGE + bytes(5 * PAGE) + b"y" * 100
    (tmp_path / "memory").write_bytes(content)
    blocks = [{"name": "a", "size": 10 * PAGE, "file": str(tmp_path / "memory")}]
    out = tmp_path / "image"
    (tmp_path / "spec.json").write_text(json.dumps({"blocks": blocks}))
    assert run_cli("synth", tmp_path / "spec.json", "-o", out).code == 0
    with Image.open(out) as image:
        block = image.blocks[0]
        assert [page for page in range(10) if page in image.bitmap(block)] == [1, 7]
        assert block_memory(image, block) == content.ljust(10 * PAGE, b"\0")


def test_ignored_blocks_bring_their_capability_and_addresses() -> None:
    image = image_of(made(blocks=[
        {"name": "a", "size": PAGE, "ignored": True, "region_address": "4G"},
        {"name": "b", "size": PAGE},
    ]))  # fmt: skip
    assert image.capabilities == ["x-ignore-shared", "mapped-ram"]
    assert [block.ignored for block in image.blocks] == [True, False]
    assert image.blocks[0].region_address == 1 << 32
    assert image.complete


REFUSED = [
    ({"machine": 5}, "machine", "str"),
    ({"machin": "pc"}, "", "machine"),
    ({"blocks": [{"name": "a", "size": "1M", "densty": 1}]}, "blocks[0]", "density"),
    ({"blocks": [{"name": "a"}]}, "blocks[0].size", "size"),
    ({"blocks": [{"name": "a", "size": 5}]}, "blocks[0].size", "multiple"),
    ({"blocks": [{"name": "a", "size": "many"}]}, "blocks[0].size", "64M"),
    ({"blocks": [{"name": "n" * 256, "size": PAGE}]}, "blocks[0].name", "255"),
    ({"blocks": [{"name": "a", "size": PAGE, "density": 2}]}, "blocks[0].density", "0 to 1"),
    ({"dialect": "ram"}, "dialect", "mapped-ram"),
    ({"page_size": 5000}, "page_size", "power of two"),
    ({"align": 100}, "align", "multiple"),
    ({"uuid": "x"}, "uuid", "UUID"),
    ({"byte_order": "middle"}, "byte_order", "little"),
    ({"container": {"kind": "zip"}}, "container.kind", "libvirt"),
    ({"container": {"kind": "libvirt"}, "offset": 5}, "offset", "libvirt"),
    ({"devices": [{"name": "x", "data": "zz"}]}, "devices[0].data", "hex"),
]


@pytest.mark.parametrize(("document", "path", "says"), REFUSED, ids=lambda value: str(value)[:30])
def test_impossible_spec_is_refused_with_the_field_and_what_fits(
    document: dict[str, Any], path: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        made(**{"blocks": [{"name": "a", "size": PAGE}], **document})
    assert caught.value.path == path
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "a", "=1M", "a=1M:noise", "a=1M:zero:x", "a=1M:zero:1:2"])
def test_impossible_block_option_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_block(text)


def test_block_option_may_have_an_equals_sign_in_its_name() -> None:
    assert parse_block("a=b=64K:text:0.5").name == "a=b"


@pytest.mark.parametrize(
    ("name", "content"), [("x.toml", "a ="), ("x.json", "{"), ("y.toml", "\0")]
)
def test_unreadable_spec_file_is_one_error(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SpecError):
        load_spec(tmp_path / name)
    assert run_cli("synth", tmp_path / name, "-o", tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()


def test_toml_and_json_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('machine = "q35"\n[[blocks]]\nname = "pc.ram"\nsize = "1M"\n')
    document = {"machine": "q35", "blocks": [{"name": "pc.ram", "size": "1M"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert load_spec(tmp_path / "a.toml") == load_spec(tmp_path / "a.json") == spec_from(document)


# -- faults ---------------------------------------------------------------------------------------


def test_there_are_sixty_faults_and_more() -> None:
    assert len(catalogue()) >= 60
    assert all(fault.text and fault.name == name for name, fault in catalogue().items())


@pytest.mark.parametrize("name", catalogue())
def test_fault_changes_the_bytes_and_nothing_else_does(name: str) -> None:
    sound = made()
    assert made(faults=[fault_named(name)]) != sound
    assert made() == sound, "the plan is not changed in place"


def test_unknown_fault_names_the_nearest() -> None:
    with pytest.raises(FixedRamError, match="wrong-magic"):
        fault_named("wrong-magick")


def test_fault_that_needs_two_blocks_says_so() -> None:
    with pytest.raises(SpecError, match="2 blocks"):
        made(blocks=[{"name": "a", "size": PAGE}], faults=[fault_named("missing-block")])


@pytest.mark.slow
@pytest.mark.parametrize("page_size", [256, 65536])
def test_every_fault_is_made_in_an_image_of_other_pages(page_size: int) -> None:
    blocks = [{"name": one, "size": page_size, "pattern": "text"} for one in ("pc.ram", "vga.vram")]
    spec: dict[str, Any] = {"page_size": page_size, "align": page_size, "blocks": blocks}
    sound = made(**spec)
    assert [
        name for name, fault in catalogue().items() if made(faults=[fault], **spec) == sound
    ] == []


def test_faults_that_lead_below_zero_together_are_refused() -> None:
    fault = fault_named("mem-size-too-small")
    with pytest.raises(FixedRamError, match="does not fit"):
        made(blocks=[{"name": "a", "size": PAGE}], faults=[fault, fault])


def test_list_of_faults_has_a_line_each() -> None:
    result = run_cli("synth", "--list-faults")
    assert result.code == 0
    assert len(result.out.splitlines()) == len(catalogue())
    listed = run_cli("synth", "--list-faults", "--json").json["faults"]
    assert {fault["name"] for fault in listed} == set(catalogue())


@pytest.mark.slow
def test_huge_sparse_guest_is_made_in_seconds(tmp_path: Path) -> None:
    out = tmp_path / "huge"
    made_huge = run_cli("synth", "-o", out, "--block", "pc.ram=1T:random:0.00001", "--json")
    assert made_huge.code == 0
    block = made_huge.json["blocks"][0]
    assert block["used_length"] == 1 << 40
    assert 2000 < block["pages_present"] < 3500
    assert out.stat().st_blocks * 512 < 64 << 20


@pytest.mark.parametrize("name", ["sample/pc-once", "sample/s390x-virtio"])
def test_devices_of_a_donor_come_along_with_their_description(
    name: str, unpacked_dir: Path
) -> None:
    location = location_of(name, unpacked_dir)
    image = image_of(made(devices_from=location, devices=[], align=PAGE))
    with Image.open(location) as donor:
        assert image.complete
        assert bodies(image) == bodies(donor)
        assert described(image) == described(donor)
        assert [block.name for block in image.blocks] == ["pc.ram", "pc.rom"]


def bodies(image: Image) -> list[tuple[Any, ...]]:
    """The device sections, each with its bytes."""
    return [
        (
            one.name, one.instance_id, one.version_id,
            image.source.read_exact(one.body_offset, one.body_length or 0),
        )
        for one in image.sections
        if one.name != "ram" and one.full
    ]  # fmt: skip


def described(image: Image) -> bytes | None:
    if image.vmdesc is None:
        return None
    return image.source.read_exact(image.vmdesc.offset, image.vmdesc.length)
