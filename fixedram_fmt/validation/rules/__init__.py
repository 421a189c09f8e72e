"""The rules, one module an area; importing all of them fills the registry."""

from __future__ import annotations

from importlib import import_module

from fixedram_fmt.validation.rule import REGISTRY, Rule

__all__ = ["all_rules"]

_MODULES = (
    "container",
    "domain",
    "stream",
    "sections",
    "commands",
    "configuration",
    "ram",
    "deltas",
    "blocklist",
    "headers",
    "regions",
    "bitmap",
    "pages",
    "devices",
    "sync",
    "destination",
)


def all_rules() -> dict[str, Rule]:
    """Every rule by its id, area by area."""
    for name in _MODULES:
        import_module(f"{__name__}.{name}")
    areas = {area: number for number, area in enumerate("CSGRLBPDYT")}
    return dict(sorted(REGISTRY.items(), key=lambda item: (areas[item[0][0]], item[0])))
