"""How true a mask can be that has to be written as text: the ceiling of every option, on real masks.

    python benchmarks/mask_fidelity.py [--set levir_mci=DIR] [--set dubai=DIR] [--set coco=ANNOTATIONS.json]

A set is a benchmark of `eval/registry.py` that has masks, with its folder, or the single objects of a file in
COCO format, with images beside it. Without --set: the bundled mini benchmark. Each true mask that is not
empty goes through each option as a model that knows every answer would use it; nothing is predicted.

    plain              24 x 24 cells, the class at a cell's centre, painted cells: as the released weights
    bilinear           the same text, read with interpolation
    area               a cell counts from 35 % cover on (to be trained so), read with interpolation
    grid 27            27 x 27 cells, one for each visual token (to be trained so)
    2 x 2, 3 x 3       overlapping tiles, each asked on its own as above, read with interpolation
    zoom               asked again in a crop around the first mask, or around the true box written as text
    soft               every cell's cover instead of yes or no: the decoder's probabilities, were they
                       perfect; uncorrected: only interpolated

IoU is the mean over masks; "guided" is the IoU after the guided filter has moved the edges. Tokens are those
of all texts of a mask together, by the bundled tokenizer and those of --tokenizer NAME=tokenizer.json. Times
are milliseconds of one core from text to mask, and for the filter on top. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

if __package__ in (None, ""):  # a script: the project root belongs on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from eval.benchmarks import load
from eval.registry import BENCHMARKS, PROJECT
from eval.segmentation import truth_masks
from eval.tasks import task_module
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request, read_answer
from rsunivlm.inference.refine import refine_edges
from rsunivlm.inference.tiling import Tiling
from rsunivlm.inference.zoom import answer_zoomed
from rsunivlm.tasks import Task, route

LABELS = ("others", "building")
QUESTION = "[SEG] Please segment the building in this image."
NANO = PROJECT / "playground/checkpoints/nano/tokenizer.json"
BILINEAR = MaskCodec(decode_rule="bilinear")
AREA = MaskCodec(encode_rule="area", decode_rule="bilinear")


@dataclass(frozen=True)
class Truth:
    """A true mask, its annotated pixels, and the image it lies on."""

    mask: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    image: Path


@dataclass
class Drawn:
    """What an option made of a true mask: the texts, the mask, and the seconds from one to the other.

    `cells` is how many cells the whole image would be wide at the fineness of this mask.
    """

    mask: NDArray[np.bool_]
    cells: int
    texts: list[str] = field(default_factory=list)
    seconds: float = 0.0


def tiled(codec: MaskCodec, tiles: int = 1, *, soft: int | None = None) -> Callable[[Truth], Drawn]:
    """The whole image, or `tiles` x `tiles` that overlap by an eighth of their side.

    `soft`: read the cells' cover instead of the text, with so many rounds of correction.
    """

    def draw(truth: Truth) -> Drawn:
        height, width = truth.mask.shape
        side = -(-8 * max(height, width) // (7 * tiles + 1))
        drawn = Drawn(np.zeros_like(truth.mask), round(codec.grid * max(height, width) / side))
        for part in Tiling(side, side // 8 if tiles > 1 else 0).parts((width, height)):
            inside = part.of(truth.mask)
            drawn.texts.append(codec.encode(inside.astype(np.uint8), LABELS))
            cover = Image.fromarray(inside.astype(np.float32)).resize((codec.grid,) * 2, Image.Resampling.BOX)
            size = inside.shape[1], inside.shape[0]
            started = time.process_time()
            if soft is None:
                read, _ = codec.decode(drawn.texts[-1], LABELS, size)
            else:
                read = codec.soft_to_mask(np.asarray(cover), size, soft)
            part.paste(read == 1, drawn.mask)
            drawn.seconds += time.process_time() - started
        return drawn

    return draw


def zoomed(codec: MaskCodec, find: Literal["mask", "box"]) -> Callable[[Truth], Drawn]:
    """A second look, asked of one who sees pictures that are their own masks."""

    def draw(truth: Truth) -> Drawn:
        drawn = Drawn(truth.mask, codec.grid)
        width = truth.mask.shape[1]

        def answer(request: Request) -> Answer:
            chosen = route(request.prompt, task=request.task)
            picture = request.images[0]
            seen = np.asarray(picture)[..., 0] > 0
            if chosen.task is Task.VG:
                rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
                box = [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]
                text = BoxCodec().encode(box, picture.size)
            else:
                text = codec.encode(seen.astype(np.uint8), LABELS)
                drawn.cells = max(drawn.cells, round(codec.grid * width / picture.width))
            drawn.texts.append(text)
            started = time.process_time()
            answered = read_answer(
                text, chosen, picture.size, box_codec=BoxCodec(), mask_codec=codec, labels=request.labels
            )
            drawn.seconds += time.process_time() - started
            return answered

        picture = Image.fromarray(truth.mask.astype(np.uint8) * 255)
        request = Request([picture], QUESTION, labels=LABELS[1:])
        (final,) = answer_zoomed(
            lambda requests: [answer(request) for request in requests], [request], find=find
        )
        drawn.mask = final.mask == 1
        return drawn

    return draw


OPTIONS: dict[str, Callable[[Truth], Drawn]] = {
    "plain": tiled(MaskCodec()),
    "bilinear": tiled(BILINEAR),
    "area": tiled(AREA),
    "grid 27": tiled(MaskCodec(27)),
    "grid 27, bilinear": tiled(MaskCodec(27, decode_rule="bilinear")),
    "grid 27, area": tiled(MaskCodec(27, encode_rule="area", decode_rule="bilinear")),
    "2 x 2": tiled(BILINEAR, 2),
    "2 x 2, area": tiled(AREA, 2),
    "3 x 3": tiled(BILINEAR, 3),
    "zoom on the mask": zoomed(BILINEAR, "mask"),
    "zoom on the box": zoomed(BILINEAR, "box"),
    "soft, uncorrected": tiled(BILINEAR, soft=0),
    "soft": tiled(BILINEAR, soft=4),
    "soft, 2 x 2": tiled(BILINEAR, 2, soft=4),
}


def cases(name: str, folder: Path | None) -> list[Callable[[], Truth]]:
    """What opens each true mask of a benchmark, of its test and training split, or of a COCO file.

    Raises:
        ValueError: no such benchmark or data, or it has no masks.
    """
    if name == "coco" and folder is not None:
        return coco_objects(folder)
    row = BENCHMARKS.get(name)
    if row is None or not {Task.SS, Task.CD} & {*row.tasks}:
        raise ValueError(f"--set {name}: not a benchmark with masks; known: {', '.join(BENCHMARKS)}, or coco")
    found: list[Callable[[], Truth]] = []
    for task in (Task.SS, Task.CD):
        for split in dict.fromkeys((row.split, row.fit_split)) if task in row.tasks else ():
            if split:
                questions = load(name, task, task_module(task.value)[1], folder, split)
                found += [partial(of_record, record, questions.root) for record in questions.records]
    return found


def of_record(record: Record, root: Path) -> Truth:
    """The true mask of a benchmark's question; of a pair, with the second image."""
    mask, valid = truth_masks(record, root)
    return Truth(mask, np.ones_like(mask) if valid is None else valid, resolve_image(root, record.images[-1]))


