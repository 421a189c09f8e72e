"""The table of advice: each entry is meant by some misfit, and none hides another."""

from __future__ import annotations

import string
from fnmatch import fnmatchcase

import pytest

from fixedram_fmt.receiver import properties
from fixedram_fmt.receiver.misfit import Kind, Misfit
from fixedram_fmt.receiver.properties import advice
from support.receivers import number, saved

TABLE = properties._TABLE


def misfit(name: str, kind: Kind, item: str = "") -> Misfit:
    device = saved(name, number("n", 1)).state.devices[-1]
    return Misfit(kind, device, 0, "", "", "", "", item=item)


@pytest.mark.parametrize(
    ("name", "kind", "item", "words"),
    [
        ("0000:00:01.3/piix4_pm", Kind.FIELDS, "acpi_pci_hotplug.acpi_index", "acpi-index=on"),
        ("0000:00:01.3/piix4_pm", Kind.FIELDS, "other", "-m slots="),
        ("spapr", Kind.STATE, "cap-htm", "-machine cap-htm="),
        ("x/virtio-mem-device-early", Kind.STATE, "memaddr", "memaddr="),
        ("0000:00:04.0/virtio-net", Kind.CONFIG, "MSI-X: byte 2", "vectors="),
        ("0000:00:04.0/virtio-net", Kind.CONFIG, "device id", "disable-legacy="),
        ("0000:00:04.0/e1000", Kind.CONFIG, "device id", "e1000-82545em"),
        ("0000:00:04.0/rtl8139", Kind.CONFIG, "vendor id", "the same device"),
        ("0000:00:1c.0/pcie-root-port", Kind.VALUE, "log_max", "aer_log_max="),
        ("0000:00:04.0/rtl8139", Kind.CONFIG, "express", "PCI Express root port"),
        ("anything", Kind.FIELDS, "x", "machine type"),
        ("anything", Kind.VALUE, "x", "properties"),
        ("anything", Kind.STATE, "x", "start the destination"),
        ("anything", Kind.SUBSECTION, "x", "start the destination"),
    ],
)
def test_advice_names_the_property(name: str, kind: Kind, item: str, words: str) -> None:
    assert words in advice(misfit(name, kind, item))


def test_every_entry_can_be_reached() -> None:
    for number_, entry in enumerate(TABLE):
        vmsd, item = (text.replace("*", "_") for text in (entry.vmsd, entry.item))
        earlier = [
            one
            for one in TABLE[:number_]
            if one.kind is entry.kind
            and fnmatchcase(vmsd, one.vmsd)
            and fnmatchcase(item, one.item)
        ]
        assert not earlier, (entry, earlier)


def test_entries_have_no_holes_but_item_and_count() -> None:
    for entry in TABLE:
        names = {name for _, name, _, _ in string.Formatter().parse(entry.advice) if name}
        assert names <= {"item", "count"}, entry


def test_long_and_odd_names_are_no_trouble() -> None:
    name = "[!" * 100 + "{item}{0}"
    text = advice(misfit(name, Kind.FIELDS, "{item}[*"))
    assert name[:80] in text
    assert len(text) < 300
