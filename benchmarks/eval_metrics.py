"""How fast answers are scored, and how much memory it takes.

    python benchmarks/eval_metrics.py [--scale 1.0] [--set masks]

Four sets of synthetic predictions are written to files. Each is then read and scored in a fresh process of
one thread, by the very functions behind `eval/rescore.py`: the file is read (read), metrics with 2,000
bootstrap draws and all details are computed (score), and every question gets its own score (samples).

    vqa       100,000 answers about 1,000 images
    boxes      50,000 answers about 10,000 images
    captions   10,000 answers with 5 references each (with METEOR where there is Java, else without)
    masks       2,000 answers of 1024 x 1024 pixels: 500 scenes with 4 classes, answers on a grid of 24 x 24

Masks are kept as run lengths, so scoring them costs as much as their outlines are long. What it costs to
write masks of pixels as run lengths, once per answer and once per truth, stands beside it (encode), and the
rate in megapixels per second of processor time of one core is given for scoring alone and for both together.
Peak memory is the largest resident size of the process, and of Java beside it. The last line is JSON.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # a script: the project root belongs on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from eval.metrics import masks, meteor
from eval.predictions import Prediction, read_predictions, write_predictions
from eval.scoring import score, with_scores
from eval.tasks import protocol_of, task_module
from rsunivlm.codecs import MaskCodec

SIDE = 1024
CLASSES = ("building", "road", "water", "tree")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Different scenes; those beyond repeat them, under other names.
_SCENES = 25


def make_vqa(count: int) -> Iterator[Prediction]:
    """Questions of three types with short answers, seven in ten right."""
    rng = np.random.default_rng(0)
    kinds = {"presence": ("yes", "no"), "comp": ("yes", "no"), "rural_urban": ("rural", "urban")}
    for number in range(count):
        kind = tuple(kinds)[number % 3]
        answer, wrong = rng.permutation(kinds[kind]).tolist()
        text = answer if rng.random() < 0.7 else wrong
        truth = {"answer": answer, "type": kind}
        yield _prediction("vqa", number, number // 100, {"text": text.capitalize() + "."}, truth)


def make_boxes(count: int) -> Iterator[Prediction]:
    """Boxes of 20 to 200 pixels and answers beside them; one in fifty is unreadable."""
    rng = np.random.default_rng(0)
    for number in range(count):
        corner, sides = rng.uniform(0, 600, 2), rng.uniform(20, 200, 2)
        box = np.concatenate([corner, corner + sides])
        answer = box + rng.normal(0, 8, 4)
        found = [answer.tolist()] if number % 50 else []
        yield _prediction("vg", number, number // 5, {"boxes_px": found}, {"boxes_px": [box.tolist()]})


def make_captions(count: int) -> Iterator[Prediction]:
    """Captions of 6 to 16 words, frequent and rare ones as in a language; answers share words with them."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("aeiklmnorst"), rng.integers(3, 9))) for _ in range(2000)])
    shares = 1 / np.arange(1, 2001)
    for number in range(count):
        topic = rng.choice(words, 12, p=shares / shares.sum())
        *references, answer = (" ".join(rng.choice(topic, rng.integers(6, 17))) + " ." for _ in range(6))
        yield _prediction("cap", number, number, {"text": answer}, {"references": references})


