"""The list of all converters."""

from __future__ import annotations

from data_tools import dior_rsvg, index_masks, levir_mci, rsicd, rsvqa
from data_tools.converter import Converter


def converters() -> dict[str, Converter]:
    """Return all converters by name, in alphabetical order."""
    found = (
        dior_rsvg.CONVERTER,
        index_masks.CONVERTER,
        levir_mci.CONVERTER,
        rsicd.CONVERTER,
        rsvqa.LOW_RESOLUTION,
        rsvqa.HIGH_RESOLUTION,
    )
    return {converter.manifest.name: converter for converter in sorted(found, key=lambda c: c.manifest.name)}
