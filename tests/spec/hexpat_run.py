"""Runs a pattern that hexpat.py has read over a file, and is stricter than ImHex where it can.

Everything that would be an error in ImHex, or differ between its versions, is one here: a read or a
placement past the end, a number that does not fit its variable, a difference below 0, a name twice
in one scope. Both sides of `&&` and `||` are evaluated, as ImHex does.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hexpat_syntax import BUILTIN, Node, Program

ENDIAN = {"std::mem::Endian::Big": "big", "std::mem::Endian::Little": "little"}
#: ImHex's default.
EVAL_DEPTH = 32
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "||": lambda a, b: bool(a) or bool(b),
    "&&": lambda a, b: bool(a) and bool(b),
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


class PatternError(Exception):
    """What ImHex would end the evaluation with."""


@dataclass(eq=False)
class Pattern:
    """Something placed over bytes; members by name, in the order in which they were placed."""

    type: str
    offset: int
    size: int = 0
    value: Any = None
    members: dict[str, Pattern] = field(default_factory=dict)
    entries: list[Pattern] = field(default_factory=list)
    label: str = ""
    comment: str = ""
    is_local: bool = False
    #: what its format function makes of it
    shown: str = ""

    def __getitem__(self, name: str) -> Pattern:
        return self.members[name]

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def walk(self) -> Iterator[Pattern]:
        """This and all below it that is no local variable."""
        if not self.is_local:
            yield self
        for below in [*self.members.values(), *self.entries]:
            yield from below.walk()


class ReturnedError(Exception):
    """A function's end."""


class BrokenError(Exception):
    """The end of a struct and of the array it is in."""


