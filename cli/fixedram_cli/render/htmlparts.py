"""Pieces of an HTML page: escaping, tables, the style and the script, and what may run there.

Nothing of a file reaches the page but through shown(): escaped, controls and bidi marks made
visible, cut to a length, and kept apart from its surroundings by <bdi>.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import visible
from fixedram_fmt.pagemap.picture import PRESENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Budget", "document", "facts", "number", "plain", "section", "shown", "table"]

_LONGEST = 200


def plain(text: str, longest: int = _LONGEST) -> str:
    """text for an attribute or a title: visible, escaped, cut."""
    # Cut before as well: a name of a megabyte need not be looked at as a whole.
    told = visible(text[: longest + 1])
    if len(told) > longest:
        told = f"{told[: longest - 1]}…"
    return escape(told)


def shown(text: str, longest: int = _LONGEST) -> str:
    """text of a file on the page; its direction stays its own."""
    return f"<bdi>{plain(text, longest)}</bdi>"


def number(value: int) -> str:
    """A number with thousands apart."""
    return f"{value:,}"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; values are HTML."""
    items = "".join(f"<div><dt>{plain(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="facts">{items}</dl>'


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int]
) -> str:
    """A table whose cells are HTML; columns in right are numbers."""
    css = ['class="n"' if column in right else "" for column in range(len(head))]
    parts = [f'<div class="wide"><table><caption>{plain(caption)}</caption><thead><tr>']
    parts += [f'<th scope="col" {css[at]}>{plain(name)}</th>' for at, name in enumerate(head)]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        cells = [f"<td {css[at]}>{cell}</td>" for at, cell in enumerate(row)]
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</tbody></table></div>")
    return "".join(parts)


def section(name: str, title: str, body: str, about: str = "") -> str:
    """A part of the page that the list of contents leads to; nothing where it is empty."""
    if not (body or about):
        return ""
    told = f'<p class="about">{about}</p>' if about else ""
    return f'<section id="{name}"><h2>{plain(title)}</h2>{told}{body}</section>'


class Budget:
    """How many characters of the page a part may still take."""

    def __init__(self, characters: int) -> None:
        self.left = characters

    def take(self, text: str) -> bool:
        """Whether text still fits; if so it is counted."""
        if len(text) > self.left:
            self.left = 0
            return False
        self.left -= len(text)
        return True


STYLE = """
:root{color-scheme:light dark;--bg:#fff;--card:#f7f8f9;--ink:#1c2024;--pale:#5b646e;--line:#dfe3e7;
--link:#0b4f9e;--good:#1a6e3c;--bad:#b3261e;--warn:#8a5a00;--absent:#e4e8ec;--bar:#2f74c0}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e4e7ea;--pale:#9aa4ae;
--line:#2f353b;--link:#8cbcf5;--good:#7bd19a;--bad:#ff9a8f;--warn:#f0c264;--absent:#2a2f35;
--bar:#6aa8ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.5rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.75rem 0 .5rem;padding-bottom:.35rem;
border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.5rem 0}
.about,footer,caption,dt,figcaption,.pale{color:var(--pale)}
a{color:var(--link)}
nav{margin:1rem 0 0;display:flex;flex-wrap:wrap;gap:.25rem 1rem}
code,.m,td.n,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.88em}
.marks{display:flex;flex-wrap:wrap;gap:.5rem;margin:1rem 0 0;padding:0;list-style:none}
.marks li{border:1px solid var(--line);border-radius:6px;padding:.2rem .6rem;background:var(--card)}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.good,.bad,.warn{font-weight:600}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.75rem 1.5rem;
margin:1rem 0}
.facts dt{font-size:.85rem}.facts dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
caption{text-align:left;padding:.25rem 0;font-size:.85rem}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;font-size:.85rem;color:var(--pale);white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
td:first-child{min-width:9rem}
details{border-bottom:1px solid var(--line);padding:.3rem 0}
summary{cursor:pointer;overflow-wrap:anywhere}
details details{border:0;padding:.1rem 0;margin-left:1.1rem}
details>table,details>div,details>p{margin-left:1.1rem;width:auto}
figure{margin:1rem 0 1.75rem}
figcaption{font-size:.88rem;margin:.35rem 0}
figcaption b{color:var(--ink)}
.map{border:1px solid var(--line);border-radius:6px;overflow:auto;background:var(--bg);padding:2px;
max-height:80vh}
.map svg{display:block;width:100%;height:auto}
.map svg[data-zoom]{width:auto;max-width:none}
.small{max-width:26rem}
.map .c1{fill:var(--absent)}
.tools{display:flex;gap:.4rem;align-items:center;flex-wrap:wrap;margin:.4rem 0;min-height:1.9rem}
button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);
border-radius:6px;padding:.1rem .7rem;cursor:pointer;min-width:2.2rem}
button:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--link);
outline-offset:2px}
.key{display:inline-flex;align-items:center;gap:.35rem;margin-right:1rem}
.key svg{width:.8rem;height:.8rem;flex:none}.key .c1{fill:var(--absent)}
.bar{width:6rem;height:.6rem;vertical-align:middle}
.bar rect{fill:var(--absent)}.bar .on{fill:var(--bar)}
footer{padding-top:2rem;padding-bottom:3rem;font-size:.85rem}
@media (prefers-color-scheme:dark){DARK}
@media (max-width:40rem){body{font-size:14px}header{padding-top:1.5rem}
.facts{grid-template-columns:1fr 1fr}}
@media print{body{font-size:10pt}nav,.tools{display:none}
main,header,footer{max-width:none;padding:0}
section,figure,tr{break-inside:avoid-page}section{break-inside:auto}h2,h3{break-after:avoid}
.map{max-height:none;overflow:visible}
details::details-content{content-visibility:visible;display:block}}
"""

