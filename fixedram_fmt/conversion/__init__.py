"""Ordinary streams made into fixed layouts, and back; exports what others need."""

from fixedram_fmt.conversion.conversion import (
    MAPPED_RAM,
    STREAM,
    Conversion,
    ConvertOptions,
    dialect_of,
)

__all__ = ["MAPPED_RAM", "STREAM", "Conversion", "ConvertOptions", "dialect_of"]