def make_masks(count: int) -> Iterator[Prediction]:
    """Scenes parted into four classes and a rest by smooth noise, and answers as a grid can say them.

    Parts are some 50 pixels wide and touch each other, so outlines are longer than those of buildings.
    """
    codec, rng = MaskCodec(24), np.random.default_rng(0)
    scenes = []
    for _ in range(min(_SCENES, -(-count // len(CLASSES)))):
        noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
        smooth = np.asarray(noise.filter(ImageFilter.GaussianBlur(24)), np.float64)
        ids = np.digitize(smooth, np.quantile(smooth, (0.2, 0.4, 0.6, 0.8)))
        told = codec.grid_to_mask(codec.to_grid(ids, len(CLASSES) + 1), (SIDE, SIDE))
        scenes.append([(masks.encode(told == k), masks.encode(ids == k)) for k in range(1, 5)])
    for number in range(count):
        scene, kind = divmod(number, len(CLASSES))
        answer, truth = scenes[scene % len(scenes)][kind]
        truths = {"mask": truth, "valid": None, "label": CLASSES[kind]}
        yield _prediction("ss", number, scene, {"mask": answer}, truths)


# Name -> (task, whole size, maker).
SETS: dict[str, tuple[str, int, Callable[[int], Iterator[Prediction]]]] = {
    "vqa": ("vqa", 100_000, make_vqa),
    "boxes": ("vg", 50_000, make_boxes),
    "captions": ("cap", 10_000, make_captions),
    "masks": ("ss", 2_000, make_masks),
}


def measure(name: str, size: int) -> dict[str, Any]:
    """Write predictions and score them in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        write_predictions(path, SETS[name][2](size))
        command = [sys.executable, __file__, "--score", name, "--file", str(path)]
        done = subprocess.run(command, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"scoring {name} failed")
    return {"set": name, "size": size, **json.loads(done.stdout)}


def score_here(name: str, path: Path) -> dict[str, Any]:
    """Read and score a file of predictions in this process."""
    _, module = task_module(SETS[name][0])
    protocol = protocol_of(module, "strict", {})
    ticks = [time.perf_counter()]
    predictions = read_predictions(path)
    ticks.append(time.perf_counter())
    started = time.process_time()
    results = score(module, predictions, protocol)
    scoring_s = time.process_time() - started
    ticks.append(time.perf_counter())
    with_scores(module, predictions, protocol)
    ticks.append(time.perf_counter())
    read_s, score_s, samples_s = np.diff(ticks).tolist()
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    row = {
        "read_s": round(read_s, 3),
        "score_s": round(score_s, 3),
        "samples_s": round(samples_s, 3),
        "per_s": round(len(predictions) / (read_s + score_s + samples_s)),
        "peak_mib": round(peaks[0] / 1024),
        "java_peak_mib": round(peaks[1] / 1024),
        "first_metric": next(iter(results["metrics"].items()))[1]["value"],
    }
    if name == "masks":
        encode_s = _encoding_seconds(predictions)
        megapixels = len(predictions) * SIDE**2 / 1e6
        row |= {
            "encode_s": round(encode_s, 3),
            "scored_mpx_per_s": round(megapixels / scoring_s),
            "encoded_and_scored_mpx_per_s": round(megapixels / (encode_s + scoring_s)),
        }
    return row


def _encoding_seconds(predictions: list[Prediction]) -> float:
    """Processor seconds to write all answers and truths as run lengths, from pixels."""
    seconds = 0.0
    for row in predictions:
        for rle in (row.parsed["mask"], row.truth["mask"]):
            pixels = masks.decode(rle)
            started = time.process_time()
            masks.encode(pixels)
            seconds += time.process_time() - started
    return seconds


def _prediction(
    task: str, number: int, image: int, parsed: dict[str, Any], truth: dict[str, Any]
) -> Prediction:
    return Prediction(
        id=f"q{number}",
        benchmark="synthetic",
        split="test",
        task=task,
        images=(f"images/{image}.png",),
        image_size=(800, 800),
        prompt=f"[{task.upper()}] question {number}",
        answer=str(parsed.get("text", "")),
        parsed=parsed,
        truth=truth,
        yardsticks={},
        report={},
        route={},
        decoder={},
        model={},
    )


def main() -> None:
    """Run the benchmark, or, as the fresh process, score one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the sizes above (default: 1)")
    parser.add_argument("--set", choices=tuple(SETS), help="only this one (default: all)")
    parser.add_argument("--score", choices=tuple(SETS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score:
        print(json.dumps(score_here(options.score, options.file)))
        return
    seconds = ("read_s", "score_s", "samples_s", "encode_s")
    table = Table("set", "size", *seconds, "per s", "Mpx/s", "with encoding", "peak MiB", "Java MiB")
    rows = []
    for name in [options.set] if options.set else SETS:
        row = measure(name, max(1, round(SETS[name][1] * options.scale)))
        rows.append(row)
        shown = (*seconds, "per_s", "scored_mpx_per_s", "encoded_and_scored_mpx_per_s", "peak_mib")
        cells = [str(row.get(key, "")) for key in (*shown, "java_peak_mib")]
        table.add_row(name, f"{row['size']:,}", *cells)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(json.dumps({"benchmark": "eval_metrics", "meteor": meteor.java() is not None, "rows": rows}))


if __name__ == "__main__":
    main()