#: Few to all: on a dark page the lighter a cell the more of its pages are present.
_DARK = ("#1b3a5c", "#1f4b78", "#255d94", "#2b6fb0", "#3a85cb", "#559be0", "#78b4f0", "#a3d0ff")
STYLE = STYLE.replace(
    "DARK",
    "".join(f".c{PRESENT + level}{{fill:{colour}}}" for level, colour in enumerate(_DARK)),
)

#: Zooms the maps, says which address is under the pointer, opens everything for the printer.
SCRIPT = """
"use strict";
for (const map of document.querySelectorAll(".map")) {
  const svg = map.querySelector("svg"), data = svg.dataset, tools = document.createElement("div");
  const columns = Number(data.columns), cells = Number(data.cells), bytes = Number(data.bytes);
  const page = Number(data.page), pages = Math.floor(bytes / page);
  const where = document.createElement("output");
  const hex = value => "0x" + value.toString(16);
  let zoom = 1;
  tools.className = "tools";
  const set = value => {
    zoom = Math.min(32, Math.max(1, value));
    if (zoom === 1) { svg.removeAttribute("width"); delete data.zoom; return; }
    data.zoom = zoom;
    svg.setAttribute("width", Math.round((map.clientWidth - 6) * zoom));
  };
  for (const [label, name, factor] of [["\\u2212", "Zoom out", .5], ["+", "Zoom in", 2],
                                      ["1:1", "Whole map", 0]]) {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = label; button.setAttribute("aria-label", name);
    button.addEventListener("click", () => set(factor ? zoom * factor : 1));
    tools.append(button);
  }
  where.className = "m";
  tools.append(where);
  map.before(tools);
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), size = box.width / columns;
    const cell = Math.floor((event.clientY - box.top) / size) * columns
      + Math.min(columns - 1, Math.floor((event.clientX - box.left) / size));
    if (cell < 0 || cell >= cells) { where.textContent = ""; return; }
    const first = Math.floor(pages * cell / cells), last = Math.floor(pages * (cell + 1) / cells);
    where.textContent = hex(first * page) + " to " + hex(last * page);
  });
  svg.addEventListener("pointerleave", () => { where.textContent = ""; });
}
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def document(title: str, header: str, sections: Sequence[str], footer: str) -> str:
    """The whole page; nothing is loaded, and no script but ours runs."""
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(filter(None, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{plain(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{body}\n</main>\n<footer>{footer}</footer>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
