"""The rules, one module an area; importing all of them fills the registry."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from fixedram_fmt.validation.rule import AREAS, REGISTRY, Rule

__all__ = ["all_rules"]


def all_rules() -> dict[str, Rule]:
    """Every rule by its id, area by area."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    areas = list(AREAS)
    return dict(sorted(REGISTRY.items(), key=lambda item: (areas.index(item[0][0]), item[0])))
