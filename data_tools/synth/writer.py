"""Writes a collection of synthetic scenes: pictures, masks, record files, manifest.

Training: ``train.jsonl`` holds everything, and ``training/{task}_train.jsonl`` the same turns one task per
record (the layout of the converters), for mixtures that weigh tasks. Evaluation: ``{task}.jsonl``.

Every scene and pair is made from (split, seed, index) alone, so the files are the same for any number of
workers. The folder is built beside its destination and renamed at the end: an interrupted run leaves nothing
that could be mistaken for a collection.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from data_tools.synth import samples
from data_tools.synth.items import LABELS
from data_tools.synth.pairs import make_pair
from data_tools.synth.samples import Language, Sample
from data_tools.synth.scene import SCENE_CLASSES, make_scene, random_stream
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record, RecordWriter
from rsunivlm.tasks import Task, route

GENERATOR = "rsunivlm synth"
VERSION = 1
SPLITS = ("train", "eval")
MANIFEST = "manifest.json"
_EMPTY_CHANGE_KEPT = 0.35


@dataclass(frozen=True)
class Order:
    """What to write.

    ``turns`` is the most questions about one picture in a training record; ``image_format`` is "jpeg" (fast)
    or "webp" (small).
    """

    scenes: int
    pairs: int
    size: int = 160
    seed: int = 0
    split: Literal["train", "eval"] = "train"
    turns: int = 4
    boxes: BoxCodec = field(default_factory=BoxCodec)
    masks: MaskCodec = field(default_factory=MaskCodec)
    image_format: Literal["jpeg", "webp"] = "jpeg"

    @property
    def language(self) -> Language:
        """How this order's records speak."""
        return Language(self.boxes, self.masks, vary=self.split == "train")


