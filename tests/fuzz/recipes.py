"""Inputs that can be made again: a seed, the mutations of it, and the command that is given it."""

from __future__ import annotations

import base64
import json
import lzma
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuzz.entries import FuzzError, Ran, run
from fuzz.mutations import mutate, mutate_text
from fuzz.seeds import documents, seeds

__all__ = ["Kept", "Recipe", "attempt", "kept", "smaller"]

#: So much of two reasons must be the same for them to be one.
_ALIKE = 12


@dataclass(frozen=True, slots=True)
class Kept:
    """An input as bytes, for a recipe makes another one when mutations change."""

    why: str
    words: list[str]
    image: bytes
    other: bytes
    document: str
    #: `signal` or `changing`, and the number that decides when.
    trouble: tuple[str, int] | None = None

    def as_json(self) -> str:
        """As a file of found/ has it."""
        packed = {
            name: base64.b85encode(lzma.compress(raw)).decode()
            for name, raw in (("image", self.image), ("other", self.other))
        }
        head: dict[str, Any] = {"why": self.why, "words": self.words, "document": self.document}
        if self.trouble:
            head["trouble"] = list(self.trouble)
        return json.dumps({**head, **packed}, indent=1) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> Kept:
        """What as_json() wrote."""
        told: dict[str, Any] = json.loads(path.read_text())
        image, other = (lzma.decompress(base64.b85decode(told[x])) for x in ("image", "other"))
        name, step = told.get("trouble") or ("", 0)
        trouble = (name, step) if name else None
        return cls(told["why"], told["words"], image, other, told["document"], trouble)


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image made of a seed in steps, for a command; and a document beside it, made likewise."""

    seed: str
    steps: tuple[int, ...]
    words: tuple[str, ...]
    document: tuple[str, tuple[int, ...]] | None = None
    trouble: tuple[str, int] | None = None

    def image(self) -> bytes:
        """The bytes of the mutant."""
        raw, others = seeds()[self.seed], list(seeds().values())
        for step in self.steps:
            raw = mutate(raw, others, step)
        return raw

    def text(self) -> str:
        """The mutated document."""
        name, steps = self.document or ("", ())
        text = documents().get(name, "")
        for step in steps:
            text = mutate_text(text, step)
        return text


def kept(recipe: Recipe, why: str) -> Kept:
    """The recipe's input as bytes."""
    # Few commands look at the second image, and it is large.
    other = seeds()[recipe.seed] if "{other}" in recipe.words else b""
    return Kept(why, list(recipe.words), recipe.image(), other, recipe.text(), recipe.trouble)


def attempt(given: Kept, folder: Path) -> Ran:
    """One run in a folder of its own; FuzzError when something does not hold."""
    places = {name: folder / name for name in ("image", "other", "document")}
    places["image"].write_bytes(given.image)
    places["other"].write_bytes(given.other)
    places["document"].write_text(given.document, "utf-8", "surrogatepass")
    places["out"] = folder / "made" / "out"
    return run(given.words, {name: str(path) for name, path in places.items()}, given.trouble)


def smaller(recipe: Recipe, folder: Path, why: str) -> Recipe:
    """The recipe without the mutations that it can do without."""
    for index in reversed(range(len(recipe.steps))):
        fewer = replace(recipe, steps=recipe.steps[:index] + recipe.steps[index + 1 :])
        try:
            attempt(kept(fewer, why), folder)
        except FuzzError as error:
            if str(error)[:_ALIKE] == why[:_ALIKE]:
                recipe = fewer
    return recipe