def coco_objects(path: Path) -> list[Callable[[], Truth]]:
    """Every object of a COCO file that is outlined by polygons."""
    data = json.loads(path.read_text(encoding="utf-8"))
    images = {image["id"]: image for image in data["images"]}

    def outlined(entry: dict[str, Any]) -> Truth:
        image = images[entry["image_id"]]
        picture = Image.new("1", (image["width"], image["height"]))
        for polygon in entry["segmentation"]:
            ImageDraw.Draw(picture).polygon(polygon, fill=1)
        mask = np.asarray(picture)
        return Truth(mask, np.ones_like(mask), path.parent / image["file_name"])

    with_outline = (entry for entry in data["annotations"] if isinstance(entry["segmentation"], list))
    return [partial(outlined, entry) for entry in with_outline]


def measure(
    name: str, found: Sequence[Callable[[], Truth]], limit: int, tokenizers: dict[str, Tokenizer]
) -> list[dict[str, Any]]:
    """One row for each option, over at most `limit` masks that are not empty, chosen by chance."""
    order = np.random.default_rng(0).permutation(len(found))
    opened = (found[place]() for place in order.tolist())
    chosen = list(islice((truth for truth in opened if truth.mask.any()), limit))
    rows = []
    for option, draw in OPTIONS.items():
        ious, guided, times, lengths = [], [], [], []
        for truth in chosen:
            drawn = draw(truth)
            colours = np.asarray(open_image(truth.image))
            started = time.process_time()
            refined = refine_edges(drawn.mask.astype(np.uint8), colours, drawn.cells) == 1
            times.append((drawn.seconds, time.process_time() - started))
            ious.append(iou(drawn.mask, truth))
            guided.append(iou(refined, truth))
            texts = drawn.texts
            lengths.append([sum(len(t.encode(text).ids) for text in texts) for t in tokenizers.values()])
        tokens = dict(zip(tokenizers, np.mean(lengths, axis=0).round().astype(int).tolist(), strict=True))
        read_ms, guided_ms = (1000 * np.mean(times, axis=0)).round(1).tolist()
        rows.append(
            {
                "set": name,
                "n": len(chosen),
                "option": option,
                "iou": round(100 * float(np.mean(ious)), 1),
                "guided_iou": round(100 * float(np.mean(guided)), 1),
                "tokens": tokens,
                "read_ms": read_ms,
                "guided_ms": guided_ms,
            }
        )
    return rows


def iou(mask: NDArray[np.bool_], truth: Truth) -> float:
    """Intersection over union on annotated pixels; the true mask is not empty."""
    both = (mask & truth.mask & truth.valid).sum()
    return float(both / ((mask | truth.mask) & truth.valid).sum())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", action="append", metavar="NAME=PATH", help="a set of masks; may be repeated")
    parser.add_argument("--limit", type=int, default=200, help="masks of each set (default: 200)")
    parser.add_argument("--tokenizer", action="append", metavar="NAME=FILE", default=[], help="counts tokens")
    options = parser.parse_args()
    files = {"nano": str(NANO)} | dict(entry.split("=", 1) for entry in options.tokenizer)
    tokenizers = {name: Tokenizer.from_file(file) for name, file in files.items()}
    sets = dict(entry.split("=", 1) for entry in options.set) if options.set else {"mini": ""}
    rows = []
    for name, path in sets.items():
        try:
            found = cases(name, Path(path) if path else None)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        rows += measure(name, found, options.limit, tokenizers)
    shown = [f"{name} tokens" for name in tokenizers]
    table = Table("set", "n", "option", "IoU", "gain", "guided", *shown, "ms", "filter ms")
    for row in rows:
        plain = next(other["iou"] for other in rows if other["set"] == row["set"])
        cells = [row["iou"], f"{row['iou'] - plain:+.1f}", row["guided_iou"], *row["tokens"].values()]
        cells += [row["read_ms"], row["guided_ms"]]
        table.add_row(row["set"], str(row["n"]), row["option"], *map(str, cells))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(json.dumps({"benchmark": "mask_fidelity", "rows": rows}))


if __name__ == "__main__":
    main()
