"""A raster in, a georeferenced result out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsunivlm.geo.answers import Tally, read_answers
from rsunivlm.geo.asking import Predictor, ask_tiles
from rsunivlm.geo.disk import Files, writing
from rsunivlm.geo.extra import require_geo
from rsunivlm.geo.job import Job, Options, Source, describe_grid, open_job
from rsunivlm.geo.journal import Journal
from rsunivlm.geo.output import check_output, write_result
from rsunivlm.geo.questions import raster_task

if TYPE_CHECKING:
    from rsunivlm.inference.predictor import RSUniVLM


@dataclass(frozen=True)
class RasterResult:
    """What a run gave.

    Attributes:
        out: the result.
        report_path: the same as `report`, as a file beside the result.
        report: settings, model, tiles, what was skipped and why, features by layer, seconds of this start.
    """

    out: Path
    report_path: Path
    report: dict[str, Any]


def process_raster(
    source: Source | Sequence[Source],
    out: str | Path,
    *,
    task: str,
    classes: Sequence[str] = (),
    prompt: str | None = None,
    model: str | Path | RSUniVLM | Predictor | None = None,
    model_id: str | None = None,
    device: str | None = None,
    int8: bool = False,
    options: Options | None = None,
    restart: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> RasterResult:
    """Ask about every tile of a raster, or of a pair, and write one georeferenced result.

    A run that was interrupted is taken up by the same call.

    Args:
        source: a raster, or two (before, after) for the change tasks.
        out: .gpkg, .geojson or .fgb; .tif for masks.
        task: seg (or ss), vg, cap, vqa, sc, cd or cc.
        classes: what to segment or to box, one question each, the first having the pixel where masks overlap;
            for sc the names to choose from.
        prompt: the question of vqa; may stand for the classes of vg, or replace the prompt of cap and cc.
        model: a checkpoint folder or hub id, or a predictor; by default the bundled checkpoint.
        model_id: name of a predictor that is no `RSUniVLM`, by which a resumed run knows it again.
        device: where a checkpoint is loaded to; by default a GPU where there is one.
        int8: make the weights of a checkpoint int8.
        options: tiles, bands and the like.
        restart: throw away the answers of an interrupted run.
        overwrite: replace a result that is there.
        progress: show a bar on stderr.

    Returns:
        Where the result is, and the report.

    Raises:
        ValueError: the input cannot be used, the extra `geo` is missing, an earlier run with other settings
            is unfinished, or the disk is full (then the same call goes on later).
    """
    require_geo()
    started = time.monotonic()
    options, files = options or Options(), Files(Path(out))
    check_output(files.out, raster_task(task), options)
    if files.out.exists() and not overwrite and not files.journal.exists():
        raise ValueError(f"{files.out} is there already; --overwrite replaces it")
    with open_job(source, task, classes, prompt, options) as job:
        predictor, name = load_predictor(model, model_id, device, int8)
        fingerprint = job.identity | {"model": name}
        questions = len(job.questions)
        try:
            with Journal(files.journal, fingerprint, questions=questions, restart=restart) as journal:
                ask_tiles(
                    job,
                    predictor,
                    journal,
                    batch_size=options.batch_size,
                    max_new_tokens=options.max_new_tokens,
                    progress=progress,
                )
            with writing(files.out):
                files.clean()
                tally = Tally()
                counts = write_result(job, read_answers(job, journal, tally), tally, files, options)
                report = _report(job, tally, options, files.out) | {
                    "model": name,
                    "features": counts,
                    "seconds": round(time.monotonic() - started, 1),
                    "resumed": journal.resumed,
                }
                _save(files.report, report)
                os.replace(files.partial, files.out)
        finally:
            files.clean()
    files.journal.unlink()
    return RasterResult(files.out, files.report, report)


def load_predictor(
    model: str | Path | RSUniVLM | Predictor | None, model_id: str | None, device: str | None, int8: bool
) -> tuple[Predictor, str]:
    """The predictor, and what identifies it: the checksum of its weights and its codecs, or its given name.

    Raises:
        ValueError: the checkpoint cannot be loaded, or a predictor of another kind has no name.
    """
    if model_id is not None and model is not None and not isinstance(model, str | Path):
        return model, model_id
    from rsunivlm.inference.loading import bundled_checkpoint, weights_checksum
    from rsunivlm.inference.predictor import RSUniVLM

    if model is None or isinstance(model, str | Path):
        model = RSUniVLM.from_pretrained(model or bundled_checkpoint(), device=device, int8=int8)
    if not isinstance(model, RSUniVLM):
        raise ValueError("a predictor that is no RSUniVLM needs a name: model_id")
    # The codecs' settings say how a text becomes a mask or boxes; they are no part of the weights.
    return model, f"weights {weights_checksum(model.model)}, {model.mask_codec}, {model.box_codec}"


def _report(job: Job, tally: Tally, options: Options, out: Path) -> dict[str, Any]:
    notes = list(job.notes)
    if out.suffix.lower() == ".geojson":
        notes.append(
            "GeoJSON is in longitude and latitude (EPSG:4326)"
            if job.grid.crs is not None
            else "GeoJSON without longitude and latitude: readers that follow RFC 7946 will misplace it"
        )
    return {
        "rasters": [scene.name for scene in job.scenes],
        "task": str(job.task),
        "questions": [{"name": question.name, "prompt": question.prompt} for question in job.questions],
        "options": asdict(options) | {"nodata": job.identity["nodata"]},
        "bands": [scene.bands for scene in job.scenes],
        "stretch": [scene.stretch and asdict(scene.stretch) for scene in job.scenes],
        "grid": describe_grid(job.grid),
        "notes": notes,
        "tiles": job.tiles,
        "answered": tally.answered,
        "nodata": tally.nodata,
        "skipped": tally.skipped,
    }


def _save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
