"""What real QEMUs wrote is sound under the QEMU that wrote it; what they cannot load is refused.

The oracle is the manifest: which QEMU saved, with what, and whether it said `completed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import SAMPLES, SHARED, absent, run_cli, sample_entries, shared_entries, unpack
from fixedram_fmt import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Receiver
from fixedram_fmt.validation.report import ImageReport, Question, ask
from fixedram_fmt.validation.rules import all_rules

LOADS, REFUSES = Outcome.LOADS, Outcome.REFUSES


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Real:
    """A real image: where it is packed, and what its manifest says."""

    packed: Path
    unpacked: str
    major: int
    stream_offset: int
    capabilities: tuple[str, ...]
    completed: bool
    live: bool

    @property
    def writer(self) -> str:
        """Name of the loader that is the QEMU which saved this."""
        return {10: "qemu-10.0", 11: "qemu-11.1"}[self.major]

    @property
    def mapped(self) -> bool:
        return "mapped-ram" in self.capabilities

    @property
    def ignore_shared(self) -> bool:
        return "x-ignore-shared" in self.capabilities

    def location(self, folder: Path) -> str:
        path = unpack(self.packed, folder / self.unpacked)
        # A libvirt header is found; anything else before the stream has to be told.
        told = self.stream_offset and "libvirt" not in self.unpacked
        return f"{path}@{self.stream_offset}" if told else str(path)


def real(entry: dict[str, Any], folder: Path, kind: str) -> Real:
    qemu = entry["qemu"]
    return Real(
        packed=folder / entry["file"],
        unpacked=f"{kind}-{entry['name']}",
        major=qemu["major"] if isinstance(qemu, dict) else int(qemu.split(".")[0]),
        stream_offset=entry["stream_offset"],
        capabilities=tuple(entry["capabilities"]),
        completed=entry["migration"] == "completed",
        live=entry["live"],
    )


#: FORMAT 10: by libvirt 11.3 + QEMU 11.1.3; no entries of their own.
_LIBVIRT = [
    {"name": "libvirt-fx-raw.save", "capabilities": []},
    {"name": "libvirt-fx-sparse.save", "capabilities": ["mapped-ram"]},
]
_SAVES = [
    {**entry, "file": f"{entry['name']}.zst", "qemu": "11.1.3", "stream_offset": 0,
     "migration": "completed", "live": False}
    for entry in _LIBVIRT
]  # fmt: skip
SHARED_IMAGES = [real(entry, SHARED, "shared") for entry in shared_entries()]
if SHARED_IMAGES:
    SHARED_IMAGES += [real(entry, SHARED, "shared") for entry in _SAVES]
IMAGES = SHARED_IMAGES + [real(entry, SAMPLES, "sample") for entry in sample_entries()]

#: The save that QEMU 10 gave up half way.
FAILED = [image for image in IMAGES if not image.completed]
#: FORMAT 5: 10.x "writes the block's address but cannot load its own image".
ADDRESSED = [image for image in IMAGES if image.completed and image.ignore_shared]
SOUND = [image for image in IMAGES if image.completed and not image.ignore_shared]
LIVE = [image for image in IMAGES if image.live and image.mapped]
OFFSET = [image for image in IMAGES if image.stream_offset and "libvirt" not in image.unpacked]


def each(images: list[Real]) -> Any:
    return pytest.mark.parametrize("image", images, ids=[image.unpacked for image in images])


def told(image: Real, folder: Path, loader: str, *, multifd: bool = False) -> ImageReport:
    report = ask(image.location(folder), Question(loader, multifd=multifd, deep=True))
    assert not report.error
    assert report.verdict is not None
    assert report.loader == loader
    return report


def outcomes(report: ImageReport) -> dict[tuple[str, bool], Outcome]:
    return {(one.loader, one.multifd): one.verdict for one in report.verdicts}


def errors(report: ImageReport) -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity == "error"}


def test_shared_images_are_here() -> None:
    if not SHARED_IMAGES:
        absent("the folder of shared images")
    assert len(SHARED_IMAGES) >= 36
    assert {image.major for image in SHARED_IMAGES} == {10, 11}


def test_every_kind_of_image_is_among_the_samples() -> None:
    samples = [image for image in IMAGES if image.unpacked.startswith("sample-")]
    assert len(samples) >= 20
    for kind in (SOUND, ADDRESSED, FAILED, LIVE, OFFSET):
        assert set(kind) & set(samples)
    assert {image.major for image in ADDRESSED} == {10, 11}
    assert {image.mapped for image in SOUND} == {True, False}


@pytest.mark.slow
@each(SOUND)
@pytest.mark.parametrize("multifd", [False, True], ids=["plain", "multifd"])
def test_sound_image_has_no_error_and_loads_where_it_was_saved(
    image: Real, multifd: bool, unpacked_dir: Path
) -> None:
    report = told(image, unpacked_dir, image.writer, multifd=multifd)
    assert report.verdict is not None
    # An ordinary stream is not for channels.
    loads = image.mapped or not multifd
    assert report.verdict is (LOADS if loads else REFUSES)
    assert errors(report) == (set() if loads else {"Y05"})


@pytest.mark.slow
@each(SOUND)
def test_sound_image_is_told_nothing_but_what_it_shows(image: Real, unpacked_dir: Path) -> None:
    """Warnings and notes are few on real images, or nobody reads them."""
    report = told(image, unpacked_dir, image.writer)
    expected = {"Y05"} if not image.mapped else set()
    expected |= {"C17"} if "libvirt-fx-raw" in image.unpacked else set()
    expected |= {"P01"} if image.live and image.mapped else set()
    expected |= {"D01"} if "no-vmdesc" in image.unpacked else set()
    found = {finding.rule for finding in report.findings}
    # Guests without a BIOS that never ran have no memory at all.
    assert found - {"B06"} == expected
    if "B06" in found:
        with Image.open(image.location(unpacked_dir)) as opened:
            bits = [opened.bitmap(block) for block in opened.blocks]
            assert not any(bitmap.count() for bitmap in bits if bitmap is not None)


@each([image for image in IMAGES if image.completed])
def test_image_fits_the_machine_it_was_saved_from(image: Real, unpacked_dir: Path) -> None:
    location = image.location(unpacked_dir)
    with Image.open(location) as opened:
        fitting = Receiver.of_image(opened)
    report = ask(location, Question(image.writer, destination=fitting))
    assert not {finding.rule for finding in report.findings if finding.rule[0] == "T"}
    assert report.verdict is not None
    wanted = REFUSES if image.ignore_shared and image.major == 10 else LOADS
    assert report.verdict is wanted


@each(ADDRESSED)
def test_images_with_addresses_of_regions_are_for_qemu_11(image: Real, unpacked_dir: Path) -> None:
    for loader, loads in (("qemu-10.0", False), ("qemu-11.1", True)):
        report = told(image, unpacked_dir, loader)
        assert outcomes(report) == {
            ("qemu-10.0", False): REFUSES, ("qemu-10.0", True): REFUSES,
            ("qemu-11.1", False): LOADS, ("qemu-11.1", True): LOADS,
        }  # fmt: skip
        # Of some the machine type is QEMU 11's too.
        assert errors(report) - {"T18"} == (set() if loads else {"L16"})
        if not loads:
            assert report.verdict is not None
            assert report.decided_by is not None
            assert report.decided_by.rule in ("L16", "T18")


@each(FAILED)
def test_save_that_failed_is_told_as_never_finished(image: Real, unpacked_dir: Path) -> None:
    report = told(image, unpacked_dir, image.writer)
    assert {"B03", "S03"} <= errors(report)
    assert set(outcomes(report).values()) == {REFUSES}
    (finding,) = (one for one in report.findings if one.rule == "B03")
    assert "never finished" in all_rules()[finding.rule].why + all_rules()[finding.rule].title
    # The bytes it names are those of a page that no bitmap knows.
    path = image.location(unpacked_dir)
    with open(path, "rb") as file:
        file.seek(finding.offset or 0)
        assert any(file.read(4096))
    assert run_cli("validate", path, "--loader", image.writer).code == 1


@each(OFFSET)
def test_stream_that_starts_further_in_must_be_told_where(image: Real, unpacked_dir: Path) -> None:
    location = image.location(unpacked_dir)
    path, _, offset = location.partition("@")
    assert int(offset) == image.stream_offset
    blind = ask(path, Question(image.writer))
    assert errors(blind) == {"S01"}
    assert blind.verdict is not None
    assert blind.verdict is REFUSES
    for report in (
        ask(f"{path}@{int(offset):#x}", Question(image.writer)),
        ask(path, Question(image.writer, search=True)),
    ):
        assert report.findings == ()
        assert report.verdict is not None
        assert report.verdict is LOADS


@pytest.mark.slow
@each(LIVE)
def test_stale_pages_are_counted_as_a_loop_over_the_bits_counts_them(
    image: Real, unpacked_dir: Path
) -> None:
    location = image.location(unpacked_dir)
    raw = Path(location.partition("@")[0]).read_bytes()
    with Image.open(location) as opened:
        naive = {
            f"{block.path}/pages": stale
            for block in opened.blocks
            if (stale := naive_stale(raw, block.bitmap_offset, block.pages_offset,
                                     block.pages_total, block.page_size))
        }  # fmt: skip
    assert naive, "a live image of this guest has some"
    report = told(image, unpacked_dir, image.writer)
    found = {one.path: one for one in report.findings if one.rule == "P01"}
    counted = {path: int(one.found.split()[0]) for path, one in found.items()}
    assert counted == {path: len(pages) for path, pages in naive.items()}
    for path, one in found.items():
        assert one.offset == naive[path][0]
    shallow = ask(location, Question(image.writer))
    assert "P01" not in {finding.rule for finding in shallow.findings}


def naive_stale(raw: bytes, bitmap: int, pages: int, total: int, size: int) -> list[int]:
    """Offsets of the pages that hold bytes and whose bit is clear on a little-endian host."""
    return [
        at
        for page in range(total)
        for at in [pages + page * size]
        if not raw[bitmap + page // 8] >> page % 8 & 1 and any(raw[at : at + size])
    ]


def test_loaders_of_the_manifest_exist() -> None:
    assert {image.writer for image in IMAGES} <= set(LOADERS)
