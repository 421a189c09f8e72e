"""Files that go with images: whatever is given for one, reading it ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt.documents import DOCUMENT_CEILING, read_document
from synthetic import made


@pytest.mark.parametrize(
    "words",
    [
        ("synth", "/dev/zero", "-o", "{out}"),
        ("validate", "{image}", "--destination", "/dev/zero"),
        ("validate", "{image}", "--baseline", "/dev/zero"),
        ("copy", "{image}", "-o", "{out}", "--container", "libvirt", "--xml", "/dev/zero"),
        ("digest", "--check", "/dev/zero"),
    ],
)
def test_endless_document_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(made())
    places = {"image": tmp_path / "image", "out": tmp_path / "out"}
    done = run_cli(*(word.format(**places) for word in words))
    assert done.code == 2
    assert "/dev/zero" in done.err
    assert len(done.err.splitlines()) == 1
    assert not places["out"].exists()


def test_document_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"x" * 100_000,))
    writer.start()
    assert read_document(pipe) == b"x" * 100_000
    writer.join()


def test_longest_document_is_read_whole_and_no_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "document"
    for size in (DOCUMENT_CEILING, DOCUMENT_CEILING + 1):
        with path.open("wb") as file:
            file.truncate(size)
        if size == DOCUMENT_CEILING:
            assert len(read_document(path)) == size
        else:
            with pytest.raises(ValueError, match="longer than 64 MiB"):
                read_document(path)


@pytest.mark.parametrize(("name", "why"), [("nothing", "No such file"), ("", "Is a directory")])
def test_document_that_cannot_be_read_is_told_why(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why):
        read_document(tmp_path / name)
