"""Makes cli/picture.svg, the README's picture: real commands and what they print on a terminal.

python cli/picture.py             writes it
python cli/picture.py --text      prints what it shows, without colours
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

__all__ = ["COMMANDS", "PICTURE", "lines_of", "screen", "svg"]

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "cli" / "picture.svg"
COLUMNS = 96

COMMANDS = (
    "fixedram info samples/pc-live.img.xz",
    "fixedram state samples/pc-live.img.xz 'cpu*/env.eip' --offsets",
    "fixedram synth -o broken.img --block pc.ram=16M --fault page-size-double",
    "fixedram validate broken.img --loader qemu-10.0 --ignore D10",
)

#: rich's own, without the fonts that it would fetch from elsewhere.
_FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # noqa: E501


def screen() -> Text:
    """The commands and what they print, with its colours."""
    shown = Text()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "NO_COLOR"},
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "TERM": "xterm-256color",
        "PYTHONUTF8": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "samples").symlink_to(ROOT / "samples")
        for command in COMMANDS:
            done = subprocess.run(
                [sys.executable, "-m", "fixedram_cli", *shlex.split(command)[1:]],
                cwd=folder, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode not in {0, 1}:
                raise SystemExit(f"{command}: {done.stderr}")
            shown.append("$ ", "bold green").append(command + "\n", "bold")
            shown.append_text(Text.from_ansi(done.stdout.rstrip())).append("\n\n")
    shown.rstrip()
    # A terminal breaks what is wider than it is.
    rows = (line.divide(range(COLUMNS, len(line), COLUMNS)) for line in shown.split("\n"))
    return Text("\n").join(row for line in rows for row in line)


def svg(shown: Text) -> str:
    """That text as a terminal window."""
    console = Console(record=True, width=COLUMNS + 2, file=io.StringIO(), force_terminal=True,
                      color_system="truecolor", legacy_windows=False)  # fmt: skip
    console.print(shown, soft_wrap=True)
    drawn = console.export_svg(title="fixedram", theme=SVG_EXPORT_THEME, code_format=_FORM,
                               unique_id="fixedram")  # fmt: skip
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def lines_of(picture: str) -> list[str]:
    """What a picture shows, a line a row, without spaces."""
    rows: dict[int, str] = {}
    for row, text in re.findall(r'<text[^>]*-line-(\d+)\)"[^>]*>(.*?)</text>', picture):
        rows[int(row)] = rows.get(int(row), "") + re.sub(r"\s", "", unescape(text))
    return [rows[row] for row in sorted(rows) if rows[row]]


if __name__ == "__main__":
    if "--text" in sys.argv:
        print(screen().plain)
    else:
        PICTURE.write_text(svg(screen()))
