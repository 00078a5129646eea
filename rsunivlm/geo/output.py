"""From answers to the file that was asked for: a class map, polygons of classes, boxes, or answers on tiles.

A result appears only when it is complete: it grows beside its place, under hidden names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rsunivlm.geo.answers import Tally, TileAnswers
from rsunivlm.geo.boxes import is_cut, suppress
from rsunivlm.geo.classmap import class_map_rows, finish_raster, write_class_map
from rsunivlm.geo.disk import Files
from rsunivlm.geo.job import Job, Options
from rsunivlm.geo.polygons import polygons, strip_rows
from rsunivlm.geo.vectors import DRIVERS, GeoPackage, check_complete, convert
from rsunivlm.tasks import Task

SUFFIXES = (*DRIVERS, ".tif", ".tiff")
LAYERS = {Task.SS: "segments", Task.CD: "changes", Task.VG: "boxes"}
SKIPPED = "skipped"


def check_output(out: Path, task: Task, options: Options) -> None:
    """Refuse results that cannot be written, before anything is asked.

    Raises:
        ValueError: the suffix is unknown or does not fit the task, or the folder does not exist.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"--out {out.name}: the suffix must be one of {', '.join(SUFFIXES)}")
    raster = suffix in (".tif", ".tiff")
    if raster and task.answer_kind != "mask":
        raise ValueError(
            f"--out {out.name}: a GeoTIFF holds classes of pixels, which task {task} does not give; "
            f"use one of {', '.join(DRIVERS)}"
        )
    if options.cog and not raster:
        raise ValueError(f"--cog makes a GeoTIFF; --out {out.name} is none")
    if not out.parent.is_dir():
        raise ValueError(f"the folder of --out does not exist: {out.parent}")


def write_result(
    job: Job, tiles: Iterable[TileAnswers], tally: Tally, files: Files, options: Options
) -> dict[str, int]:
    """Write the result under its hidden name, `files.partial`; returns how many features each layer has.

    Args:
        job: the open run.
        tiles: all of them, in order.
        tally: complete when `tiles` are used up.
        files: where to.
        options: how.
    """
    masks = job.task.answer_kind == "mask"
    if masks:
        write_class_map(files.class_map, job, tiles)
    if files.out.suffix.lower() not in DRIVERS:
        finish_raster(files.class_map, files.partial, job.grid, cog=options.cog)
        return {}
    package = GeoPackage(files.package, job.grid)
    layer = LAYERS.get(job.task, "answers")
    if masks:
        _add_segments(package, layer, job, files.class_map, options.min_pixels)
    elif job.task is Task.VG:
        _add_boxes(package, layer, job, tiles, options.iou)
    else:
        _add_answers(package, layer, job, tiles)
    if tally.skipped:  # readers take a file of one layer without asking which
        package.begin(SKIPPED, {"tile": "i8", "reason": "U1"})
    for skipped in tally.skipped:
        package.add(SKIPPED, _rectangle(*skipped["window"]), tile=skipped["tile"], reason=skipped["reason"])
    package.flush()
    if files.out.suffix.lower() == ".gpkg":
        os.replace(files.package, files.partial)
    else:
        convert(files.package, layer, files.partial)
    check_complete(files.partial, layer, package.counts[layer])
    return package.counts


def _add_segments(package: GeoPackage, layer: str, job: Job, class_map: Path, min_pixels: int) -> None:
    columns = {"class": "U1", "class_id": "i8", "pixels": "i8"}
    area = _pixel_area(job)
    package.begin(layer, columns | ({} if area is None else {"area_m2": "f8"}))
    with class_map_rows(class_map) as read_rows:
        height, rows = job.grid.height, strip_rows(job.grid.width)
        for polygon, class_id in polygons(read_rows, height, rows, len(job.questions)):
            pixels = round(polygon.area)
            if pixels >= min_pixels:
                values = {"class": job.questions[class_id - 1].name, "class_id": class_id, "pixels": pixels}
                package.add(layer, polygon, **values | ({} if area is None else {"area_m2": pixels * area}))


def _pixel_area(job: Job) -> float | None:
    """Square metres of a pixel; None where pixels differ (degrees) or have no known size."""
    crs, t = job.grid.crs, job.grid.transform
    if crs is None or not crs.is_projected:
        return None
    return abs(t.a * t.e - t.b * t.d) * float(crs.linear_units_factor[1]) ** 2


def _add_boxes(
    package: GeoPackage, layer: str, job: Job, tiles: Iterable[TileAnswers], threshold: float
) -> None:
    found: list[np.ndarray] = []
    about: list[tuple[int, int, bool]] = []  # tile, question, cut by a side of the tile
    for tile in tiles:
        window = tile.part.window
        sides = (window.x, window.y, window.x + window.width, window.y + window.height)
        for question in tile.answers:
            boxes = tile.boxes(question)
            found.append(boxes)
            about += [(tile.number, question, bool(cut)) for cut in is_cut(boxes, sides, job.grid.size)]
    package.begin(layer, {"class": "U1", "tile": "i8"})
    if not about:
        return
    boxes, table = np.concatenate(found), np.array(about)
    for index in suppress(boxes, table[:, 2].astype(bool), table[:, 1], threshold):
        x1, y1, x2, y2 = boxes[index].tolist()
        name = job.questions[table[index, 1]].name
        box = _rectangle(x1, y1, x2 - x1, y2 - y1)
        package.add(layer, box, **{"class": name, "tile": int(table[index, 0])})


def _add_answers(package: GeoPackage, layer: str, job: Job, tiles: Iterable[TileAnswers]) -> None:
    package.begin(layer, {"tile": "i8", "question": "U1", "answer": "U1"})
    for tile in tiles:
        window = tile.part.window
        for question, answer in tile.answers.items():
            package.add(
                layer,
                _rectangle(window.x, window.y, window.width, window.height),
                tile=tile.number,
                question=job.questions[question].name,
                answer=answer["text"],
            )


def _rectangle(x: float, y: float, width: float, height: float) -> Any:
    import shapely

    return shapely.box(x, y, x + width, y + height)