def write_collection(order: Order, out: Path, *, workers: int = 1, force: bool = False) -> dict[str, int]:
    """Make the collection ``order`` in folder ``out``; return the number of records per file.

    Raises:
        ValueError: the order makes no sense, or ``out`` is not empty and may not be replaced.
    """
    _check(order, workers)
    with _replacing(out, force) as folder:
        made = _write_all(order, folder, workers)
        manifest = {
            "generator": GENERATOR,
            "version": VERSION,
            **asdict(order),
            "labels": list(LABELS),
            "scene_classes": list(SCENE_CLASSES),
            "records": made,
        }
        (folder / MANIFEST).write_text(
            json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
    return made


def _check(order: Order, workers: int) -> None:
    if order.scenes < 0 or order.pairs < 0 or order.scenes + order.pairs == 0:
        raise ValueError(f"--scenes {order.scenes} --pairs {order.pairs}: ask for at least one scene or pair")
    if not 32 <= order.size <= 2048:
        raise ValueError(f"--size {order.size}: choose a side of 32 to 2048 pixels")
    if order.turns < 1 or workers < 1:
        raise ValueError("--turns and --workers must be at least 1")
    if order.split not in SPLITS:
        raise ValueError(f"unknown split {order.split!r}; choose train or eval")


@contextmanager
def _replacing(out: Path, force: bool) -> Iterator[Path]:
    """Give a fresh folder that takes the place of ``out`` when the block succeeds."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder")
    occupied = out.is_dir() and any(out.iterdir())
    if occupied and not force:
        raise ValueError(f"{out} is not empty; name another folder or replace it with --force")
    if occupied and not _is_collection(out):
        raise ValueError(
            f"{out} was not written by this command (no {MANIFEST} of {GENERATOR}); remove it yourself"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    # mkdtemp makes private folders; a collection is as readable as any other new folder.
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    try:
        yield folder
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_collection(out: Path) -> bool:
    manifest = out / MANIFEST
    if not manifest.is_file():
        return False
    try:
        return json.loads(manifest.read_text(encoding="utf-8")).get("generator") == GENERATOR
    except (ValueError, AttributeError):
        return False


def _write_all(order: Order, folder: Path, workers: int) -> dict[str, int]:
    """Make every scene and pair and sort their records into files."""
    for index in range(0, max(order.scenes, order.pairs), 1000):
        for kind in ("images", "masks"):
            (folder / kind / f"{index // 1000:03d}").mkdir(parents=True, exist_ok=True)
    jobs = [("scene", index) for index in range(order.scenes)] + [
        ("pair", index) for index in range(order.pairs)
    ]
    counted: Counter[str] = Counter()
    by_task = "training/{}_train.jsonl" if order.split == "train" else "{}.jsonl"
    names = {task: by_task.format(task.value) for task in Task}
    whole = "train.jsonl"
    with ExitStack() as stack:
        files = [*names.values(), whole] if order.split == "train" else list(names.values())
        writers = {name: stack.enter_context(RecordWriter(folder / name)) for name in files}

        def write(name: str, record: Record) -> None:
            writers[name].write(record)
            counted[name] += 1

        for records in _run(partial(make_records, order, folder), jobs, workers):
            for record in records:
                if order.split == "train":
                    write(whole, record)
                for part in by_tasks(record):
                    write(names[part.task], part)
    return dict(sorted(counted.items()))


def _run(work: partial[list[Record]], jobs: list[tuple[str, int]], workers: int) -> Iterator[list[Record]]:
    """Do the jobs in order, in this process or in several."""
    if workers == 1:
        yield from map(work, jobs)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(work, jobs, chunksize=16)


def make_records(order: Order, folder: Path, job: tuple[str, int]) -> list[Record]:
    """Make one scene or pair: write its pictures and masks below ``folder``, return its records."""
    kind, index = job
    return _scene_records(order, folder, index) if kind == "scene" else _pair_records(order, folder, index)


def _scene_records(order: Order, folder: Path, index: int) -> list[Record]:
    scene = make_scene(order.seed, index, order.size, order.split)
    rng = random_stream(order.split, order.seed, index, "questions")
    language = order.language
    image = _save_image(order, folder, f"{index // 1000:03d}/s{index:06d}", scene.picture)
    mask_path = f"masks/{index // 1000:03d}/s{index:06d}.png"
    name = f"synth-{order.split}-{order.seed}-s{index:06d}"
    if order.split == "train":
        whole = [samples.classification(scene, language, rng), samples.captioning(scene, language, rng)]
        whole = (whole + samples.questions(scene, language, rng, max(1, order.turns - 2)))[: order.turns]
        rng.shuffle(whole)
        groups = [
            whole,
            samples.grounding(scene, language, rng, order.turns),
            samples.region_description(scene, language, rng, order.turns),
            samples.segmentation(scene, language, rng, min(order.turns, rng.choice((1, 2))), mask_path),
        ]
    else:
        groups = [
            [samples.classification(scene, language, rng)],
            samples.questions(scene, language, rng, 1),
            [samples.captioning(scene, language, rng)],
            samples.grounding(scene, language, rng, 1),
            samples.region_description(scene, language, rng, 1),
            samples.segmentation(scene, language, rng, 1, mask_path),
        ]
    _save_mask(folder / mask_path, scene.labels)
    return [_record(name, (image,), group) for group in groups if group]


def _pair_records(order: Order, folder: Path, index: int) -> list[Record]:
    pair = make_pair(order.seed, index, order.size, order.split)
    rng = random_stream(order.split, order.seed, index, "pair questions")
    language = order.language
    stem = f"{index // 1000:03d}/p{index:06d}"
    images = tuple(
        _save_image(order, folder, f"{stem}{when}", picture)
        for when, picture in zip("ab", pair.pictures, strict=True)
    )
    mask_path = f"masks/{stem}.png"
    groups = [[samples.change_captioning(pair, language, rng)]]
    # Empty masks are learnt quickly; in training only a part of them is kept.
    if order.split == "eval" or pair.houses or rng.random() < _EMPTY_CHANGE_KEPT:
        groups.append([samples.change_detection(pair, language, rng, mask_path)])
        _save_mask(folder / mask_path, pair.change_mask)
    return [_record(f"synth-{order.split}-{order.seed}-p{index:06d}", images, group) for group in groups]


def by_tasks(record: Record) -> list[Record]:
    """Split a record of several tasks into one record per task, so that a mixture can weigh the tasks."""
    tasks = [route(turn.prompt, num_images=len(record.images)).task for turn in record.turns]
    if set(tasks) == {record.task}:
        return [record]
    parts = []
    for task in dict.fromkeys(tasks):
        mine = [position for position, found in enumerate(tasks) if found is task]
        targets = (
            [record.targets[position] for position in mine] if isinstance(record.targets, list) else None
        )
        parts.append(
            replace(
                record,
                id=f"{record.id.removesuffix('-image')}-{task.value}",
                turns=tuple(record.turns[position] for position in mine),
                task=task,
                targets=targets[0] if targets and len(targets) == 1 else targets,
            )
        )
    return parts


def _record(name: str, images: tuple[str, ...], group: list[Sample]) -> Record:
    """Join samples of one granularity into one record."""
    targets = [sample.target for sample in group]
    return Record(
        id=f"{name}-{'image' if len({sample.task for sample in group}) > 1 else group[0].task.value}",
        images=images,
        turns=tuple(sample.turn for sample in group),
        task=group[0].task,
        source="synth",
        targets=targets if len(group) > 1 else targets[0],
    )


def _save_image(order: Order, folder: Path, stem: str, picture: Image.Image) -> str:
    if order.image_format == "webp":
        path = f"images/{stem}.webp"
        picture.save(folder / path, quality=85, method=2)
    else:
        path = f"images/{stem}.jpg"
        picture.save(folder / path, quality=90)
    return path


def _save_mask(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8)).save(path, optimize=False)
