"""Masks for programs: COCO run lengths or a PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

MaskFormat = Literal["rle", "png", "none"]  # none: shares of the labels only


def run_lengths(selected_HW: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run lengths: column by column, the first count is of unselected pixels.

    `pycocotools.mask.frPyObjects` reads the result.
    """
    flat = selected_HW.ravel(order="F")
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return {"size": list(selected_HW.shape), "counts": [0, *counts] if flat[0] else counts}


def write_mask(
    mask_HW: npt.NDArray[Any], labels: Sequence[str], form: Literal["rle", "png"]
) -> dict[str, Any]:
    """A class map in JSON types.

    ``rle``: run lengths of each label but the background. ``png``: a data URL of a grey image of indices into
    `labels`, 16-bit where there are more than 256.
    """
    if form == "rle":
        runs = {label: run_lengths(mask_HW == index) for index, label in enumerate(labels) if index}
        return {"format": "rle", "labels": runs}
    stream = io.BytesIO()
    Image.fromarray(mask_HW.astype(np.uint8 if len(labels) <= 256 else np.uint16)).save(stream, "PNG")
    return {"format": "png", "url": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()}
