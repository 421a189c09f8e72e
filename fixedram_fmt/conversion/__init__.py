"""Ordinary streams made into fixed layouts, and back; exports what others need."""

from fixedram_fmt.conversion.conversion import (
    MAPPED_RAM,
    STREAM,
    Conversion,
    ConvertOptions,
    Located,
)

__all__ = ["MAPPED_RAM", "STREAM", "Conversion", "ConvertOptions", "Located"]
