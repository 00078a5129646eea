"""The list of all converters."""

from __future__ import annotations

from data_tools import index_masks, levir_mci, rsicd, rsvg, rsvqa
from data_tools.converter import Converter


def converters() -> dict[str, Converter]:
    """Return all converters by name, in alphabetical order."""
    found = (
        index_masks.CONVERTER,
        levir_mci.CONVERTER,
        rsicd.CONVERTER,
        rsvg.DIOR_RSVG,
        rsvg.OPT_RSVG,
        rsvqa.LOW_RESOLUTION,
        rsvqa.HIGH_RESOLUTION,
    )
    return {converter.manifest.name: converter for converter in sorted(found, key=lambda c: c.manifest.name)}
