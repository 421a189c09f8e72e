"""volatility3 with this project's layer, and images opened with it.

What drives volatility3 and reads its results is, by its licence, offered under that too: this file
may be used under the Volatility Software License 1.0 as well as under the MIT License.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import absent
from fixedram_fmt.forensics import volatility_path as plugin_folder
from support.volatility import Opener


@pytest.fixture(scope="session")
def vol() -> Any:
    """volatility3's modules, with our folder among its plugins."""
    if importlib.util.find_spec("volatility3") is None:
        absent("the Python package volatility3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import volatility3.plugins
        from volatility3.framework import constants, contexts, exceptions
        from volatility3.framework.layers import physical, scanners
        from volatility3.plugins import layerwriter

        path = volatility3.plugins.__path__
        volatility3.plugins.__path__ = [str(plugin_folder()), *path]
        layer = importlib.import_module("volatility3.plugins.fixedram_layer")
        volatility3.plugins.__path__ = path
    return SimpleNamespace(
        constants=constants,
        contexts=contexts,
        exceptions=exceptions,
        layer=layer,
        layerwriter=layerwriter,
        physical=physical,
        scanners=scanners,
    )


@pytest.fixture
def guest(vol: Any) -> Opener:
    @contextmanager
    def opened(path: Path) -> Iterator[Any]:
        context = vol.contexts.Context()
        context.config["file.location"] = path.as_uri()
        base = vol.physical.FileLayer(context, "file", "base")
        context.add_layer(base)
        try:
            layer = vol.layer.FixedRamStacker.stack(context, "base")
            if layer is not None:
                context.add_layer(layer)
            yield layer
        finally:
            base.destroy()

    return opened
