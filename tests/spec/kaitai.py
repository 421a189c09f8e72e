"""The Kaitai reader made from spec/fixedram.ksy, and what it reads, in this project's words."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, absent

KSY = ROOT / "spec" / "fixedram.ksy"
COMPILE = Path(__file__).parent / "compile_ksy.js"

#: Where .ci/install-kaitai puts the compiler.
FOLDER = Path(os.environ.get("FIXEDRAM_KAITAI", ROOT / ".kaitai"))


def compiled(folder: Path) -> Any:
    """The module that the compiler makes; skips where there is none."""
    if shutil.which("node") is None:
        absent("node")
    if not (FOLDER / "node_modules" / "kaitai-struct-compiler").exists():
        absent("kaitai-struct-compiler (.ci/install-kaitai)")
    if importlib.util.find_spec("kaitaistruct") is None:
        absent("kaitaistruct")
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(KSY.read_text())
    done = subprocess.run(
        ["node", COMPILE, FOLDER, "python"],
        input=json.dumps(document).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    for name, text in json.loads(done.stdout).items():
        (folder / name).write_text(text)
    spec = importlib.util.spec_from_file_location("fixedram_ksy", folder / "fixedram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fixedram_ksy"] = module
    spec.loader.exec_module(module)
    return module


def head_facts(read: Any) -> list[tuple[Any, ...]]:
    """(kind, values...) of what stands before the first item."""
    facts: list[tuple[Any, ...]] = [("file_header", read.head.version)]
    if read.head.configuration_follows.value != 0x07:
        return facts
    configuration = read.head.configuration
    facts.append(("configuration", configuration.name))
    for subsection in getattr(configuration, "subsections", None) or ():
        facts.append(("subsection", subsection.idstr, subsection.version_id))
        body = subsection.body
        if subsection.idstr.endswith("/capabilities"):
            facts.append(("capabilities", body.caps_count))
            facts += [("capability", name.capability) for name in body.names]
        elif subsection.idstr.endswith("/target-page-bits"):
            facts.append(("target_page_bits", body.target_page_bits))
        else:
            facts.append(("uuid", body.uuid))
    return facts


def item_facts(read: Any) -> list[tuple[Any, ...]]:
    """(kind, offset, values...) of everything from the first item to the end of the stream."""
    facts: list[tuple[Any, ...]] = []
    for at in read.stream.items:
        item = at.item
        start, kind = at.position, item.section_type.name
        if kind == "command":
            facts.append((kind, start, item.command.command.value, item.command.data))
        elif kind == "eof":
            facts.append((kind, start))
        elif item.is_named:
            header = item.header
            facts.append(
                (kind, start, item.section_id, header.idstr, header.instance_id, header.version_id)
            )
        else:
            facts.append((kind, start, item.section_id))
        if item.is_ram:
            for record in item.ram.records:
                facts += record_facts(record.position, record.record)
        elif item.is_section:
            facts.append(("body", item.head_end.offset, item.body_stop - item.head_end.offset))
        if item.is_section:
            facts.append(("section_footer", item.body_stop, item.footer.section_id))
    if read.stream.description is not None:
        facts.append(("vmdescription", read.stream.eof_stop, read.stream.description.length))
    return facts


def record_facts(offset: int, record: Any) -> list[tuple[Any, ...]]:
    if record.is_page:
        return []
    if not record.is_mem_size:
        kind = "eos" if record.is_eos else "multifd_flush" if record.is_flush else "hook"
        return [(kind, offset, record.word)]
    facts: list[tuple[Any, ...]] = [("mem_size", offset, record.word)]
    for at in record.blocks:
        block = at.block
        facts.append(("block", at.position, block.idstr, block.used_length))
        if hasattr(block, "region_address"):
            facts.append(("region_address", block.region_address))
        if hasattr(block, "header"):
            header = block.header
            facts.append(
                (
                    "mapped_ram_header",
                    header.version,
                    header.page_size,
                    header.bitmap_offset,
                    header.pages_offset,
                )
            )
    return facts


def page_facts(read: Any, page_size: int) -> dict[tuple[str, int], Any]:
    """What an ordinary stream says last of each page: (block, address) -> where or what it is."""
    pages: dict[tuple[str, int], Any] = {}
    idstr = ""
    for at in read.stream.items:
        if not at.item.is_ram:
            continue
        for record_at in at.item.ram.records:
            record = record_at.record
            if not record.is_page:
                continue
            if hasattr(record, "idstr"):
                idstr = record.idstr.idstr
            key = idstr, record.address
            pages[key] = record.fill if record.is_zero else record.head_end.offset
    assert all(address % page_size == 0 for _, address in pages)
    return pages
