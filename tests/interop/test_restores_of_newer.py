"""Saves of QEMU 11.1 (../shared/images) in a VM of QEMU 10.0 with the same arguments.

The receiver is described by the save that QEMU 10.0 made with these arguments.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from conftest import absent
from fixedram_fmt import Image
from fixedram_fmt.validation import Receiver
from qemu_vm import require_qemu
from support.real_files import ENTRIES, location_of
from support.restores import Restore, judge, load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

#: Names without their version.
NAMES = [
    name.removesuffix("-11.1")
    for name in ENTRIES
    if name.startswith("shared/") and name.endswith("-11.1") and f"{name[:-5]}-10.0" in ENTRIES
]
#: Of the guest that made them only its length counts: block pc.bios has that.
_BIOS = re.compile(r"-bios (\S+)")


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_qemu_does_what_the_verdict_says(name: str, unpacked_dir: Path, tmp_path: Path) -> None:
    if not NAMES:
        absent("../shared/images")
    image, twin = f"{name}-11.1", f"{name}-10.0"
    arch, *args = shlex.split(ENTRIES[twin]["command"].removeprefix("qemu-system-"))
    require_qemu(arch)
    with Image.open(location_of(twin, unpacked_dir)) as like:
        receiver = Receiver.of_image(like)
    verdict = judge(location_of(image, unpacked_dir), receiver)
    if found := _BIOS.search(ENTRIES[twin]["command"]):
        (tmp_path / found[1]).write_bytes(bytes(receiver.block_lengths["pc.bios"]))
    path, _, offset = location_of(image, unpacked_dir).partition("@")
    # It may be read without the channels that wrote it.
    capabilities = [one for one in ENTRIES[image]["capabilities"] if one != "multifd"]
    loaded = load(
        arch, [*args, *(() if "-S" in args else ("-S",))], unpacked_dir / path, int(offset or 0),
        capabilities=capabilities, cwd=tmp_path,
    )  # fmt: skip
    restore = Restore(image, twin, verdict, loaded)
    assert restore.agrees, str(restore)
    if restore.refused:
        assert restore.same_words, str(restore)
