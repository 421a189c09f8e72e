"""Files that go with images: whatever is given for one, reading it ends."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt import FixedRamError
from fixedram_fmt.io.documents import (
    DOCUMENT_CEILING,
    json_document,
    read_document,
    toml_document,
    xml_document,
)
from fixedram_fmt.receiver import load_receiver
from fixedram_fmt.validation.selection import load_baseline
from fixedram_fmt.write.spec import load_spec
from support.synthetic import made

if TYPE_CHECKING:
    from collections.abc import Callable


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
            with pytest.raises(ValueError, match="longer than 16 MiB"):
                read_document(path)


@pytest.mark.parametrize(("name", "why"), [("nothing", "No such file"), ("", "Is a directory")])
def test_document_that_cannot_be_read_is_told_why(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why):
        read_document(tmp_path / name)


# -- what is in them -------------------------------------------------------------------------------

HOSTILE = {
    "lists.json": b"[" + b"[]," * (5 << 20) + b"0]",
    "deep.json": b"[" * (1 << 20),
    "deeper.json": b'{"blocks":' * (1 << 18),
    "numbers.json": b"[" + b"1e9," * (3 << 20) + b"0]",
    "key.toml": b".".join([b"a"] * 20_000) + b" = 1",
    "quoted.toml": b".".join([b'"a b"', b"'c.d'"] * 10_000) + b" = 1",
    "header.toml": b"[" + b" . ".join([b"a"] * 20_000) + b"]",
    "tables.toml": b"".join(b"[a%x]\n" % number for number in range(1 << 18)),
    "lists.toml": b"a = [" + b"[]," * (1 << 20) + b"]",
    "deep.toml": b"a = " + b"[" * 100_000,
    "deeper.toml": b"a = " + b"{b = " * 20_000,
}
LOADERS = [load_spec, load_receiver, load_baseline]


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_refused_at_once_and_in_little_memory(
    name: str, load: Callable[[Path], object], tmp_path: Path
) -> None:
    document = tmp_path / name
    document.write_bytes(HOSTILE[name])
    begun = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(FixedRamError) as caught:
            load(document)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert name in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert peak < 100 << 20
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "text",
    [
        b'pages = "' + b"1.2.3.4.5.6.7.8 " * 1000 + b'"',
        b'a.b.c.d.e.f.g.h = "eight parts"',
        b'["a.b.c.d.e.f.g.h.i.j.k.l"]',
        b"a" * 100_000 + b" = 1",
        b'"' + b"." * 100_000 + b'" = 1',
        b"# " + b"." * 100_000,
    ],
)
def test_toml_with_dots_elsewhere_is_no_long_key(text: bytes) -> None:
    assert toml_document(text) is not None


@pytest.mark.parametrize("unit", [b"a", b"a.", b"a ", b'"', b"'a'.", b" .", b"a.a.a.a.a.a.a.a.\n"])
def test_looking_for_long_keys_takes_linear_time(unit: bytes) -> None:
    begun = time.process_time()
    with suppress(ValueError):
        toml_document(unit * ((1 << 20) // len(unit)))
    assert time.process_time() - begun < 2


@pytest.mark.slow
def test_largest_description_of_a_real_machine_is_within_the_ceilings() -> None:
    """-dump-vmstate of aarch64 virt: 2.1 MiB, 16,464 objects and arrays, 112,485 separators."""
    entry = b'{"a":[],"b":1,"c":"d","e":2.5,"f":null,"g":true,"h":0}'
    assert len(json_document(b"[" + b",".join([entry] * 60_000) + b"]")) == 60_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"<domain>", "no element found"),
        (b"no XML", "syntax error"),
        (b"", "no element found"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "DTD"),
        (b"<a>" * 100 + b"</a>" * 100, "levels"),
        (b"<a>" + b"<b/>" * 500_000 + b"</a>", "tags"),
        (b"<a " + b" ".join(b"a%d=''" % i for i in range(210_000)) + b"/>", "attributes"),
        (b"<a>\xff</a>", "no XML"),
        (b"<a/><b/>", "junk after document element"),
    ],
)
def test_xml_that_no_domain_has_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        xml_document(text)


def test_xml_of_a_domain_is_read() -> None:
    root = xml_document(
        "<?xml version='1.0'?><domain type='kvm'><name>ä&amp;b</name></domain>".encode()
    )
    assert (root.tag, root.get("type"), root.findtext("name")) == ("domain", "kvm", "ä&b")


def test_copy_refuses_a_domain_that_is_none(tmp_path: Path) -> None:
    image, xml, out = tmp_path / "image", tmp_path / "domain.xml", tmp_path / "out"
    image.write_bytes(made())
    xml.write_bytes(b"<domain>\0")
    words = ("copy", str(image), "-o", str(out), "--container", "libvirt", "--xml", str(xml))
    done = run_cli(*words)
    assert done.code == 2
    assert "no XML" in done.err
    assert not out.exists()
