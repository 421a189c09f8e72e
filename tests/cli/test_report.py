"""The HTML page on an image: whole, bounded, and harmless whatever the image says.

A real browser says whether it is sound: it is read with and without scripts, and nothing of an
image may run in it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conftest import SAMPLES, absent, run_cli, unpack
from fixedram_cli.render.htmlreport import html_report
from fixedram_fmt import Image
from support.builders import Block, StreamBuilder, device, open_bytes, page, tiny_image, uint

CEILING = 5 << 20
VOID = {"meta", "link", "br"}
HOSTILE = [
    b"<script>document.title='owned'</script>",
    b'"><img src=x onerror="document.title=\'owned\'">',
    b"]]></script><script>document.title='owned'</script>",
    b"</title><svg onload=document.title='owned'>",
    "\u202egnp.exe \u2066\u200f\u05d0".encode(),
    b"\x1b[31m\x00\x07\xff\xfe",
    b"{{7*7}}${7*7}&lt;&amp;#60;",
    b"javascript:alert(1)",
]


class Checked(HTMLParser):
    """Walks a page: every element is closed where it must be, and none is one that acts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)


def checked(document: str) -> Checked:
    """A page that is well formed, loads nothing and has no script but its own."""
    parser = Checked()
    parser.feed(document)
    parser.close()
    assert parser.open == []
    assert parser.seen <= {
        "html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer",
        "h1", "h2", "h3", "p", "a", "nav", "ul", "li", "dl", "div", "dt", "dd", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "section", "details", "summary", "figure", "span", "b",
        "figcaption", "svg", "rect", "path", "bdi", "code", "br", "script",
    }  # fmt: skip
    assert not any(name.startswith("on") or name == "style" for _, name in parser.attributes)
    assert not any(name == "src" for _, name in parser.attributes)
    assert document.count("<script") == 1
    assert set(re.findall(r'href="([^"]*)"', document)) <= {"data:,"} | {
        f"#{name}" for name in parser.ids
    }
    assert parser.headings[0] == 1
    for before, after in zip(parser.headings, parser.headings[1:], strict=False):
        assert after <= before + 1
    return parser


def report_of(data: bytes, path: str = "guest.img", **options: Any) -> str:
    with open_bytes(data) as image:
        return html_report(image, path, **options)


@pytest.fixture(scope="module")
def sample(unpacked_dir: Path) -> Callable[[str], Path]:
    def unpacked(name: str) -> Path:
        packed = SAMPLES / f"{name}.img.xz"
        if not packed.exists():
            absent(str(packed))
        return unpack(packed, unpacked_dir / f"sample-{name}")

    return unpacked


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pc-live", "q35-dimm", "legacy-stream", "aarch64-virt", "failed-ignore-shared",
             "pc-no-vmdesc", "avr-uno", "s390x-virtio"],
)  # fmt: skip
def test_a_page_tells_what_info_and_validate_tell(name: str, sample: Callable[[str], Path]) -> None:
    path = sample(name)
    with Image.open(path) as image:
        document = html_report(image, str(path), deep=True)
        parser = checked(document)
        text = " ".join(parser.texts)
        assert (image.machine or "no configuration") in text
        for block in image.blocks:
            assert block.name in text
        for one in image.state.devices:
            assert one.path in text
    told = run_cli("validate", path, "--deep", "--json").json["images"][0]
    for finding in told["findings"]:
        assert finding["rule"] in text
    for verdict in told["verdicts"]:
        assert verdict["verdict"] in text
    assert len(document.encode()) < CEILING


def test_names_are_text_whatever_they_hold() -> None:
    blocks = [Block(name, page(number, 256) * 4) for number, name in enumerate(HOSTILE, 1)]
    builder = StreamBuilder().header().configuration(HOSTILE[0])
    builder.mapped_ram(*blocks)
    devices = []
    for number, name in enumerate(HOSTILE, 3):
        builder.full(number, name, bytes(8))
        told = device(name.decode("utf-8", "replace"), 8)
        told["fields"] = [
            uint("<b>field</b>", 8),
        ]
        devices.append(told)
    document = report_of(builder.described(*devices).file(), path="<i>&\u202e.img")
    parser = checked(document)
    text = " ".join(parser.texts)
    assert HOSTILE[0].decode() in text
    assert not set("\x1b\x07\x00\u202e\u2066\u200f") & set(unescape(document))


def many_blocks(count: int) -> bytes:
    """A list of blocks with the longest names there are, of what grows most when it is escaped."""
    names = [b'\x01"<&' * 62 + f"{number:07d}".encode() for number in range(count)]
    blocks = [Block(name, bytes(256)) for name in names]
    builder = StreamBuilder().header().configuration(capabilities=None, page_bits=8)
    builder.start(2, b"ram").listed(*blocks).eos().footer(2)
    return builder.part(2, end=True).eos().footer(2).eof().file()


def many_devices(count: int) -> bytes:
    """Devices with hundreds of long values each."""
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(256)))
    fields = [uint(f"<{'field' * 30}>{number}", 4) for number in range(400)]
    devices = []
    for number in range(count):
        name = f"dev&<>{number}"
        builder.full(number + 3, name.encode(), bytes(range(64)) * 25)
        devices.append({**device(name, 1600), "fields": fields})
    return builder.described(*devices).file()


