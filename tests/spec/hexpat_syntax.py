"""Words of ImHex's pattern language that spec/fixedram.hexpat uses, and what is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

BUILTIN = {
    **{f"u{bits}": bits // 8 for bits in (8, 16, 24, 32, 48, 64, 96, 128)},
    "char": 1,
    "bool": 1,
    "str": 0,
}
#: Attributes, with the number of their arguments.
ATTRIBUTES = {"color": 1, "name": 1, "comment": 1, "format": 1, "hidden": 0, "highlight_hidden": 0}
PRAGMAS = frozenset(
    ("author", "description", "magic", "base_address", "endian", "array_limit", "pattern_limit")
)
KEYWORDS = {
    "if", "else", "while", "for", "match", "return", "break", "continue", "struct", "enum",
    "union", "fn", "bitfield", "unsigned", "signed", "le", "be", "parent", "namespace", "using",
    "this", "in", "out", "ref", "null", "const", "_", "try", "catch", "import", "as", "is",
    "from", "true", "false", "addressof", "sizeof", "typenameof", "padding", "auto", "any", "s8",
    "s16", "s24", "s32", "s48", "s64", "s96", "s128", "float", "double", "char16",
    *BUILTIN,
}  # fmt: skip
TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<number>0x[0-9A-Fa-f]+|0|[1-9][0-9]*)(?![0-9A-Za-z_.])
    |(?P<text>"(?:[^"\\\n])*")
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>::|==|!=|&&|\|\||>>|<<|>=|<=|[-+*/%&|^~!<>=?:;,.()\[\]{}@$])""",
    re.VERBOSE | re.DOTALL,
)
#: Binary operators, the loosest first.
LEVELS = (
    ("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("|",), ("^",), ("&",), ("<<", ">>"),
    ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
BIT_OR = 4


class PatternSyntaxError(Exception):
    """Something that this does not take."""


@dataclass(eq=False)
class Node:
    """An expression or a statement: what it is, where, and its parts by name."""

    kind: str
    line: int
    parts: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["parts"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Program:
    """A pattern, read."""

    pragmas: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    enums: dict[str, Node] = field(default_factory=dict)
    structs: dict[str, Node] = field(default_factory=dict)
    functions: dict[str, Node] = field(default_factory=dict)
    #: what is executed, in order
    body: list[Node] = field(default_factory=list)
    #: each statement anywhere
    statements: list[Node] = field(default_factory=list)
