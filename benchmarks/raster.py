"""A raster of 20,000 x 20,000 pixels to polygons: time, peak memory, and a kill -9 half-way.

    python benchmarks/raster.py [--side 20000] [--gsd 1.0]

The raster is made first: a river from edge to edge and thousands of rectangular buildings on noisy ground,
8-bit RGB, pixels of 0.1 m in UTM. Then it is segmented at full resolution by a stand-in for the model that
sees colours (the model itself would take hours on a CPU; torch and the bundled checkpoint are loaded all the
same, so that they count), undisturbed and once more with a SIGKILL half-way, and the two results are compared
and checked against what was planted. Last, the bundled checkpoint segments the raster resampled to --gsd.

Peak memory is the largest resident size of the process, from the system. The last line is JSON; the exit code
is 1 if a result is wrong, or memory exceeds 3 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LIMIT_GB = 3.0
COLOURS = {"building": (200, 40, 40), "water": (30, 70, 210)}
CELL = 100  # pixels; half of the cells hold a building, which does not reach the cell's border
BLOCK = 500


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=20_000, help=f"in pixels, a multiple of {BLOCK}")
    parser.add_argument("--gsd", type=float, default=1.0, help="metres per pixel for the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", nargs=2, metavar=("SCENE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return segment_by_colour(*arguments.run)
    with tempfile.TemporaryDirectory() as folder:
        return benchmark(Path(folder), arguments.side, arguments.gsd, arguments.seed)


def benchmark(folder: Path, side: int, gsd: float, seed: int) -> int:
    """Make the raster, run everything, print the figures."""
    scene = folder / "scene.tif"
    started = time.monotonic()
    planted = make_scene(scene, side, np.random.default_rng(seed))
    print(
        f"made {side} x {side} pixels in {time.monotonic() - started:.0f} s, {_megabytes(scene)} MB",
        flush=True,
    )

    by_colour = [sys.executable, __file__, "--run", scene]
    whole, killed = folder / "whole.gpkg", folder / "killed.gpkg"
    figures = {"colours": measure([*by_colour, whole])}
    report = json.loads((folder / "whole.gpkg.report.json").read_text())
    tiles = report["tiles"]
    print(f"undisturbed: {figures['colours']}", flush=True)

    journal = folder / "killed.gpkg.journal.jsonl"
    figures["until_killed"] = measure([*by_colour, killed], until=lambda: _lines(journal) > 1.5 * tiles)
    done, size = _lines(journal) // 3, _megabytes(journal)  # a tile has a line, and one for each class
    print(f"killed after {done} of {tiles} tiles, journal of {size} MB", flush=True)
    figures["resumed"] = measure([*by_colour, killed])
    print(f"resumed: {figures['resumed']}", flush=True)

    out = folder / "model.gpkg"
    command = [sys.executable, "-m", "rsunivlm.cli", "raster", scene, "--task", "seg", "--out", out, "--json"]
    command += ["--classes", "building,water", "--gsd", gsd]
    figures["nano"] = measure(command) | {"gsd": gsd}
    figures["nano"]["tiles"] = json.loads((folder / "model.gpkg.report.json").read_text())["tiles"]
    print(f"bundled checkpoint: {figures['nano']}", flush=True)

    found, again = polygons(whole), polygons(killed)
    peak = max(run["peak_gb"] for run in figures.values())
    result = {
        "benchmark": "raster",
        "side": side,
        "tiles": tiles,
        "polygons": len(found),
        **figures,
        "killed_after": done,
        "resumed_equal": found == again,
        "as_planted": matches(found, planted),
        "peak_gb": peak,
        "limit_gb": LIMIT_GB,
    }
    print(json.dumps(result))
    return int(not (result["resumed_equal"] and result["as_planted"] and peak <= LIMIT_GB))


def make_scene(path: Path, side: int, rng: np.random.Generator) -> dict[str, Any]:
    """Write the raster block by block; returns the boxes of the buildings and the pixels of water."""
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    profile: dict[str, Any] = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
    profile |= {"crs": "EPSG:32633", "transform": Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000)}
    cells = side // CELL
    filled = rng.random((cells, cells)) < 0.5
    left_top = rng.integers(5, 40, (cells, cells, 2))
    sizes = rng.integers(12, 50, (cells, cells, 2))
    middle = side / 2 + side / 4 * np.sin(np.arange(side) / side * 9)
    water = 0
    boxes = []
    # A process counts what its parent took before it as its own peak: this one must stay small.
    with rasterio.Env(GDAL_CACHEMAX=64 << 20), rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, side, BLOCK):
            rows = np.arange(top, top + BLOCK)[:, None]
            river = np.abs(np.arange(side)[None] - middle[rows]) < 150
            ground = rng.integers(60, 76, (BLOCK // 4, side // 4), np.uint8).repeat(4, 0).repeat(4, 1)
            strip = np.stack([ground, ground + 60, ground])
            strip[:, river] = np.array(COLOURS["water"], np.uint8)[:, None]
            water += int(river.sum())
            for row in range(top // CELL, (top + BLOCK) // CELL):
                for column in np.flatnonzero(filled[row]):
                    x, y = left_top[row, column] + [column * CELL, row * CELL]
                    width, height = sizes[row, column]
                    # Nothing near the river, which would cut it.
                    if np.abs(middle[y : y + height] - x - width / 2).min() > 150 + 2 * CELL:
                        strip[:, y - top : y - top + height, x : x + width] = np.array(
                            COLOURS["building"], np.uint8
                        )[:, None, None]
                        boxes.append((int(x), int(y), int(x + width), int(y + height)))
            dataset.write(strip, window=Window(0, top, side, BLOCK))
    return {"buildings": sorted(boxes), "water": water}


class SeesColours:
    """Stands in for the model: the mask of a class is where its colour is."""

    def answer_batch(self, requests: Sequence[Any], **_: Any) -> list[Any]:
        """As `RSUniVLM.answer_batch`."""
        from rsunivlm.inference.answer import Answer
        from rsunivlm.tasks import route

        answers = []
        for request in requests:
            [name] = request.labels
            red, green, blue = np.moveaxis(np.asarray(request.images[0]), -1, 0)
            colour = COLOURS[name]
            mask = (red == colour[0]) & (green == colour[1]) & (blue == colour[2])
            answers.append(
                Answer("", route(request.prompt), mask=mask.astype(np.uint8), labels=("others", name))
            )
        return answers


def segment_by_colour(scene: str, out: str) -> int:
    """What is measured and killed."""
    from rsunivlm import RSUniVLM
    from rsunivlm.geo import process_raster
    from rsunivlm.inference.loading import bundled_checkpoint

    model = RSUniVLM.from_pretrained(bundled_checkpoint())
    process_raster(scene, out, task="seg", classes=list(COLOURS), model=SeesColours(), model_id="colours")
    del model  # until here it was in memory
    return 0


def measure(command: Sequence[Any], until: Callable[[], bool] | None = None) -> dict[str, Any]:
    """Run a command, killing it as soon as `until` holds; seconds, of the CPU too, and peak memory in GB."""
    started = time.monotonic()
    environment = dict(os.environ, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1")
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, env=environment)
    status = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG if until else 0)
        if pid:
            break
        if until and until():
            process.kill()
            until = None
        time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, -9):
        sys.exit(f"the run failed with code {process.returncode}: {' '.join(map(str, command))}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert usage.ru_maxrss > own, "the peak is that of this process"
    seconds, of_cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(of_cpu, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
    }


def polygons(package: Path) -> list[tuple[str, int, bytes]]:
    """Class, pixels and geometry of every polygon, in the order of the file."""
    import pyogrio

    frame = pyogrio.read_dataframe(package, layer="segments")
    return list(zip(frame["class"], frame["pixels"].tolist(), frame.geometry.to_wkb(), strict=True))


def matches(found: list[tuple[str, int, bytes]], planted: dict[str, Any]) -> bool:
    """The polygons are the planted buildings, corner by corner, and one river with all its pixels."""
    import shapely

    bounds = shapely.bounds(shapely.from_wkb([geometry for name, _, geometry in found if name == "building"]))
    pixels = np.round((bounds - [500_000, 5_000_000] * 2) * [10, -10, 10, -10]).astype(int)
    boxes = sorted(map(tuple, pixels[:, [0, 3, 2, 1]].tolist()))
    return boxes == planted["buildings"] and [n for name, n, _ in found if name == "water"] == [
        planted["water"]
    ]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _megabytes(path: Path) -> int:
    return round(path.stat().st_size / 1e6)


if __name__ == "__main__":
    sys.exit(main())
