"""What a run over a raster consists of: the open scenes, the grid they share, tiles and questions.

For a pair, the first raster gives the grid; the second is read onto it through both transforms and CRSs, and
only the part that both cover is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsunivlm.geo.grid import Grid, common_part
from rsunivlm.geo.questions import Question, make_questions, raster_task
from rsunivlm.geo.scene import Scene, gdal_settings, native_grid, open_source
from rsunivlm.inference.tiling import Tiling
from rsunivlm.tasks import Task

Source = str | Path


@dataclass(frozen=True)
class Options:
    """Settings of a run; the names are those of the command line.

    Attributes:
        tile: side of a tile in pixels (of the grid that `gsd` makes).
        overlap: of neighbouring tiles in pixels; None is an eighth of a tile, and 0 for answers in words.
        gsd: side of a pixel in metres to which scenes are resampled; None looks at their own pixels.
        bands: numbers (from 1) of the bands read as red, green and blue, or of one band; None chooses.
        stretch: "auto", "none" or two percentiles of the scene such as "2,98".
        nodata: value of pixels without data, instead of what the file says.
        iou: intersection over union from which on two boxes of a class are one.
        min_pixels: polygons of fewer pixels are left out.
        cog: write a .tif as a cloud optimised GeoTIFF.
        batch_size: questions that the model answers together.
        max_new_tokens: limit of an answer; None is one that fits the task.
        allow_remote: open URLs and virtual rasters too.
    """

    tile: int = 384
    overlap: int | None = None
    gsd: float | None = None
    bands: Sequence[int] | None = None
    stretch: str = "auto"
    nodata: float | None = None
    iou: float = 0.5
    min_pixels: int = 1
    cog: bool = False
    batch_size: int = 16
    max_new_tokens: int | None = None
    allow_remote: bool = False

    def __post_init__(self) -> None:
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise ValueError(f"--gsd must be above 0 metres, got {self.gsd:g}")
        if not 0 < self.iou <= 1:
            raise ValueError(f"--iou must be above 0 and at most 1, got {self.iou:g}")
        for name in ("min_pixels", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")

    def tiling(self, task: Task) -> Tiling:
        """How scenes are cut for a task."""
        overlap = 0 if self.overlap is None and task.answer_kind == "text" else self.overlap
        return Tiling(self.tile, self.tile // 8 if overlap is None else overlap)


@dataclass(frozen=True)
class Job:
    """An open run.

    Attributes:
        task: of all questions.
        questions: asked about every tile.
        scenes: one, or two for change; windows are those of `grid`.
        grid: the pixels that tiles, masks and boxes are counted in.
        tiling: of the grid.
        notes: what the user should know about the result.
        identity: what the answers depend on but the model, in JSON types.
    """

    task: Task
    questions: list[Question]
    scenes: list[Scene]
    grid: Grid
    tiling: Tiling
    notes: list[str]
    identity: dict[str, Any]

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return self.tiling.count(self.grid.size)


@contextmanager
def open_job(
    source: Source | Sequence[Source], task: str, classes: Sequence[str], prompt: str | None, options: Options
) -> Iterator[Job]:
    """Open the rasters of a run and settle what is asked; nothing is read but headers and the stretch.

    Raises:
        ValueError: a raster cannot be opened or does not fit the settings, a pair does not overlap, or the
            questions lack classes or a prompt.
    """
    chosen = raster_task(task)
    questions = make_questions(chosen, classes, prompt)
    tiling = options.tiling(chosen)
    sources = [source] if isinstance(source, str | Path) else list(source)
    if len(sources) != chosen.num_images:
        wanted = "two rasters, before and after" if chosen.num_images == 2 else "one raster"
        raise ValueError(f"task {chosen} looks at {wanted}; {len(sources)} given")
    bands = None if options.bands is None else list(options.bands)
    with ExitStack() as stack:
        stack.enter_context(gdal_settings())
        datasets = [
            stack.enter_context(open_source(path, allow_remote=options.allow_remote)) for path in sources
        ]
        grid, notes = _working_grid(datasets, options.gsd)
        scenes = [
            Scene(dataset, bands=bands, stretch=options.stretch, nodata=options.nodata)
            for dataset in datasets
        ]
        for scene in scenes:
            stack.enter_context(scene.on(grid))
        identity = {
            "rasters": [_identity(dataset) for dataset in datasets],
            "bands": [scene.bands for scene in scenes],
            "stretch": [scene.stretch and asdict(scene.stretch) for scene in scenes],
            "nodata": None if options.nodata is None else str(options.nodata),
            "grid": describe_grid(grid),
            "tiles": asdict(tiling),
            "task": str(chosen),
            "questions": [[question.name, question.prompt] for question in questions],
            "max_new_tokens": options.max_new_tokens,
        }
        yield Job(chosen, questions, scenes, grid, tiling, notes, identity)


def describe_grid(grid: Grid) -> dict[str, Any]:
    """A grid in JSON types."""
    from rsunivlm.geo.vectors import crs_text

    return {
        "width": grid.width,
        "height": grid.height,
        "transform": list(grid.transform)[:6],
        "crs": crs_text(grid),
    }


def _working_grid(datasets: Sequence[Any], gsd: float | None) -> tuple[Grid, list[str]]:
    first, *others = grids = [native_grid(dataset) for dataset in datasets]
    names = [Path(dataset.name).name for dataset in datasets]
    notes = [
        f"{name} has no CRS: coordinates are those of its transform, or pixels where it has none"
        for name, grid in zip(names, grids, strict=True)
        if grid.crs is None
    ]
    grid = first if gsd is None else first.resampled(gsd)
    for second in others:
        if (first.crs is None) != (second.crs is None):
            without, other = names if first.crs is None else names[::-1]
            raise ValueError(f"{without} has no CRS and {other} has one: they cannot be laid on each other")
        # Plain pictures lie on each other by their pixels, which says nothing if they differ in size.
        if all(each.transform.is_identity for each in grids) and first.size != second.size:
            raise ValueError(f"{names[0]} and {names[1]} have no position and differ in size")
        common = common_part(grid, second)
        if common is None:
            raise ValueError(f"{names[0]} and {names[1]} do not overlap")
        if (common.width, common.height) != grid.size:
            notes.append(
                f"only what both rasters cover is looked at: {common.width} x {common.height} of "
                f"{grid.width} x {grid.height} pixels"
            )
        grid = grid.part(common)
    return grid, notes


def _identity(dataset: Any) -> dict[str, Any]:
    """What tells that a file is still the same without reading all of it."""
    described = describe_grid(native_grid(dataset)) | {"name": Path(dataset.name).name}
    path = Path(dataset.name)
    if path.is_file():
        about = path.stat()
        described |= {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns}
    return described
