"""Whatever a QEMU does, a rehearsal ends in time, and leaves no process and no folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import SAMPLES, unpack
from fixedram_fmt.errors import SourceError, UnsupportedError
from fixedram_fmt.image import Image
from fixedram_fmt.rehearsal import Options, Rehearsal, rehearse
from support.fake_qemu import STAGES, fake

#: Seconds: for what ends by itself, and for what does not.
_LIMIT, _SHORT = 30, 1.5
#: SIGTERM, SIGKILL and the reading of what was said take a little longer.
_MORE = 8.0


@pytest.fixture
def image(unpacked_dir: Path) -> Path:
    return unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "pc-once")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    return place


def rehearsed(image: Path, program: Path, **more: object) -> Rehearsal:
    settings = {"arguments": ("-m", "1"), "qemu": str(program), "timeout": _LIMIT, **more}
    options = Options(**settings)  # type: ignore[arg-type]
    with Image.open(image) as opened:
        return rehearse(opened, options)


def gone(group: int) -> bool:
    """Whether nothing runs in a process group; who is dead and waits for its parent does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return False
    return True


def assert_nothing_is_left(tmp_path: Path, place: Path) -> None:
    assert list(place.iterdir()) == []
    pids = [int(line) for line in (tmp_path / "pid").read_text().split()]
    assert pids
    assert all(gone(pid) for pid in pids)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "exits", "closes", "garbage"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_qemu_that_goes_away_is_noticed(
    stage: str, how: str, image: Path, tmp_path: Path, place: Path
) -> None:
    done = rehearsed(image, fake(tmp_path, stage, how))
    assert done.status in {"crashed", "not-started"}
    assert done.seconds < _LIMIT
    assert done.memory_equal is None
    assert f"at {stage}" in done.messages
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["floods", "hangs", "deaf"])
@pytest.mark.parametrize("stage", ["start", "migrate-incoming", "event", "pmemsave"])
def test_a_qemu_that_does_not_answer_is_ended(
    stage: str, how: str, image: Path, tmp_path: Path, place: Path
) -> None:
    begun = time.monotonic()
    done = rehearsed(image, fake(tmp_path, stage, how), timeout=_SHORT)
    assert time.monotonic() - begun < _SHORT + _MORE
    # Where the limit is reached during the comparison, the image was loaded all the same.
    assert done.status == "timeout" or (done.status, stage) == ("completed", "pmemsave")
    assert done.memory_equal is None
    assert not done.restores
    assert f"no answer within the limit of {_SHORT:g} seconds" in done.messages
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
def test_a_signal_is_told_by_the_exit_code(image: Path, tmp_path: Path, place: Path) -> None:
    assert rehearsed(image, fake(tmp_path, "event", "dies")).exit_code == -signal.SIGSEGV
    assert rehearsed(image, fake(tmp_path, "event", "exits")).exit_code == 3


@pytest.mark.slow
def test_a_refused_image_has_the_words_of_the_monitor(
    image: Path, tmp_path: Path, place: Path
) -> None:
    done = rehearsed(image, fake(tmp_path, "failed", ""))
    assert done.status == "failed"
    assert done.messages == ("load of migration failed: words",)
    assert not done.restores
    assert done.qemu.version == "1.2.3"
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
def test_memory_that_is_another_is_seen(image: Path, tmp_path: Path, place: Path) -> None:
    done = rehearsed(image, fake(tmp_path, "", ""))  # all its memory is zero
    assert done.status == "completed"
    assert done.memory_equal is False
    assert done.memory is not None
    assert done.memory.difference is not None
    assert set(done.memory.difference.found) == {"0"}
    assert not done.restores
    assert rehearsed(image, fake(tmp_path, "", ""), memory=False).memory_equal is None


@pytest.mark.slow
def test_memory_that_cannot_be_read_is_not_called_equal(
    image: Path, tmp_path: Path, place: Path
) -> None:
    done = rehearsed(image, fake(tmp_path, "pmemsave", "refuses"))
    assert (done.status, done.memory_equal) == ("completed", None)
    assert done.memory is not None
    assert not done.memory.finished
    assert any("no room" in note for note in done.memory.notes)
    assert not done.restores
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
def test_a_limit_of_the_host_is_not_laid_to_the_image(
    image: Path, tmp_path: Path, place: Path
) -> None:
    with pytest.raises(SourceError, match="limit of a file's size"):
        rehearsed(image, fake(tmp_path, "pmemsave", "big"))
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
def test_a_program_that_ends_well_without_a_word_is_no_qemu(image: Path, place: Path) -> None:
    with pytest.raises(UnsupportedError, match="is no QEMU"):
        rehearsed(image, Path("/bin/true"))
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_a_guest_that_runs_is_ended(image: Path, tmp_path: Path, place: Path) -> None:
    done = rehearsed(image, fake(tmp_path, "running", ""))
    assert done.status == "crashed"
    assert "although it was to stay paused" in done.messages[-1]
    assert_nothing_is_left(tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing(
    number: signal.Signals, image: Path, tmp_path: Path, place: Path
) -> None:
    program = fake(tmp_path, "event", "deaf")
    words = ["rehearse", str(image), "--qemu", str(program), "--", "-m", "1"]
    child = subprocess.Popen([sys.executable, "-m", "fixedram_cli", *words])
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    assert child.wait(30) in {128 + number, -number}
    assert_nothing_is_left(tmp_path, place)
