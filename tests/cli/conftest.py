"""Images that several tests of the command take."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.faulty_images import LEVELS, image


@pytest.fixture(scope="session")
def levels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each level an image of that name."""
    folder = tmp_path_factory.mktemp("levels")
    return {
        level: image(folder / f"{level}.img", *faults, **spec)
        for level, (faults, spec, _) in LEVELS.items()
    }
