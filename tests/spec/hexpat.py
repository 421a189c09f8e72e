"""A parser for the part of ImHex's pattern language that spec/fixedram.hexpat is written in.

ImHex cannot be had from a package registry, so the pattern is run by this and hexpat_run.py. What
is not in here is an error, even where ImHex takes it: the pattern cannot drift into syntax that
nobody checks. The grammar is that of docs.werwolv.net/pattern-language; levels of operators are
those of its parser, in which `&` binds closer than `==`.
"""

from __future__ import annotations

import re
from typing import Any

from .hexpat_syntax import (
    ATTRIBUTES,
    BIT_OR,
    BUILTIN,
    KEYWORDS,
    LEVELS,
    PRAGMAS,
    TOKEN,
    Node,
    PatternSyntaxError,
    Program,
)


class Parser:
    """Recursive descent over the tokens of one file."""

    def __init__(self, source: str) -> None:
        self.program = Program()
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        lines = source.split("\n")
        for number, line in enumerate(lines):
            if line.startswith("#"):
                self.pragma(line, number + 1)
                lines[number] = ""
        self.tokenise("\n".join(lines))

    def pragma(self, line: str, number: int) -> None:
        match = re.fullmatch(r"#pragma (\w+) (.+)", line)
        if match is None or match[1] not in PRAGMAS or match[1] in self.program.pragmas:
            raise PatternSyntaxError(f"{number}: {line}")
        self.program.pragmas[match[1]] = match[2]

    def tokenise(self, source: str) -> None:
        at, line = 0, 1
        while at < len(source):
            match = TOKEN.match(source, at)
            if match is None:
                raise PatternSyntaxError(f"{line}: no token at {source[at : at + 20]!r}")
            kind, text = str(match.lastgroup), match[0]
            if kind == "word" and text in KEYWORDS:
                kind = "keyword"
            if kind != "space":
                self.tokens.append((kind, text, line))
            line += text.count("\n")
            at = match.end()
        self.tokens.append(("end", "the end", line))

    # -- tokens ---------------------------------------------------------------------------------

    @property
    def line(self) -> int:
        return self.tokens[self.at][2]

    def peek(self, *texts: str) -> bool:
        ahead = self.tokens[self.at : self.at + len(texts)]
        return [t[1] for t in ahead if t[0] != "text"] == list(texts)

    def accept(self, text: str) -> bool:
        if found := self.peek(text):
            self.at += 1
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise PatternSyntaxError(f"{self.line}: {text!r} wanted, {self.tokens[self.at][1]!r}")

    def take(self, kind: str) -> str:
        found, text, line = self.tokens[self.at]
        if found != kind:
            raise PatternSyntaxError(f"{line}: a {kind} wanted, {text!r} found")
        self.at += 1
        return text

    def path(self, separator: str) -> str:
        words = [self.take("word")]
        while self.accept(separator):
            words.append(self.take("word"))
        return separator.join(words)

    # -- expressions ----------------------------------------------------------------------------

    def expression(self, level: int = 0, *, in_case: bool = False) -> Node:
        if level == len(LEVELS):
            return self.unary()
        left = self.expression(level + 1, in_case=in_case)
        while self.tokens[self.at][1] in LEVELS[level] and not (in_case and level == BIT_OR):
            line, sign = self.line, self.take("sign")
            right = self.expression(level + 1, in_case=in_case)
            left = Node("binary", line, {"sign": sign, "left": left, "right": right})
        return left

    def unary(self) -> Node:
        line = self.line
        if self.accept("!"):
            return Node("not", line, {"of": self.unary()})
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.accept("$"):
            return Node("here", line)
        return self.value_or_name(line)

    def value_or_name(self, line: int) -> Node:
        kind, text, _ = self.tokens[self.at]
        if kind in ("number", "text") or text in ("true", "false"):
            self.at += 1
            plain = {"true": 1, "false": 0}
            value: Any = text[1:-1] if kind == "text" else plain.get(text)
            return Node("value", line, {"value": int(text, 0) if value is None else value})
        start = self.at
        name = self.path("::")
        if self.accept("("):
            return Node("call", line, {"name": name, "arguments": self.listed(")")})
        if "::" in name:
            return Node("entry", line, {"name": name})
        self.at = start
        return Node("path", line, {"names": self.path(".").split(".")})

    def listed(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while not self.accept(closing):
            if found:
                self.expect(",")
            found.append(self.expression())
        return found

    # -- statements -----------------------------------------------------------------------------

    def statement(self, *, inside: str) -> Node:
        """One statement of a struct, of a function, or of the file itself."""
        node = self.bare_statement(inside)
        self.program.statements.append(node)
        return node

    def bare_statement(self, inside: str) -> Node:
        line = self.line
        if self.accept("if"):
            return self.conditional(line, inside)
        if self.accept("match"):
            return self.match(line, inside)
        if inside == "function" and self.accept("while"):
            self.expect("(")
            condition = self.expression()
            self.expect(")")
            body = self.body(inside)
            return Node("while", line, {"condition": condition, "body": body})
        if inside == "function" and self.accept("return"):
            node = Node("return", line, {"value": self.expression()})
        elif inside == "struct" and self.accept("break"):
            node = Node("break", line)
        elif self.peek("$", "=") and inside == "struct":
            self.at += 2
            node = Node("move", line, {"value": self.expression()})
        else:
            node = self.declaration_or_call(line, inside)
        self.expect(";")
        return node

    def declaration_or_call(self, line: int, inside: str) -> Node:
        start = self.at
        if self.tokens[self.at][0] == "word":
            name = self.path("::")
            if self.accept("("):
                call = Node("call", line, {"name": name, "arguments": self.listed(")")})
                return Node("invoke", line, {"call": call})
            if "::" not in name and self.accept("="):
                return Node("assign", line, {"name": name, "value": self.expression()})
            self.at = start
        return self.declaration(line, inside)

    def declaration(self, line: int, inside: str) -> Node:
        endian, type_name = self.type()
        parts: dict[str, Any] = {"type": type_name, "endian": endian, "name": self.take("word")}
        parts |= {"array": None, "condition": None, "place": None, "value": None, "attributes": []}
        if self.peek("[") and not self.peek("[", "["):
            self.at += 1
            if self.accept("while"):
                self.expect("(")
                parts["condition"] = self.expression()
                self.expect(")")
            else:
                parts["array"] = self.expression()
            self.expect("]")
        if self.accept("@"):
            parts["place"] = self.expression()
        elif self.accept("="):
            parts["value"] = self.expression()
        elif inside == "file":
            self.expect("in")
        if self.peek("[", "["):
            parts["attributes"] = self.attributes()
        is_array = parts["array"] is not None or parts["condition"] is not None
        odd = [
            parts["value"] is not None and (is_array or type_name not in BUILTIN),
            parts["condition"] is not None and type_name in BUILTIN,
            type_name in ("str", "bool") and (is_array or parts["place"] is not None),
            # ImHex has strings of changing length in functions and in the file only.
            inside == "struct" and type_name == "str",
            inside == "function" and (parts["value"] is None or is_array),
            inside == "file" and is_array,
        ]
        if any(odd):
            raise PatternSyntaxError(f"{line}: no such declaration")
        kind = "place" if parts["value"] is None else "local"
        return Node("input" if kind == "place" and self.peek_input(parts, inside) else kind, line,
                    parts)  # fmt: skip

    @staticmethod
    def peek_input(parts: dict[str, Any], inside: str) -> bool:
        return inside == "file" and parts["place"] is None

    def type(self) -> tuple[str, str]:
        endian = "big"
        if self.peek("le") or self.peek("be"):
            endian = {"le": "little", "be": "big"}[self.take("keyword")]
        kind, text, line = self.tokens[self.at]
        self.at += 1
        known = text in BUILTIN or text in self.program.structs or text in self.program.enums
        if kind not in ("word", "keyword") or not known:
            raise PatternSyntaxError(f"{line}: {text!r} is no type that has been declared")
        return endian, text

    def attributes(self) -> list[tuple[str, Node | None]]:
        self.expect("[")
        self.expect("[")
        found: list[tuple[str, Node | None]] = []
        while not found or self.accept(","):
            line, name = self.line, self.take("word")
            arguments = self.listed(")") if self.accept("(") else []
            if ATTRIBUTES.get(name) != len(arguments):
                raise PatternSyntaxError(f"{line}: attribute {name}")
            found.append((name, arguments[0] if arguments else None))
        self.expect("]")
        self.expect("]")
        return found

    def body(self, inside: str) -> list[Node]:
        if not self.accept("{"):
            return [self.statement(inside=inside)]
        found: list[Node] = []
        while not self.accept("}"):
            found.append(self.statement(inside=inside))
        return found

    def conditional(self, line: int, inside: str) -> Node:
        # In the file itself it is a function's.
        inside = "function" if inside == "file" else inside
        self.expect("(")
        condition = self.expression()
        self.expect(")")
        parts = {"condition": condition, "body": self.body(inside), "otherwise": []}
        if self.accept("else"):
            parts["otherwise"] = self.body(inside)
        return Node("if", line, parts)

    def match(self, line: int, inside: str) -> Node:
        self.expect("(")
        parts: dict[str, Any] = {"value": self.expression(), "cases": [], "otherwise": []}
        self.expect(")")
        self.expect("{")
        while not self.accept("}"):
            self.expect("(")
            values: list[Node] = []
            if not self.accept("_"):
                values.append(self.expression(in_case=True))
                while self.accept("|"):
                    values.append(self.expression(in_case=True))
            self.expect(")")
            self.expect(":")
            body = self.body(inside)
            if values:
                parts["cases"].append((values, body))
            else:
                parts["otherwise"] = body
        return Node("match", line, parts)

    # -- the file -------------------------------------------------------------------------------

    def parse(self) -> Program:
        while self.tokens[self.at][0] != "end":
            line = self.line
            if self.accept("import"):
                self.program.imports.add(self.path("."))
            elif self.accept("enum"):
                self.enum(line)
            elif self.accept("struct"):
                self.struct(line)
            elif self.accept("fn"):
                self.function(line)
            else:
                self.program.body.append(self.statement(inside="file"))
                continue
            self.expect(";")
        return self.program

    def new_name(self) -> str:
        name = self.take("word")
        if name in {**self.program.enums, **self.program.structs, **self.program.functions}:
            raise PatternSyntaxError(f"{self.line}: {name} is declared twice")
        return name

    def enum(self, line: int) -> None:
        name = self.new_name()
        self.expect(":")
        endian, base = self.type()
        if endian != "big" or not base.startswith("u"):
            raise PatternSyntaxError(f"{line}: an enum of {base}")
        entries: dict[str, int] = {}
        self.expect("{")
        while not entries or self.accept(","):
            entry = self.take("word")
            self.expect("=")
            entries[entry] = int(self.take("number"), 0)
        self.expect("}")
        self.program.enums[name] = Node("enum", line, {"base": base, "entries": entries})

    def struct(self, line: int) -> None:
        name = self.new_name()
        self.expect("{")
        members: list[Node] = []
        while not self.accept("}"):
            members.append(self.statement(inside="struct"))
        attributes = self.attributes() if self.peek("[", "[") else []
        self.program.structs[name] = Node(
            "struct", line, {"name": name, "body": members, "attributes": attributes}
        )

    def function(self, line: int) -> None:
        name = self.new_name()
        parameters: list[tuple[str, str]] = []
        self.expect("(")
        while not self.accept(")"):
            if parameters:
                self.expect(",")
            parameters.append((self.type()[1], self.take("word")))
        self.expect("{")
        self.at -= 1
        body = self.body("function")
        self.program.functions[name] = Node(
            "function", line, {"name": name, "parameters": parameters, "body": body}
        )


def parse(source: str) -> Program:
    """The pattern; PatternSyntaxError where it holds something that this does not take."""
    return Parser(source).parse()
