"""Ten kinds of fault to plant into converted datasets, each of which the doctor must find and name.

Every fault takes records of its own, so that each shows alone, and returns where it must be reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.doctor.findings import Kind

Place = tuple[str, Kind, str]


@dataclass
class Dataset:
    """A converted dataset that may be spoilt: its folder, its images, and what no fault may touch again."""

    name: str
    out: Path
    images: Path
    touched: set[str] = field(default_factory=set)

    def fresh(self, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Records of a file with their line numbers; those whose files an earlier fault took are left out."""
        for number, text in enumerate((self.out / file).read_text().splitlines(), start=1):
            try:
                record = json.loads(text)
            except json.JSONDecodeError:
                continue
            if self.touched.isdisjoint(files_of(record)):
                yield number, record

    def take(
        self, file: str, fits: Callable[[dict[str, Any]], bool] = lambda record: True
    ) -> tuple[int, dict[str, Any]]:
        """The next fresh record that fits; its files are taken."""
        number, record = next((number, record) for number, record in self.fresh(file) if fits(record))
        self.touched |= files_of(record)
        return number, record

    def rewrite(self, file: str, number: int, text: str | None) -> None:
        """Replace a line, or remove it."""
        lines = (self.out / file).read_text().splitlines()
        lines[number - 1 : number] = [] if text is None else [text]
        (self.out / file).write_text("".join(f"{line}\n" for line in lines))

    def picture(self, record: dict[str, Any], side: int = 0) -> str:
        """Path of a record's image, of a pair the given side."""
        return record["image"] if isinstance(record["image"], str) else record["image"][side]


def files_of(record: dict[str, Any]) -> set[str]:
    """Images and mask of a record."""
    images = [record["image"]] if isinstance(record["image"], str) else record["image"]
    targets = record.get("targets") or {}
    return {*images, targets["mask"]} if "mask" in targets else set(images)


def said(record: dict[str, Any]) -> str:
    """The answer of a single-turn record."""
    return record["conversations"][1]["value"]


def with_answer(record: dict[str, Any], text: str) -> str:
    """The record with another answer, as a line."""
    question, answer = record["conversations"]
    return json.dumps(record | {"conversations": [question, answer | {"value": text}]})


@dataclass(frozen=True)
class World:
    """One dataset with boxes, one with masks, one with pairs, masks and captions."""

    boxes: Dataset
    masks: Dataset
    pairs: Dataset

    @property
    def outs(self) -> list[Path]:
        """The three folders."""
        return [self.boxes.out, self.masks.out, self.pairs.out]

    def three(self) -> list[tuple[Dataset, str]]:
        """A training file of each."""
        return [
            (self.boxes, "training/vg_train.jsonl"),
            (self.masks, "training/ss_train.jsonl"),
            (self.pairs, "training/cd_train.jsonl"),
        ]


def missing_images(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        image = dataset.picture(dataset.take(file)[1])
        (dataset.images / image).unlink()
        yield dataset.name, Kind.IMAGE_MISSING, image


def truncated_images(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        image = dataset.picture(dataset.take(file)[1])
        path = dataset.images / image
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
        yield dataset.name, Kind.IMAGE_DAMAGED, image


def resized_images(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        _, record = dataset.take(file)
        image = dataset.picture(record, side=1)
        with Image.open(dataset.images / image) as picture:
            picture.convert("RGB").resize((picture.width + 8, picture.height)).save(dataset.images / image)
        if dataset is world.boxes:
            yield dataset.name, Kind.IMAGE_SIZE, image
        else:
            yield dataset.name, Kind.MASK_SIZE, record["targets"]["mask"]
        if dataset is world.pairs:
            yield dataset.name, Kind.PAIR_SIZES, image


def cut_lines(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        number, record = dataset.take(file)
        text = json.dumps(record)
        dataset.rewrite(file, number, text[: len(text) // 2])
        yield dataset.name, Kind.BAD_RECORD, f"{file}:{number}"


def repeated_ids(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        _, first = dataset.take(file)
        number, second = dataset.take(file)
        dataset.rewrite(file, number, json.dumps(second | {"id": first["id"]}))
        yield dataset.name, Kind.DUPLICATE_ID, f"{file}:{number}"


def shifted_boxes(world: World) -> Iterator[Place]:
    dataset, file = world.boxes, "training/vg_train.jsonl"
    for _ in range(3):
        number, record = dataset.take(file)
        x1, y1, x2, y2 = json.loads(said(record))
        step = 2 if x2 <= 98 else -2
        dataset.rewrite(file, number, with_answer(record, f"[{x1 + step}, {y1}, {x2 + step}, {y2}]"))
        yield dataset.name, Kind.BOX_TEXT, f"{file}:{number}"


def unknown_labels(world: World) -> Iterator[Place]:
    for dataset, file in (world.three()[1], world.three()[1], world.three()[2]):
        number, record = dataset.take(file, lambda record: record["targets"]["labels"][1] in said(record))
        text = said(record).replace(record["targets"]["labels"][1], "castle", 1)
        dataset.rewrite(file, number, with_answer(record, text))
        yield dataset.name, Kind.MASK_LABEL, f"{file}:{number}"


def repainted_masks(world: World) -> Iterator[Place]:
    for dataset, file in (world.three()[1], world.three()[1], world.three()[2]):
        mask, value = (dataset.take(file)[1]["targets"][name] for name in ("mask", "value"))
        path = dataset.images / mask
        with Image.open(path) as picture:
            values = np.array(picture)
        upper = values[: len(values) // 2]
        upper[:] = 0 if (upper == value).mean() > 0.5 else value
        path.unlink()  # the mask may be named .jpg and hold PNG data, so that no other values creep in
        Image.fromarray(values).save(path, format="PNG")
        yield dataset.name, Kind.MASK_DIFFERS, mask


def copied_test_images(world: World) -> Iterator[Place]:
    for dataset, file in world.three():
        test = file.removeprefix("training/").replace("train", "test")
        source = dataset.picture(dataset.take(test)[1])
        goal = dataset.picture(dataset.take(file)[1])
        with Image.open(dataset.images / goal) as picture:
            size = picture.size
        with Image.open(dataset.images / source) as picture:
            copy = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        options = {"quality": 60} if goal.endswith(".jpg") else {}
        copy.save(dataset.images / goal, **options)
        yield dataset.name, Kind.DUPLICATE_IMAGE, goal


def lost_lines(world: World) -> Iterator[Place]:
    for dataset, file in (
        (world.boxes, "reg_test.jsonl"),
        (world.masks, "ss_test.jsonl"),
        (world.pairs, "training/cc_train.jsonl"),
    ):
        dataset.rewrite(file, len((dataset.out / file).read_text().splitlines()), None)
        yield dataset.name, Kind.RECORDS_MISSING, file


FAULTS = (
    missing_images,
    truncated_images,
    resized_images,
    cut_lines,
    repeated_ids,
    shifted_boxes,
    unknown_labels,
    repainted_masks,
    copied_test_images,
    lost_lines,
)
