"""The command `rsunivlm raster`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsunivlm.geo.plan import Plan
    from rsunivlm.geo.process import RasterResult

# Skipped tiles that are named on stderr; the report has them all.
_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rsunivlm raster`."""
    parser.add_argument("rasters", nargs="+", metavar="SCENE.tif", help="a raster, or two for change")
    parser.add_argument("--task", required=True, help="seg (or ss), vg, cap, vqa, sc, cd or cc")
    parser.add_argument(
        "--classes", help="comma-separated classes; where masks overlap the first has the pixel"
    )
    parser.add_argument("--prompt", help="the question (vqa), what to box (vg), or another prompt (cap, cc)")
    parser.add_argument("--out", type=Path, help="result: .gpkg, .geojson, .fgb, or .tif for masks")
    parser.add_argument("--model", help="checkpoint folder or hub id (default: the bundled nano checkpoint)")
    parser.add_argument("--device", help="torch device, e.g. cpu or cuda:0")
    parser.add_argument("--int8", action="store_true", help="make the weights int8: smaller, faster on a CPU")
    cut = parser.add_argument_group("tiles and pixels")
    cut.add_argument("--tile", type=int, default=384, help="side of a tile in pixels (default 384)")
    cut.add_argument(
        "--overlap", type=int, help="of tiles in pixels (default: an eighth of a tile, 0 for text)"
    )
    cut.add_argument("--gsd", type=float, help="resample to pixels of so many metres (default: as they are)")
    cut.add_argument("--bands", help="red, green and blue as band numbers from 1, e.g. 4,3,2; or one band")
    cut.add_argument(
        "--stretch", default="auto", help="auto (all but 8-bit), none, or percentiles such as 2,98"
    )
    cut.add_argument("--nodata", type=float, help="value without data, instead of what the file says")
    result = parser.add_argument_group("result")
    result.add_argument("--iou", type=float, default=0.5, help="overlap of boxes that are one (default 0.5)")
    result.add_argument("--min-pixels", type=int, default=1, help="leave out smaller polygons (default 1)")
    result.add_argument("--cog", action="store_true", help="write .tif as a cloud optimised GeoTIFF")
    result.add_argument("--overwrite", action="store_true", help="replace a result that is there")
    run = parser.add_argument_group("run")
    run.add_argument("--batch-size", type=int, default=16, help="questions answered together (default 16)")
    run.add_argument("--max-new-tokens", type=int, help="limit of an answer's length")
    run.add_argument("--restart", action="store_true", help="throw away the answers of an interrupted run")
    run.add_argument("--allow-remote", action="store_true", help="open URLs and virtual rasters too")
    run.add_argument("--dry-run", action="store_true", help="say what it will take (time only with --model)")
    run.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Run `rsunivlm raster`; returns the exit code.

    Raises:
        ValueError: see `process_raster`.
    """
    from rsunivlm.geo import Options, plan_raster, process_raster

    if args.out is None and not args.dry_run:
        raise ValueError("name the result with --out, e.g. --out result.gpkg")
    options = Options(
        tile=args.tile,
        overlap=args.overlap,
        gsd=args.gsd,
        bands=_numbers(args.bands),
        stretch=args.stretch,
        nodata=args.nodata,
        iou=args.iou,
        min_pixels=args.min_pixels,
        cog=args.cog,
        batch_size=args.batch_size,
        max_new_tokens=args.max_new_tokens,
        allow_remote=args.allow_remote,
    )
    classes = [name.strip() for name in args.classes.split(",")] if args.classes else []
    source = args.rasters[0] if len(args.rasters) == 1 else args.rasters
    asked = {"task": args.task, "classes": classes, "prompt": args.prompt, "options": options}
    if args.model or not args.dry_run:
        _quiet()
    if args.dry_run:
        plan = plan_raster(source, **asked, model=args.model, device=args.device, int8=args.int8)
        _print_plan(plan, as_json=args.json)
        return 0
    try:
        result = process_raster(
            source,
            args.out,
            **asked,
            model=args.model,
            device=args.device,
            int8=args.int8,
            restart=args.restart,
            overwrite=args.overwrite,
            progress=not args.json,
        )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    _print_result(result, as_json=args.json)
    return 0


def _quiet() -> None:
    from rsunivlm.inference.loading import quiet_libraries

    quiet_libraries()


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--bands takes numbers such as 4,3,2, not {text!r}") from error


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(plan)))
        return
    _print_notes(plan.notes)
    pixel = "" if plan.pixel_metres is None else " of {:.4g} x {:.4g} m".format(*plan.pixel_metres)
    print(f"pixels      {plan.size[0]:,} x {plan.size[1]:,}{pixel}")
    print(f"tiles       {plan.tiles:,}")
    print(f"questions   {plan.questions:,}")
    if plan.seconds is None:
        print("time        not measured; name a model with --model")
    else:
        shown = f"{plan.seconds / 60:,.0f} min" if plan.seconds > 300 else f"{plan.seconds:.1f} s"
        print(f"time        about {shown}, as one tile took")
    print(f"disk        at most {plan.disk_bytes / 1e6:,.1f} MB beside the result")


def _print_result(result: RasterResult, *, as_json: bool) -> None:
    report = result.report
    if as_json:
        print(json.dumps(report))
        return
    _print_notes(report["notes"])
    for skipped in report["skipped"][:_SHOWN]:
        print(f"skipped tile {skipped['tile']}: {skipped['reason']}", file=sys.stderr)
    if len(report["skipped"]) > _SHOWN:
        print(f"... and {len(report['skipped']) - _SHOWN} more, see {result.report_path}", file=sys.stderr)
    features = "".join(f", {count:,} in layer {layer}" for layer, count in report["features"].items())
    print(
        f"{result.out}: {report['tiles']:,} tiles ({report['nodata']:,} without data, "
        f"{len(report['skipped']):,} skipped){features}"
    )


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