def many_parts(count: int) -> bytes:
    """Sections of RAM that alternate, so that no two rows of the stream are alike."""
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(256)))
    for number in range(count):
        builder.command(11 + number % 2, b"x" * (number % 3))
    return builder.eof().file()


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize(
    "data", [lambda: many_blocks(20_000), lambda: many_devices(200), lambda: many_parts(20_000)],
    ids=["blocks", "devices", "records"],
)  # fmt: skip
def test_the_page_of_a_hostile_image_stays_small(data: Callable[[], bytes]) -> None:
    hostile = data()
    with open_bytes(hostile) as image:
        assert image.complete
    document = report_of(hostile)
    checked(document)
    assert len(document.encode()) < CEILING


@pytest.mark.slow
def test_truncated_and_broken_images_have_a_page() -> None:
    whole = tiny_image().file()
    for length in range(120, len(whole), 97):
        parser = checked(report_of(whole[:length]))
        assert "stops" in " ".join(parser.texts)


@pytest.mark.slow
def test_the_command_writes_the_page_and_says_so(
    sample: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    result = run_cli("report", sample("pc-live"), "-o", out)
    assert (result.code, result.err) == (0, "")
    checked(out.read_text("utf-8"))
    told = run_cli("report", sample("pc-live"), "-o", out, "--json", "--force").json
    assert told["bytes"] == out.stat().st_size
    assert run_cli("report", sample("pc-live"), "-o", "-").out == out.read_text("utf-8")


@pytest.mark.slow
def test_errors_leave_no_page(sample: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "none.img").write_bytes(b"nothing")
    for arguments in (
        (tmp_path / "none.img", "-o", tmp_path / "page.html"),
        (sample("pc-live"), "-o", tmp_path / "no" / "page.html"),
        (sample("pc-live"), "-o", "-", "--json"),
    ):
        assert run_cli("report", *arguments).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["none.img"]


# -- in a browser ---------------------------------------------------------------------------------

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000",
)  # fmt: skip


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., tuple[str, list[str]]]:
    """Opens a page: what is in it when scripts have run, and what the console says."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        absent("chromium")

    def opened(path: Path, *flags: str) -> tuple[str, list[str]]:
        profile = tmp_path / f"profile{len(list(tmp_path.iterdir()))}"
        done = subprocess.run(
            [str(binary), *_FLAGS, f"--user-data-dir={profile}", "--dump-dom", *flags,
             path.as_uri()],
            capture_output=True, timeout=90, check=True,
        )  # fmt: skip
        console = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
        return done.stdout.decode(), console

    return opened


@pytest.mark.slow
def test_a_browser_reads_it_without_complaint(
    chromium: Callable[..., tuple[str, list[str]]], sample: Callable[[str], Path], tmp_path: Path
) -> None:
    with Image.open(sample("pc-live")) as image:
        document = html_report(image, "pc-live.img")
    path = tmp_path / "page.html"
    path.write_text(document, "utf-8")
    dom, console = chromium(path)
    assert console == []
    # The script has run: the maps have their buttons.
    assert dom.count('class="tools"') == dom.count('class="map')
    assert document.count('class="tools"') == 0


@pytest.mark.slow
def test_without_scripts_everything_is_there(
    chromium: Callable[..., tuple[str, list[str]]], sample: Callable[[str], Path], tmp_path: Path
) -> None:
    with Image.open(sample("pc-live")) as image:
        document = html_report(image, "pc-live.img")
        names = [block.name for block in image.blocks] + [one.path for one in image.state.devices]
    path = tmp_path / "frame.html"
    # A frame without scripts; the page around it has one, to say what became of the frame.
    frame = f'<iframe sandbox="allow-same-origin" srcdoc="{escape(document)}"></iframe>'
    script = (
        "document.querySelector('iframe').onload = event => {"
        "document.body.textContent = event.target.contentDocument.documentElement.outerHTML;}"
    )
    path.write_text(f"<!doctype html><body>{frame}<script>{script}</script></body>", "utf-8")
    told, _ = chromium(path)
    body = told.partition("<body>")[2].rpartition("</body>")[0]
    dom = unescape(body)
    assert 'class="tools"' not in dom
    text = " ".join(checked(dom).texts)
    for name in names:
        assert name in text
    assert dom.count("<path") == document.count("<path")


@pytest.mark.slow
def test_nothing_of_an_image_runs_in_a_browser(
    chromium: Callable[..., tuple[str, list[str]]], tmp_path: Path
) -> None:
    blocks = [Block(name, page(number, 256) * 4) for number, name in enumerate(HOSTILE, 1)]
    builder = StreamBuilder().header().configuration(HOSTILE[1]).mapped_ram(*blocks)
    devices = []
    for number, name in enumerate(HOSTILE, 3):
        builder.full(number, name, bytes(8))
        devices.append(device(name.decode("utf-8", "replace"), 8))
    path = tmp_path / "page.html"
    path.write_text(report_of(builder.described(*devices).file(), HOSTILE[3].decode()), "utf-8")
    dom, console = chromium(path)
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert title[1] != "owned"
    assert console == []
    # Had it run, the policy would have said so; were it not for the policy, this would run.
    hole = path.read_text("utf-8").replace("<h1>", f"{HOSTILE[0].decode()}<h1>", 1)
    path.write_text(hole, "utf-8")
    dom, console = chromium(path)
    assert "<title>owned" not in dom
    assert any("Content Security Policy" in line for line in console)
    assert json.dumps(console)
