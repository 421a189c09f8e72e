"""The reference of the library, made from its docstrings: `python spec/api.py > spec/API.md`."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Modules that users import from, in the order in which one meets them.
MODULES = (
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


def page() -> Iterator[str]:
    yield "# Library reference"
    yield ""
    yield "Made from the docstrings by `make spec`; do not edit. What a module does not export is"
    yield "its own business and may change."
    yield ""
    for name in MODULES:
        yield from module_lines(name)


def module_lines(name: str) -> Iterator[str]:
    module = import_module(name)
    yield f"## {name}"
    yield ""
    yield from paragraph(module)
    for exported in sorted(module.__all__):
        thing = getattr(module, exported)
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
    fields = (
        {field.name for field in dataclasses.fields(thing)}
        if dataclasses.is_dataclass(thing)
        else set()
    )
    rows = [
        (member, value)
        for member, value in vars(thing).items()
        if not member.startswith("_") and member not in fields and documented(value)
    ]
    for member, value in rows:
        yield f"- `{written(member, value)}`: {first_line(value)}"
    if rows:
        yield ""


def documented(value: Any) -> bool:
    kinds = (staticmethod, classmethod, property)
    return inspect.isfunction(value) or isinstance(value, kinds) or hasattr(value, "attrname")


def written(name: str, value: Any) -> str:
    """A member as one would write it: methods with their parameters, attributes without."""
    plain = getattr(value, "__func__", value)
    return f"{name}{signature(plain)}" if inspect.isfunction(plain) else name


def signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [one for one in found.parameters.values() if one.name not in ("self", "cls")]
    shown = found.replace(
        parameters=[one.replace(annotation=inspect.Parameter.empty) for one in parameters],
        return_annotation=inspect.Signature.empty,
    )
    return "(...)" if " at 0x" in str(shown) else str(shown)


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
