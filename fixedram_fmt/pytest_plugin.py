"""pytest fixtures: images made to order, for the tests of programs that read them.

Installed with the package (entry point pytest11).  Nothing is imported before a test asks.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["ImageFactory", "fixedram_image"]

_MARKER = "fixedram_fault"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(name, ...): images of fixedram_image have these faults"
        " (fixedram synth --list-faults)",
    )


@pytest.fixture(scope="session")
def _fixedram_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the session's images lie; taken away at its end, so that runs do not pile up."""
    folder = tmp_path_factory.mktemp("fixedram")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ImageFactory:
    """Makes images; the same spec and faults give the same file, made once a session.

    The files are read-only: copy one to change it.
    """

    folder: Path
    faults: tuple[str, ...] = ()

    def __call__(
        self,
        spec: Mapping[str, Any] | str | Path | None = None,
        *,
        faults: Sequence[str] = (),
        **options: Any,
    ) -> Path:
        """The path of an image.

        spec is a document or a TOML or JSON file (fixedram_fmt.write.spec.ImageSpec); options are
        fields of it and win, blocks may be written as `NAME=SIZE[:PATTERN[:DENSITY]]`.  faults come
        after those of the test's marker.  Raises SpecError or FaultError.
        """
        import msgspec

        from fixedram_fmt.io.output import replacing
        from fixedram_fmt.write.faults import fault_named
        from fixedram_fmt.write.spec import spec_of
        from fixedram_fmt.write.synth import write_image

        made = spec_of(spec, **options)
        names = (*self.faults, *faults)
        identity = msgspec.json.encode([made, names], order="sorted")
        path = self.folder / f"{hashlib.sha256(identity).hexdigest()[:16]}.img"
        if not path.exists():
            with replacing(path, force=True) as output:
                write_image(made, output, [fault_named(name) for name in names])
            path.chmod(0o444)
        return path


@pytest.fixture
def fixedram_image(request: pytest.FixtureRequest, _fixedram_folder: Path) -> ImageFactory:
    """A factory of images: `fixedram_image(blocks=["pc.ram=1M"], rounds=2)` gives a path."""
    faults = tuple(name for marker in request.node.iter_markers(_MARKER) for name in marker.args)
    return ImageFactory(_fixedram_folder, faults)
