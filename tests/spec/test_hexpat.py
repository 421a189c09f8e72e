"""spec/fixedram.hexpat is well-formed, and its fields and values are those of the schemas."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import construct as cs
import pytest

from conftest import ROOT
from fixedram_fmt.schema import device, libvirt, ram, stream
from fixedram_fmt.schema.base import Schema
from fixedram_fmt.stream.framing import FRAMINGS

SOURCE = (ROOT / "spec" / "fixedram.hexpat").read_text()
#: Without what is inside strings, comments, pragmas and attributes.
CODE = re.sub(r'"[^"\n]*"', '""', SOURCE)
CODE = re.sub(r"//.*|/\*[\s\S]*?\*/|^#.*|\[\[.*?\]\]", "", CODE, flags=re.MULTILINE)
BUILTIN = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "u128": 16, "char": 1, "bool": 1, "str": 0}
ENUMS = re.findall(r"^enum (\w+) : (\w+) \{([^}]*)\};$", CODE, re.MULTILINE)
STRUCTS = dict(re.findall(r"^struct (\w+) \{\n([\s\S]*?)^\}", CODE, re.MULTILINE))
WIDTHS = BUILTIN | {name: BUILTIN[base] for name, base, _ in ENUMS}
DECLARED = re.compile(
    r"(?:[\s\S]*?[\s:])??(?!struct|return)([A-Za-z]\w*) (\w+)(?:\[(.+)\])?( (?:=|@|in\b).*)?"
)
FLAG = re.compile(r'\(word & 0x(\w+)\) (?:!= 0|== 0x(\w+))\)\s+flags = flags \+ "(\w+) "')

SCHEMAS: list[Schema[Any]] = [
    *(found for module in (stream, ram, device) for found in vars(module).values()
      if isinstance(found, Schema) and found is not stream.PACKAGED_LENGTH),
    *libvirt.LIBVIRT_HEADER.values(),
]  # fmt: skip
#: Structures that are called otherwise in the pattern, or lie in a larger one; fields likewise.
STRUCT_NAMES = {
    "Eof": "Item", "Vmdescription": "VmDescription", "ZeroPage": "RamRecord",
    "BlockEntry": "RamBlock", "PostcopyPageSize": "RamBlock", "RegionAddress": "RamBlock",
    "S390Word": "StorageWord", "S390Count": "StorageWord", "HtabHeader": "HashTable",
    "BitmapFlags": "DirtyBitmapChunk", "BitmapStart": "DirtyBitmapChunk",
    "BitmapAlias": "PageIdstr",
}  # fmt: skip
FIELD_NAMES = {
    ("PostcopyPageSize", "page_size"): "postcopy_page_size", ("BitmapAlias", "alias"): "idstr",
    ("BitmapFlags", "flags"): "flags1", ("BitmapStart", "flags"): "start_flags",
}  # fmt: skip
#: Their first byte is read by Item, which chooses the structure by it.
WITHOUT_TYPE = ("SectionHeader", "SectionPart", "Command")


class Declaration(NamedTuple):
    """A variable or field; `length` is that of an array, `rest` its value or place."""

    type: str
    name: str
    length: str
    rest: str

    @property
    def width(self) -> int | str:
        """Bytes, or the expression that counts them."""
        counted = self.length and not self.length.isdigit()
        return self.length if counted else WIDTHS.get(self.type, 0) * int(self.length or 1)


def declared(code: str) -> list[Declaration]:
    matches = (DECLARED.fullmatch(part.strip()) for part in re.split(r"[;{}]", code))
    return [Declaration(*(group or "" for group in match.groups())) for match in matches if match]


def fields(schema: Schema[Any]) -> list[tuple[str, int | str]]:
    """Name and bytes (or the field that counts them) of each field, as the pattern has them."""
    record, listed = schema.record.__name__, list[tuple[str, int | str]]()
    for field in schema.layout.subcons:
        try:
            width: int | str = field.sizeof()
        except cs.SizeofError:
            width = listed[-1][0]
        listed.append((FIELD_NAMES.get((record, field.name), field.name), width))
    return listed[1:] if record in WITHOUT_TYPE else listed


def test_brackets_are_balanced() -> None:
    rest, last = "".join(re.findall(r"[][(){}]", CODE)), ""
    while rest != last:
        rest, last = re.sub(r"\(\)|\[\]|\{\}", "", rest), rest
    assert rest == ""


def test_the_types_that_are_used_are_those_that_are_declared() -> None:
    used = {declaration.type for declaration in declared(CODE)} - set(BUILTIN)
    assert used == set(STRUCTS) | {name for name, _, _ in ENUMS}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.record.__name__)
def test_fields_are_those_of_the_schema(schema: Schema[Any]) -> None:
    name = schema.record.__name__
    found = declared(STRUCTS[STRUCT_NAMES.get(name, name)])
    # Libvirt's words stand there twice, once for each byte order.
    placed = list(dict.fromkeys((one.name, one.width) for one in found if not one.rest))
    start = next(at for at, field in enumerate(placed) if field[0] == fields(schema)[0][0])
    assert placed[start : start + len(fields(schema))] == fields(schema)


def test_values_are_those_of_the_schemas() -> None:
    for enum, (name, _, body) in zip(
        (stream.SectionType, stream.MigCmd, libvirt.SaveFormat), ENUMS, strict=True
    ):
        entries = {key: int(value, 0) for key, value in re.findall(r"(\w+) = (\w+)", body)}
        assert (name, entries) == (enum.__name__, {entry.name: entry.value for entry in enum})
    flags = {flag: int(value or mask, 16) for mask, value, flag in FLAG.findall(SOURCE)}
    assert flags == {flag.name: flag.value for flag in ram.RamSaveFlag}
    assert f"#pragma magic [ {stream.QEMU_VM_FILE_MAGIC.hex(' ').upper()} ] @ 0x00" in SOURCE
    assert "#pragma endian big" in SOURCE
    assert all(f'"{idstr.decode()}"' in SOURCE for idstr in FRAMINGS)
