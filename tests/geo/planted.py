"""Rasters with planted objects, and a predictor that answers exactly from the colours it sees.

    python planted.py SCENE OUT SECONDS

segments a scene with it, slowly, for tests that kill the process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.features import shapes

from rsunivlm.codecs import BoxReport, MaskReport
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import route

COLOURS = {"building": (200, 30, 30), "road": (120, 120, 120), "water": (20, 60, 220)}
GROUND = (60, 140, 60)
SIZE = (230, 170)  # width, height
# Name of a class, column, row, width, height; none of them touch.
OBJECTS = (
    ("building", 20, 15, 30, 22),
    ("building", 88, 60, 25, 25),  # across the cuts of tiles of 64 and 100
    ("water", 150, 90, 60, 40),
    ("road", 0, 150, 230, 6),
)
UTM = Affine(0.5, 0, 500000, 0, -0.5, 4_000_000)
# 30 degrees anticlockwise, pixels of 0.5 m: cos 30 / 2 and sin 30 / 2.
ROTATED = Affine(0.4330127019, 0.25, 500000, 0.25, -0.4330127019, 4_000_000)
DEGREES = Affine(4e-6, 0, 13.4, 0, -3e-6, 52.5)


def paint(size: tuple[int, int] = SIZE, objects: Sequence[Any] = OBJECTS) -> np.ndarray:
    """A scene [3, H, W] of rectangles on green ground."""
    picture = np.empty((3, size[1], size[0]), np.uint8)
    picture[:] = np.array(GROUND)[:, None, None]
    for name, x, y, width, height in objects:
        picture[:, y : y + height, x : x + width] = np.array(COLOURS[name])[:, None, None]
    return picture


def write(path: Path, bands: np.ndarray, **profile: Any) -> Path:
    """Write bands [B, H, W] as a GeoTIFF; UTM unless told otherwise."""
    count, height, width = bands.shape
    given = {"crs": "EPSG:32633", "transform": UTM, "dtype": bands.dtype, "count": count} | profile
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, **given) as dataset:
        dataset.write(bands)
    return path


class ColourPredictor:
    """Answers from colours: exact masks, exact boxes, and the red of the middle pixel as words.

    With two pictures a class is where it is in the second but not in the first. It may die after some
    answers, and take its time for each.
    """

    def __init__(self, die_after: int | None = None, seconds: float = 0) -> None:
        self.asked, self.die_after, self.seconds = 0, die_after, seconds
        self.pictures: list[np.ndarray] = []

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int | None
    ) -> list[Answer]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Answer:
        if self.asked == self.die_after:
            raise KeyboardInterrupt
        self.asked += 1
        time.sleep(self.seconds)
        pictures = [np.asarray(image) for image in request.images]
        self.pictures.append(pictures[-1])
        chosen = route(request.prompt, num_images=len(pictures), task=request.task)
        kind = chosen.task.answer_kind
        if kind == "text":
            height, width, _ = pictures[0].shape
            return Answer(f"red {pictures[0][height // 2, width // 2, 0]}", chosen)
        name = next(name for name in COLOURS if name in request.prompt)
        *before, seen = ((np.abs(picture - np.array(COLOURS[name])) < 12).all(-1) for picture in pictures)
        if kind == "mask":
            assert request.labels == [name]
            mask = seen & ~before[0] if before else seen
            report = MaskReport(1, 1, 0, 0, 0, (), (), 0, (), valid=True)
            return Answer("", chosen, mask=mask.astype(np.uint8), labels=("others", name), report=report)
        outlines = [outline for outline, _ in shapes(seen.astype(np.uint8), mask=seen)]
        points = [np.array(outline["coordinates"][0]) for outline in outlines]
        boxes = [[*ring.min(axis=0), *ring.max(axis=0)] for ring in points]
        report = BoxReport(len(boxes), 0, 0, ())
        return Answer("", chosen, boxes_px=np.array(boxes, float).reshape(-1, 4), report=report)


if __name__ == "__main__":
    from rsunivlm.geo import Options, process_raster

    process_raster(
        sys.argv[1],
        sys.argv[2],
        task="seg",
        classes=list(COLOURS),
        model=ColourPredictor(seconds=float(sys.argv[3])),
        model_id="colours",
        options=Options(tile=64, batch_size=3),
    )