class Machine:
    """One run over one file."""

    def __init__(self, program: Program, data: mmap.mmap | bytes, **inputs: int) -> None:
        self.program = program
        self.data = data
        self.inputs = inputs
        self.offset = 0
        self.globals: dict[str, Pattern] = {}
        self.scopes: list[dict[str, Pattern]] = [self.globals]
        self.in_function = [True]
        self.warnings: list[str] = []
        #: statements that were executed
        self.reached: set[Node] = set()
        self.patterns = 0
        self.array_limit = int(program.pragmas["array_limit"], 0)
        self.pattern_limit = int(program.pragmas["pattern_limit"], 0)
        self.builtin: dict[str, Callable[..., Any]] = {
            "std::mem::size": lambda: len(self.data),
            "std::mem::read_unsigned": self.read_unsigned,
            "std::mem::read_string": lambda at, size: self.read(at, size).decode("latin-1"),
            "std::mem::find_sequence_in_range": self.find,
            "std::format": lambda form, *values: str(form).format(*values),
            "std::warning": self.warnings.append,
        }
        self.evaluators: dict[str, Callable[[Node], Any]] = {
            "value": lambda node: node.value,
            "path": self.look_up,
            "binary": self.binary,
            "call": self.call,
            "here": lambda _: self.offset,
            "not": lambda node: not self.evaluate(node.of),
            "entry": self.entry,
        }

    def run(self) -> dict[str, Pattern]:
        """Execute the file; what it placed, by name."""
        placed = {}
        for node in self.program.body:
            if node.kind == "input":
                self.reached.add(node)
                value = self.coerce(node.type, self.inputs.get(node.name, 0), node)
                self.globals[node.name] = Pattern(node.type, 0, value=value, is_local=True)
            elif node.kind == "place":
                self.reached.add(node)
                placed[node.name] = self.place(node)
            else:
                self.execute(node)
        return placed

    # -- functions of the library ---------------------------------------------------------------

    def read(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > len(self.data):
            raise PatternError(f"{size} bytes at {at:#x} are past the end")
        return bytes(self.data[at : at + size])

    def read_unsigned(self, at: int, size: int, endian: str) -> int:
        return int.from_bytes(self.read(at, size), "big" if endian == "big" else "little")

    def find(self, occurrence: int, start: int, stop: int, *sequence: int) -> int:
        if occurrence or stop <= start or stop > len(self.data):
            raise PatternError("a search that this does not know")
        # ImHex does not find what ends exactly at `stop`.
        found = self.data.find(bytes(sequence), start, stop - 1)
        return found if found >= 0 else (1 << 128) - 1

    # -- expressions ----------------------------------------------------------------------------

    def evaluate(self, node: Node) -> Any:
        return self.evaluators[node.kind](node)

    def entry(self, node: Node) -> Any:
        if node.name in ENDIAN:
            return ENDIAN[node.name]
        enum, _, entry = node.name.rpartition("::")
        return self.program.enums[enum].entries[entry]

    def binary(self, node: Node) -> Any:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if isinstance(left, str) != isinstance(right, str):
            raise PatternError(f"{node.line}: {left!r} {node.sign} {right!r}")
        if isinstance(left, str) and node.sign not in ("==", "!=", "+"):
            raise PatternError(f"{node.line}: {left!r} {node.sign} {right!r}")
        if node.sign in "/%" and right == 0:
            raise PatternError(f"{node.line}: division by 0")
        result = OPERATORS[node.sign](left, right)
        if isinstance(result, int) and not 0 <= result < 1 << 128:
            raise PatternError(f"{node.line}: {left} {node.sign} {right} is no u128")
        return result

    def look_up(self, node: Node) -> Any:
        first, *rest = node.names
        found = self.scopes[-1].get(first) or self.globals.get(first)
        if found is None:
            raise PatternError(f"{node.line}: no variable {first}")
        for name in rest:
            if name not in found.members:
                raise PatternError(f"{node.line}: no member {name} in {node.names}")
            found = found.members[name]
        if found.value is None:
            raise PatternError(f"{node.line}: {node.names} is no value")
        return found.value

    def call(self, node: Node) -> Any:
        arguments = [self.evaluate(argument) for argument in node.arguments]
        module = node.name.rpartition("::")[0].replace("::", ".")
        if node.name in self.builtin:
            if ("std.io" if module == "std" else module) not in self.program.imports:
                raise PatternError(f"{node.line}: {node.name} is not imported")
            return self.builtin[node.name](*arguments)
        return self.apply(node.name, arguments, node)

    def apply(self, name: str, arguments: list[Any], node: Node) -> Any:
        function = self.program.functions.get(name)
        if function is None or len(arguments) != len(function.parameters):
            raise PatternError(f"{node.line}: no function {name} of {len(arguments)} parameters")
        scope = {
            parameter: Pattern(type_, 0, value=self.coerce(type_, argument, node), is_local=True)
            for (type_, parameter), argument in zip(function.parameters, arguments, strict=True)
        }
        self.push(scope, node, in_function=True)
        try:
            self.all_of(function.body)
        except ReturnedError as returned:
            return returned.args[0]
        finally:
            self.pop()
        return None

    def push(self, scope: dict[str, Pattern], node: Node, *, in_function: bool) -> None:
        if len(self.scopes) > EVAL_DEPTH:
            raise PatternError(f"{node.line}: too deep")
        self.scopes.append(scope)
        self.in_function.append(in_function)

    def pop(self) -> None:
        self.scopes.pop()
        self.in_function.pop()

    def coerce(self, type_: str, value: Any, node: Node) -> Any:
        if type_ in ("str", "bool"):
            if isinstance(value, str) != (type_ == "str"):
                raise PatternError(f"{node.line}: {value!r} is no {type_}")
            return value if type_ == "str" else bool(value)
        if not isinstance(value, int) or not 0 <= value < 1 << 8 * BUILTIN[type_]:
            raise PatternError(f"{node.line}: {value!r} does not fit {type_}")
        return int(value)

    # -- statements -----------------------------------------------------------------------------

    def execute(self, node: Node) -> None:
        self.reached.add(node)
        getattr(self, f"execute_{node.kind}")(node)

    def all_of(self, body: list[Node]) -> None:
        for statement in body:
            self.execute(statement)

    def execute_invoke(self, node: Node) -> None:
        self.call(node.call)

    def execute_return(self, node: Node) -> None:
        raise ReturnedError(self.evaluate(node.value))

    def execute_break(self, node: Node) -> None:
        raise BrokenError(node)

    def execute_move(self, node: Node) -> None:
        self.offset = self.evaluate(node.value)
        if self.offset > len(self.data):
            raise PatternError(f"{node.line}: $ = {self.offset:#x} is past the end")

    def execute_local(self, node: Node) -> None:
        value = self.coerce(node.type, self.evaluate(node.value), node)
        self.declare(node, Pattern(node.type, 0, value=value, is_local=True))

    def execute_assign(self, node: Node) -> None:
        found = self.scopes[-1].get(node.name) or self.globals.get(node.name)
        if found is None or not found.is_local:
            raise PatternError(f"{node.line}: {node.name} is no variable")
        found.value = self.coerce(found.type, self.evaluate(node.value), node)

    def execute_while(self, node: Node) -> None:
        while self.evaluate(node.condition):
            self.block(node.body)

    def execute_if(self, node: Node) -> None:
        self.block(node.body if self.evaluate(node.condition) else node.otherwise)

    def execute_match(self, node: Node) -> None:
        value = self.evaluate(node.value)
        for values, body in node.cases:
            if value in [self.evaluate(case) for case in values]:
                self.block(body)
                return
        self.block(node.otherwise)

    def block(self, body: list[Node]) -> None:
        """In a function what a block declares is gone behind it; in a struct it stays."""
        before = set(self.scopes[-1])
        self.all_of(body)
        if self.in_function[-1]:
            for name in set(self.scopes[-1]) - before:
                del self.scopes[-1][name]

    def execute_place(self, node: Node) -> None:
        self.declare(node, self.place(node))

    def declare(self, node: Node, pattern: Pattern) -> None:
        if node.name in self.scopes[-1]:
            raise PatternError(f"{node.line}: {node.name} twice in one scope")
        self.scopes[-1][node.name] = pattern

    # -- placing --------------------------------------------------------------------------------

    def place(self, node: Node) -> Pattern:
        behind = self.offset
        if node.place is not None:
            self.offset = self.evaluate(node.place)
        if self.offset > len(self.data):
            raise PatternError(f"{node.line}: {node.name} at {self.offset:#x} is past the end")
        if node.condition is not None:
            pattern = self.dynamic_array(node)
        elif node.array is not None:
            pattern = self.static_array(node)
        else:
            pattern = self.one(node)
        if node.place is not None:
            self.offset = behind
        self.attribute(node.attributes, pattern, node)
        return pattern

    def one(self, node: Node) -> Pattern:
        self.count(node)
        if node.type in self.program.structs:
            return self.struct(self.program.structs[node.type])
        enum = self.program.enums.get(node.type)
        size = BUILTIN[enum.base if enum else node.type]
        data = self.read(self.offset, size)
        value = int.from_bytes(data, "little" if node.endian == "little" else "big")
        pattern = Pattern(node.type, self.offset, size, value)
        self.offset += size
        return pattern

    def count(self, node: Node) -> None:
        self.patterns += 1
        if self.patterns > self.pattern_limit:
            raise PatternError(f"{node.line}: too many patterns")

    def static_array(self, node: Node) -> Pattern:
        self.count(node)
        size = self.evaluate(node.array)
        if node.type not in ("u8", "char") or self.offset + size > len(self.data):
            raise PatternError(f"{node.line}: {node.type} {node.name}[{size}] at {self.offset:#x}")
        value = self.read(self.offset, size).decode("latin-1") if node.type == "char" else None
        pattern = Pattern(f"{node.type}[]", self.offset, size, value)
        self.offset += size
        return pattern

    def dynamic_array(self, node: Node) -> Pattern:
        struct = self.program.structs[node.type]
        pattern = Pattern(f"{node.type}[]", self.offset)
        broken = False
        while not broken and self.evaluate(node.condition):
            self.count(node)
            if len(pattern.entries) > self.array_limit:
                raise PatternError(f"{node.line}: too many entries")
            entry = self.struct(struct, in_array=True)
            broken = entry.value == "broken"
            entry.value = None
            pattern.entries.append(entry)
        pattern.size = self.offset - pattern.offset
        return pattern

    def struct(self, struct: Node, *, in_array: bool = False) -> Pattern:
        pattern = Pattern(struct.name, self.offset)
        self.push(pattern.members, struct, in_function=False)
        try:
            self.all_of(struct.body)
        except BrokenError as broken:
            if not in_array:
                raise PatternError(f"{broken.args[0].line}: break, but in no array") from None
            pattern.value = "broken"
        pattern.size = self.offset - pattern.offset
        self.attribute(struct.attributes, pattern, struct)
        self.pop()
        return pattern

    def attribute(
        self, attributes: list[tuple[str, Node | None]], pattern: Pattern, node: Node
    ) -> None:
        for name, argument in attributes:
            value = self.evaluate(argument) if argument is not None else ""
            if not isinstance(value, str):
                raise PatternError(f"{node.line}: {name}({value!r})")
            if name == "color" and not re.fullmatch("[0-9A-F]{6}", value):
                raise PatternError(f"{node.line}: no color: {value}")
            if name == "name":
                pattern.label = value
            if name == "comment":
                pattern.comment = value
            if name == "format":
                pattern.shown = self.apply(value, [pattern.value], node)


def run(program: Program, path: Path, **inputs: int) -> tuple[Pattern, Machine]:
    """Run the pattern over a file; its `image`, and the machine with what else there is to see."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        machine = Machine(program, data, **inputs)
        return machine.run()["image"], machine
