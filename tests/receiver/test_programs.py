"""Which QEMU programs would load an image, and which machines and devices they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.image import Image
from fixedram_fmt.receiver import Receiver
from fixedram_fmt.receiver.programs import has_machine, names_of_alias, programs_for, vmstates_of
from support.real_files import location_of
from support.receivers import number, saved

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = {
    "sample/pc-once": "x86_64",
    "sample/aarch64-virt": "aarch64",
    "sample/m68k-virt": "m68k",
    "sample/ppc64-pseries": "ppc64",
    "sample/riscv64-virt": "riscv64",
    "sample/s390x-virtio": "s390x",
    "sample/loongarch64-virt": "loongarch64",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_image_is_for_the_program_that_saved_it(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        assert ARCHITECTURES[name] in programs_for(image)
        assert has_machine(image, "10.0") is True
        assert has_machine(image, "12.0") is None
        assert vmstates_of(image, "10.0")
        assert vmstates_of(image, "12.0") == {}


def test_where_no_cpu_tells_the_program_no_device_is_known() -> None:
    image = saved("dev", number("a", 1))
    assert programs_for(image) == ()
    assert vmstates_of(image, "10.0") == {}


def test_an_alias_stands_for_each_versions_own_machine() -> None:
    image = saved("dev", number("a", 1))
    assert names_of_alias(image, "pc") == {"10.0": "pc-i440fx-10.0", "11.1": "pc-i440fx-11.1"}
    assert names_of_alias(image, "pc-i440fx-9.2") == names_of_alias(image, "no such") == {}


def test_a_receiver_says_in_words_what_is_known_of_it() -> None:
    known = Receiver(machine="pc-i440fx-10.0", blocks={"pc.ram": "64M"}, sources=["image a.img"])
    assert str(known) == "pc-i440fx-10.0, 1 blocks (image a.img)"
    assert str(Receiver(domain="<domain/>")) == "some machine, a domain XML"
