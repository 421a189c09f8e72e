"""Which files of spec/ are made here, and their content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fixedram_fmt.results import dumps
from fixedram_fmt.validation.catalogue import markdown
from fixedram_fmt.write.spec import json_schema
from specification.document import parts, render
from specification.schemas import schemas
from specification.vectors import documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EXAMPLE", "made_files"]

#: The sample that FORMAT.md takes apart.
EXAMPLE = "avr-uno-11.1.img.xz"


def made_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, content) of each file in folder, the folder spec/ beside samples/."""
    document = folder / "FORMAT.md"
    sample = folder.parent / "samples" / EXAMPLE
    yield document, render(document.read_text("utf-8"), parts(sample))
    yield folder / "RULES.md", markdown()
    for name, schema in {**schemas(), "synth-spec": json_schema()}.items():
        yield folder / "schemas" / f"{name}.schema.json", json.dumps(schema, indent=1) + "\n"
    for name, vectors in documents():
        yield folder / "vectors" / f"{name}.json", dumps(vectors, 1) + "\n"
