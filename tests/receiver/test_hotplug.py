"""Parts of a device that come and go with the guest: lists of CPUs, a disk's identity."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fixedram_fmt.receiver import Receiver
from support.receivers import Sub, found, number, part, saved, struct


def cpus(count: int) -> Sub:
    """A list of so many CPUs, as piix4_pm sends it."""
    listed = struct("devs", number("is_inserting", 0, "uint8"), count=count)
    return Sub("piix4_pm/cpuhp", (struct("state", listed, vmsd="CPU hotplug state"),))


@pytest.mark.parametrize(("listed", "has", "fits"), [(2, 2, True), (2, 4, False), (4, 2, True)])
def test_a_list_of_cpus_is_as_long_as_the_receiver_has_cpus(
    listed: int, has: int, fits: bool
) -> None:
    image = saved("0000:00:01.3/piix4_pm", number("a", 1), cpus(listed))
    own = Receiver.of_image(saved("0000:00:01.3/piix4_pm", number("a", 1)))
    own = replace(own, instances={**(own.instances or {}), "cpu": [*range(has)]})
    assert (found(image, own) == []) is fits


def test_a_disk_says_before_whether_its_identity_follows() -> None:
    has_run = struct(
        "ifs",
        number("identify_set", 1),
        part("identify_data", "buffer", bytes(8)),
        vmsd="ide_drive",
    )
    has_not = struct("ifs", number("identify_set", 0), vmsd="ide_drive")
    ran, fresh = saved("ide", has_run), saved("ide", has_not)
    assert found(ran, fresh) == found(fresh, ran) == []
