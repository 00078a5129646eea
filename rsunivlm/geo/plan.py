"""What a run will take, before it is started: tiles, questions, time and disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from rsunivlm.geo.asking import Predictor, look
from rsunivlm.geo.extra import require_geo
from rsunivlm.geo.job import Job, Options, Source, open_job
from rsunivlm.geo.process import load_predictor

if TYPE_CHECKING:
    from rsunivlm.inference.predictor import RSUniVLM

# A line of the journal about an answer in words or boxes, in bytes.
_LINE = 500


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        size: (width, height) of the grid in pixels.
        pixel_metres: width and height of a pixel in metres; None without a CRS.
        tiles: of the grid, those without data included.
        questions: in all tiles together.
        seconds: of asking, as measured on one tile; None without a model.
        disk_bytes: beside the result while the run lasts, at the most.
        notes: what the user should know about the result.
    """

    size: tuple[int, int]
    pixel_metres: tuple[float, float] | None
    tiles: int
    questions: int
    seconds: float | None
    disk_bytes: int
    notes: tuple[str, ...]


def plan_raster(
    source: Source | Sequence[Source],
    *,
    task: str,
    classes: Sequence[str] = (),
    prompt: str | None = None,
    model: str | Path | RSUniVLM | Predictor | None = None,
    model_id: str | None = None,
    device: str | None = None,
    int8: bool = False,
    options: Options | None = None,
) -> Plan:
    """Count tiles and questions, and with a model measure one tile; arguments as `process_raster`.

    Raises:
        ValueError: the input cannot be used, or the extra `geo` is missing.
    """
    require_geo()
    options = options or Options()
    with open_job(source, task, classes, prompt, options) as job:
        seconds = None
        if model is not None:
            predictor, _ = load_predictor(model, model_id, device, int8)
            seconds = _seconds_per_tile(job, predictor, options) * job.tiles
        plan = Plan(
            size=job.grid.size,
            pixel_metres=job.grid.pixel_metres(),
            tiles=job.tiles,
            questions=job.tiles * len(job.questions),
            seconds=seconds,
            disk_bytes=job.tiles * _LINE * len(job.questions),
            notes=tuple(job.notes),
        )
        if job.task.answer_kind != "mask":
            return plan
        # A mask of noise: a bit a pixel, 4 characters for 3 bytes. The class map: a byte a pixel.
        journal = plan.questions * options.tile**2 // 6
        return replace(plan, disk_bytes=plan.disk_bytes + journal + job.grid.width * job.grid.height)


def _seconds_per_tile(job: Job, predictor: Predictor, options: Options) -> float:
    """Time of reading and asking the first tile with data, from the middle of the scene on; 0 without any."""
    for pictures, began in _tiles_with_data(job):
        requests = [question.about(pictures) for question in job.questions]
        predictor.answer_batch(requests, batch_size=options.batch_size, max_new_tokens=options.max_new_tokens)
        return time.monotonic() - began
    return 0.0


def _tiles_with_data(job: Job) -> Iterator[tuple[list[Image.Image], float]]:
    parts = list(enumerate(job.tiling.parts(job.grid.size)))
    middle = len(parts) // 2
    for number, part in parts[middle:] + parts[:middle]:
        began = time.monotonic()
        _, pictures = look(job, number, part)
        if pictures:
            yield pictures, began
