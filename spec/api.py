"""The reference of the library, made from its docstrings: `python spec/api.py > spec/API.md`."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Modules that users import from, in the order in which one meets them.
MODULES = (
    "fixedram_fmt",
    "fixedram_fmt.image",
    "fixedram_fmt.io.source",
    "fixedram_fmt.errors",
    "fixedram_fmt.blocks",
    "fixedram_fmt.presence.bitmap",
    "fixedram_fmt.presence.hostlong",
    "fixedram_fmt.stream.records",
    "fixedram_fmt.tiling",
    "fixedram_fmt.summary",
    "fixedram_fmt.container.wrapper",
    "fixedram_fmt.container.libvirt",
    "fixedram_fmt.container.locate",
    "fixedram_fmt.container.opening",
    "fixedram_fmt.dialect",
    "fixedram_fmt.loaders",
    "fixedram_fmt.knowledge",
    "fixedram_fmt.vmstate.state",
    "fixedram_fmt.vmstate.values",
    "fixedram_fmt.vmstate.description",
    "fixedram_fmt.vmstate.machine",
    "fixedram_fmt.vmstate.overview",
    "fixedram_fmt.vmstate.handcoded",
    "fixedram_fmt.memory",
    "fixedram_fmt.memory.paging",
    "fixedram_fmt.validation",
    "fixedram_fmt.comparison",
    "fixedram_fmt.digests",
    "fixedram_fmt.export",
    "fixedram_fmt.conversion",
    "fixedram_fmt.multifd.loader",
    "fixedram_fmt.multifd.saver",
    "fixedram_fmt.multifd.protocol",
    "fixedram_fmt.multifd.timeline",
    "fixedram_fmt.write.spec",
    "fixedram_fmt.write.synth",
    "fixedram_fmt.write.rewrite",
    "fixedram_fmt.io.output",
    "fixedram_fmt.mount.files",
)


_QUOTED = re.compile(r"(: |-> )'([^']*)'")


def page() -> Iterator[str]:
    yield "# Library reference"
    yield ""
    yield "Made from the docstrings by `make spec`; do not edit. What a module does not export is"
    yield "its own business and may change."
    yield ""
    shown: set[int] = set()
    for name in MODULES:
        yield from module_lines(name, shown)


def module_lines(name: str, shown: set[int]) -> Iterator[str]:
    """A module; what another one before it has exported is not shown again."""
    module = import_module(name)
    yield f"## {name}"
    yield ""
    yield from paragraph(module)
    for exported in sorted(module.__all__):
        thing = getattr(module, exported)
        if id(thing) in shown:
            continue
        shown.add(id(thing))
        if inspect.isclass(thing):
            yield from class_lines(exported, thing)
        elif callable(thing):
            yield f"### {exported}{signature(thing)}"
            yield ""
            yield from paragraph(thing)


def class_lines(name: str, thing: type) -> Iterator[str]:
    init = "" if issubclass(thing, enum.Enum) else signature(thing)
    yield f"### class {name}{init}"
    yield ""
    yield from paragraph(thing)
    if issubclass(thing, enum.Enum):
        yield ", ".join(f"`{member.name}`" for member in thing)
        yield ""
        return
    rows = [*map(attribute_line, fields_of(thing).items()), *member_lines(thing)]
    yield from rows
    if rows:
        yield ""


def fields_of(thing: type) -> dict[str, str]:
    """Fields of a data class, or of a struct, with their types as they are written."""
    if dataclasses.is_dataclass(thing):
        return {field.name: str(field.type) for field in dataclasses.fields(thing)}
    names = getattr(thing, "__struct_fields__", ())
    written_types = {}
    for one in reversed(thing.__mro__):
        written_types |= vars(one).get("__annotations__", {})
    return {name: str(written_types.get(name, "Any")) for name in names}


def attribute_line(field: tuple[str, str]) -> str:
    return f"- `{field[0]}: {field[1]}`"


def member_lines(thing: type) -> Iterator[str]:
    """Properties and methods, those of base classes of ours too, each once."""
    seen = set(fields_of(thing))
    for one in thing.__mro__:
        if not one.__module__.startswith("fixedram_fmt"):
            continue
        for member, value in vars(one).items():
            if member.startswith("_") or member in seen or not documented(value):
                continue
            seen.add(member)
            yield f"- `{written(member, value)}`: {first_line(value)}"


def documented(value: Any) -> bool:
    kinds = (staticmethod, classmethod, property)
    return inspect.isfunction(value) or isinstance(value, kinds) or hasattr(value, "attrname")


def written(name: str, value: Any) -> str:
    """A member as one would write it: methods with parameters and result, attributes with type."""
    plain = getattr(value, "__func__", value)
    if inspect.isfunction(plain):
        return f"{name}{signature(plain)}"
    getter = getattr(value, "fget", None) or getattr(value, "func", None)
    kind = getattr(getter, "__annotations__", {}).get("return")
    return f"{name}: {kind}" if kind else name


def signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [one for one in found.parameters.values() if one.name not in ("self", "cls")]
    result = inspect.Signature.empty if inspect.isclass(thing) else found.return_annotation
    shown = str(found.replace(parameters=parameters, return_annotation=result))
    # Annotations are text in these modules, which is shown as it was written.
    return "(...)" if " at 0x" in shown else _QUOTED.sub(r"\1\2", shown)


def first_line(value: Any) -> str:
    plain = getattr(value, "__func__", getattr(value, "func", value))
    text = inspect.getdoc(plain) or ""
    return " ".join(text.split("\n\n")[0].split())


def paragraph(thing: Any) -> Iterator[str]:
    text = inspect.getdoc(thing)
    if text and not text.startswith(getattr(thing, "__name__", "") + "("):
        yield text
        yield ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()))
