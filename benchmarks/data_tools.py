"""How fast datasets are converted, and that memory does not grow with them.

    python benchmarks/data_tools.py [--scale 1.0] [--workers 1]

Three synthetic datasets in true layouts are converted, each at a tenth of its size and whole, each time in a
fresh process:

    rsvqa_lr      JSON-heavy    100,000 questions about 1,000 images
    dior_rsvg     XML-heavy      20,000 objects in 5,000 images of 800 x 800
    index_masks   mask-heavy      5,000 images of 256 x 256 with six classes

Records per second count what was written, grounding and region description both for dior_rsvg. Peak memory is
the largest sum of the resident sizes of the converting process and its workers (pages that they share count
for each). The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

QUESTIONS_PER_IMAGE = 100
OBJECTS_PER_IMAGE = 4
CLASSES = ("unlabeled", "building", "road", "water", "tree", "grass", "car")
# Different pictures and masks; files beyond these repeat them.
_VARIANTS = 16


def make_rsvqa_lr(root: Path, questions: int) -> None:
    """Write the RSVQA-LR layout: one split, and a stub of another split after every fourth entry."""
    picture = _encoded(_noise(64, 0), "TIFF")
    images: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    for number in range(questions):
        if number % QUESTIONS_PER_IMAGE == 0:
            image = len(images)
            _save(root / f"Images_LR/{image}.tif", picture)
            images.append({"id": image, "sensor": "S2", "questions_ids": [], "active": True})
        question = len(entries)
        images[-1]["questions_ids"].append(question)  # type: ignore[attr-defined]
        kind, text, answer = (
            ("presence", "Is a small road present?", "yes"),
            ("count", "What is the number of farmlands?", str(number % 40)),
            ("comp", "Are there more commercial buildings than grass areas?", "no"),
        )[number % 3]
        common = {"date_added": 1579865382.1, "people_id": 0, "active": True}
        entries.append(
            {
                "id": question,
                "img_id": image,
                "type": kind,
                "question": text,
                "answers_ids": [question],
                **common,
            }
        )
        answers.append({"id": question, "question_id": question, "answer": answer, **common})
        if number % 4 == 3:
            entries.append({"id": len(entries), "active": False})
            answers.append({"id": len(answers), "active": False})
    for name, content in (("images", images), ("questions", entries), ("answers", answers)):
        _save(root / f"LR_split_train_{name}.json", json.dumps({name: content}).encode())


def make_dior_rsvg(root: Path, objects: int) -> None:
    """Write the DIOR-RSVG layout: VOC-style XML, split files of running object numbers."""
    pictures = [_encoded(_noise(800, seed), "JPEG") for seed in range(_VARIANTS)]
    for image in range(-(-objects // OBJECTS_PER_IMAGE)):
        parts = []
        for number in range(image * OBJECTS_PER_IMAGE, min(objects, (image + 1) * OBJECTS_PER_IMAGE)):
            x, y = number * 37 % 600, number * 53 % 600
            parts.append(
                f"<object><name>ship</name><pose>Unspecified</pose><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
                f"<xmax>{x + 150}</xmax><ymax>{y + 120}</ymax></bndbox>"
                f"<description>The ship {number} on the left of the long pier</description></object>"
            )
        name = f"{image:05}"
        size = "<size><width>800</width><height>800</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(parts)}</annotation>"
        _save(root / f"Annotations/{name}.xml", text.encode())
        _save(root / f"JPEGImages/{name}.jpg", pictures[image % _VARIANTS])
    _save(root / "train.txt", "\n".join(map(str, range(objects))).encode())


def make_index_masks(root: Path, images: int) -> None:
    """Write a folder of images and index masks."""
    pictures = [_encoded(_noise(256, seed), "JPEG") for seed in range(_VARIANTS)]
    masks = []
    for seed in range(_VARIANTS):
        blocks = np.random.default_rng(seed).integers(0, len(CLASSES), (16, 16), dtype=np.uint8)
        masks.append(_encoded(blocks.repeat(16, axis=0).repeat(16, axis=1), "PNG"))
    stems = [f"{number:06}" for number in range(images)]
    for number, stem in enumerate(stems):
        _save(root / f"images/{stem}.jpg", pictures[number % _VARIANTS])
        _save(root / f"masks/{stem}.png", masks[number % _VARIANTS])
    _save(root / "train.txt", "\n".join(stems).encode())
    _save(root / "classes.json", json.dumps(dict(enumerate(CLASSES))).encode())


# Converter -> (what it is heavy in, unit of its size, whole size, maker).
SETS: dict[str, tuple[str, str, int, Callable[[Path, int], None]]] = {
    "rsvqa_lr": ("JSON", "questions", 100_000, make_rsvqa_lr),
    "dior_rsvg": ("XML", "objects", 20_000, make_dior_rsvg),
    "index_masks": ("masks", "images", 5_000, make_index_masks),
}


def measure(name: str, size: int, workers: int) -> dict[str, object]:
    """Make a dataset of a size in a temporary folder and convert it in a fresh process."""
    kind, unit, _, make = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        make(root, size)
        command = [sys.executable, __file__, "--convert", name, "--root", root, "--workers", workers]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, start_new_session=True)
        peak = _watch(process)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    if process.returncode:
        raise SystemExit(f"converting {name} failed")
    return {"set": name, "kind": kind, "size": size, "unit": unit, "peak_mib": round(peak), **result}


def convert_here(name: str, root: Path, workers: int) -> dict[str, object]:
    """Convert a dataset in this process."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, whose data_tools is this file
    from data_tools.conversion import convert
    from data_tools.converter import Settings
    from data_tools.registry import converters

    started = time.perf_counter()
    made = convert(converters()[name], Settings(root), root.with_name("out"), workers=workers)
    seconds = time.perf_counter() - started
    records = sum(made.records.values())
    return {"records": records, "seconds": round(seconds, 2), "records_per_s": round(records / seconds)}


def _watch(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; returns the largest resident size of its session, in MiB."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.02)
    return peak


def _resident(session: int) -> float:
    pages = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        if int(fields[3]) == session:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _noise(side: int, seed: int) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def _encoded(values: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format)
    return buffer.getvalue()


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main() -> None:
    """Run the benchmark, or, as the fresh process, one conversion."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the sizes above (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="converting processes (default: 1)")
    parser.add_argument("--convert", choices=tuple(SETS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        print(json.dumps(convert_here(options.convert, options.root, options.workers)))
        return
    table = Table("set", "kind", "size", "records", "seconds", "records/s", "peak MiB")
    rows = []
    for name, (kind, unit, whole, _) in SETS.items():
        for share in (0.1, 1.0):
            row = measure(name, max(1, round(whole * options.scale * share)), options.workers)
            rows.append(row)
            table.add_row(
                *(name, kind, f"{row['size']:,} {unit}", f"{row['records']:,}"),
                *(str(row[key]) for key in ("seconds", "records_per_s", "peak_mib")),
            )
    Console().print(table)
    print(json.dumps({"benchmark": "data_tools", "workers": options.workers, "rows": rows}))


if __name__ == "__main__":
    main()
