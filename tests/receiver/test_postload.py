"""What devices check by themselves once they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.receiver.misfit import Kind
from fixedram_fmt.receiver.virtioblob import outputs
from support.receivers import Part, Sub, found, number, part, saved, struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.image import Image


def items(image: Image, own: Image) -> list[tuple[str, str, str]]:
    told = found(image, own)
    assert all(one.kind is Kind.STATE for one in told)
    return [(one.item, one.found, one.expected) for one in told]


# -- pseries: hw/ppc/spapr_caps.c ------------------------------------------------------------------


def pseries(**levels: int) -> Image:
    caps = [Sub(f"spapr/cap/{name}", (number(f"caps.{name}", level, "uint8"),))
            for name, level in levels.items()]  # fmt: skip
    return saved("spapr", number("v", 1), *caps)


@pytest.mark.parametrize(
    ("sent", "own", "told"),
    [
        ({"htm": 1}, {"htm": 1}, []),
        ({"htm": 0}, {"htm": 1}, []),
        ({"htm": 1}, {"htm": 0}, [("cap-htm", "1", "at most 0")]),
        # What is not sent has the machine's usual level.
        ({"htm": 1}, {}, [("cap-htm", "1", "at most 0")]),
        ({}, {"vsx": 0}, [("cap-vsx", "1", "at most 0")]),
        ({"vsx": 0}, {}, []),
        ({"vsx": 1}, {}, []),
        ({"hpt_maxpagesize": 24}, {}, [("cap-hpt-max-page-size", "24", "at most 16")]),
        ({"unheard_of": 9}, {}, []),
        ({"cfpc": 2, "sbbc": 2}, {"cfpc": 1, "sbbc": 2}, [("cap-cfpc", "2", "at most 1")]),
    ],
)
def test_capabilities_of_a_pseries_may_be_lower_and_not_higher(
    sent: dict[str, int], own: dict[str, int], told: list[tuple[str, str, str]]
) -> None:
    assert items(pseries(**sent), pseries(**own)) == told


# -- PowerPC CPUs: target/ppc/machine.c ------------------------------------------------------------


def power(pvr: int, *parts: Part | Sub) -> Image:
    registers = b"".join((pvr if one == 287 else one).to_bytes(8, "big") for one in range(1024))
    return saved("cpu", part("env.spr", "uint64", registers, 1024), *parts)


def test_a_cpu_of_another_model_is_refused_and_another_revision_is_not() -> None:
    assert items(power(0x004E1202), power(0x004E1202)) == []
    assert items(power(0x004E1202), power(0x004E1200)) == []
    assert items(power(0x004E1202), power(0x004D0200)) == [("cpu", "PVR 0x4e1202", "PVR 0x4d0200")]


def test_in_a_mode_of_an_older_cpu_the_model_does_not_matter() -> None:
    def mode(value: int) -> Sub:
        return Sub("cpu/compat", (number("compat_pvr", value),))

    assert items(power(0x004E1202, mode(0x0F000004)), power(0x004D0200)) == []
    assert len(items(power(0x004E1202, mode(0)), power(0x004D0200))) == 1


# -- single values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "field", "type_", "item"),
    [
        ("hpet", "num_timers_save", "uint8", "timers"),
        ("0000:00:02.0/e1000e", "subsys", "uint16", "subsys"),
        ("0000:00:02.0/e1000e", "subsys_ven", "uint16", "subsys_ven"),
    ],
)
def test_single_values_must_be_the_same(device: str, field: str, type_: str, item: str) -> None:
    one, other = (saved(device, number(field, value, type_)) for value in (3, 4))
    assert items(one, one) == []
    assert items(one, other) == [(item, "3", "4")]
    # Elsewhere the name means nothing.
    assert items(*(saved("other", number(field, value, type_)) for value in (3, 4))) == []


def test_a_virtio_mem_device_has_the_same_place_size_and_blocks() -> None:
    def memory(addr: int, node: int) -> Image:
        checked = struct("tmp", number("addr", addr, "uint64"), number("region_size", 4, "uint64"),
                         number("block_size", 2, "uint64"), number("node", node),
                         vmsd="virtio-mem-device/sanity-checks")  # fmt: skip
        return saved("x/virtio-mem-device-early", checked)

    assert items(memory(1, 0), memory(1, 0)) == []
    assert items(memory(1, 0), memory(2, 1)) == [("memaddr", "1", "2"), ("node", "0", "1")]


# -- virtio-serial ---------------------------------------------------------------------------------


def blob(own: bytes = b"") -> bytes:
    """A virtio device on PCI without queues, and what its own state is."""
    pci = b"\0\0\0\2" + bytes(256) + bytes(16)
    # status, isr, queue_sel, features, configuration, and how many queues there are.
    return pci + b"\x0f\0\0\0" + bytes(4) + bytes(4) + bytes(4) + own


def console(
    ports: Iterable[int], active: Iterable[int], *, most: int = 31, waits: int = 0
) -> Image:
    words = [0] * -(-most // 32)
    for port in ports:
        words[port // 32] |= 1 << port % 32
    raw = bytes(4) + most.to_bytes(4, "big") + b"".join(one.to_bytes(4, "big") for one in words)
    listed = [*active]
    raw += len(listed).to_bytes(4, "big")
    for port in listed:
        raw += port.to_bytes(4, "big") + b"\1\1" + waits.to_bytes(4, "big") + b"x" * waits
    return saved("0000:00:04.0/virtio-console", part("virtio", "virtio", blob(raw)))


def test_ports_of_a_virtio_serial_device_are_the_same() -> None:
    assert items(console([0, 1, 5], [0, 5]), console([0, 1, 5], [0, 1, 5])) == []
    assert items(console([0, 1], [0]), console([0, 2], [0])) == [
        ("ports", "ports 0, 1", "ports 0, 2")
    ]
    assert items(console([], []), console([0], [])) == [("ports", "no ports", "ports 0")]
    # Ports beyond the first word.
    assert items(console([0, 40], [], most=64), console([0, 41], [], most=64)) == [
        ("ports", "ports 0, 40", "ports 0, 41")
    ]


def test_ports_that_the_receiver_has_not_are_found_among_the_active_ones() -> None:
    assert items(console([0, 1], [0, 1]), console([0, 1], [0])) == [
        ("ports", "ports 0, 1", "ports 0")
    ]


def test_a_port_whose_data_waits_is_the_last_that_is_known() -> None:
    assert items(console([0, 1], [0, 1], waits=5), console([0, 1], [0])) == []


def test_more_ports_are_compared_as_far_as_both_have_some() -> None:
    assert items(console([0], [], most=64), console([0], [], most=32)) == []


@pytest.mark.parametrize("most", [0, 512, 1 << 31])
def test_numbers_of_ports_that_no_device_has_are_not_believed(most: int) -> None:
    raw = bytes(4) + most.to_bytes(4, "big") + b"\xff" * 64
    odd = saved("a/virtio-console", part("virtio", "virtio", blob(raw)))
    assert items(odd, odd) == []
    assert items(odd, console([0], [0])) == []


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_blobs_that_are_cut_off_are_read_as_far_as_they_go(length: int) -> None:
    whole = blob(bytes(4) + b"\0\0\0\x1f" + b"\0\0\0\3" + b"\0\0\0\2" + b"\0\0\0\0\1\1\0\0\0\0")
    cut = saved("a/virtio-console", part("virtio", "virtio", whole[: len(whole) - length]))
    assert items(cut, cut) == []


# -- virtio-gpu ------------------------------------------------------------------------------------


def gpu(count: int, before: bytes = b"") -> Image:
    raw = before + bytes(8) + count.to_bytes(4, "big") + bytes(64 * count)
    return saved("0000:00:05.0/virtio-gpu", part("virtio-gpu", "virtio-gpu", raw))


def test_numbers_of_outputs_are_the_same() -> None:
    assert items(gpu(1), gpu(1)) == []
    # What comes before them, resources, is the guest's.
    assert items(gpu(2, b"\1" * 5000), gpu(2)) == []
    (told,) = items(gpu(2), gpu(1))
    assert told[0] == "max_outputs"


@pytest.mark.parametrize("lengths", [(40,), (40, 64), (64, 64, 40), (64,) * 16])
def test_outputs_are_counted_whichever_length_each_has(lengths: tuple[int, ...]) -> None:
    raw = b"\1" * 64 + bytes(8) + len(lengths).to_bytes(4, "big") + bytes(sum(lengths))
    assert [int.from_bytes(one.raw, "big") for one in outputs(raw)] == [len(lengths)]


@pytest.mark.parametrize("raw", [b"", b"\0\0\0", bytes(4), bytes(68), b"\0\0\0\x11" + bytes(1088)])
def test_no_output_is_found_where_there_is_none(raw: bytes) -> None:
    assert list(outputs(raw)) == []


# -- pointers --------------------------------------------------------------------------------------


def streams(*used: bool) -> Image:
    """Streams of a codec, of which the used ones have their buffer."""
    from support.builders import StreamBuilder, open_bytes

    body, fields = b"", []
    for number_, has_buffer in enumerate(used):
        buffer = Sub("hda-audio-stream/buffer", (number("pos", 0),))
        inner = {"vmsd_name": "hda-audio-stream", "version": 1,
                 "fields": [number("f", 0).field]}  # fmt: skip
        raw = bytes(4)
        if has_buffer:
            inner["subsections"] = [buffer.described]
            raw += buffer.raw
        fields.append({"name": "st", "type": "struct", "size": len(raw), "index": number_,
                       "struct": inner})  # fmt: skip
        body += raw
    entry = {"name": "hda-audio", "instance_id": 0, "vmsd_name": "hda-audio", "version": 1,
             "fields": fields}  # fmt: skip
    builder = StreamBuilder().header().configuration(b"pc").full(3, b"hda-audio", body)
    return open_bytes(builder.described(entry).file())


def test_a_stream_that_the_receivers_codec_has_not_kills_it() -> None:
    assert found(streams(True, True), streams(True, True)) == []
    assert found(streams(True, False), streams(True, True)) == []
    told = [one for one in found(streams(True, True), streams(True, False)) if one.crash]
    assert [one.path for one in told] == ["st[1]/hda-audio-stream/buffer"]
    assert "Assertion" in told[0].crash
    # The receiver has written none of them: it may have all.
    assert not [one for one in found(streams(True), streams(False)) if one.crash]


def test_a_timer_that_the_receiver_has_switched_off_kills_it() -> None:
    def lpc(*subs: Sub) -> Image:
        return saved("0000:00:1f.0/ICH9LPC", number("a", 1), *subs)

    tco = Sub("ich9_pm/tco", (number("x", 0),))
    assert found(lpc(tco), lpc(tco)) == found(lpc(), lpc(tco)) == []
    (one,) = found(lpc(tco), lpc())
    assert one.crash
    assert one.start == 4
