"""Converted folders written by hand, and pictures that look like no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rsunivlm.codecs import BoxCodec, MaskCodec

MakeFolder = Callable[..., Path]


def scene(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that looks like no other: smooth random shapes."""
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def save_scene(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    """Write a `scene` in the format of the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(seed, size).save(path)


def line(
    number: int | str, image: str | list[str], task: str, prompt: str, answer: str, targets: Any = None
) -> dict[str, Any]:
    """A record as JSON."""
    marks = "<image>" * (1 if isinstance(image, str) else len(image))
    turns = [{"from": "human", "value": f"{marks}\n{prompt}"}, {"from": "gpt", "value": answer}]
    record = {"id": str(number), "image": image, "task": task, "conversations": turns}
    return record if targets is None else record | {"targets": targets}


def write_folder(
    out: Path,
    files: Mapping[str, Sequence[dict[str, Any] | str]],
    images: Path,
    dataset: str = "ours",
    **options: Any,
) -> Path:
    """Write a folder as `convert` would leave it: record files by name, `options` as conversion options."""
    for name, lines in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [entry if isinstance(entry, str) else json.dumps(entry) for entry in lines]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    summary = {
        "dataset": dataset,
        "converter": dataset,
        "licence": "none",
        "images": str(images),
        "records": {name: len(lines) for name, lines in files.items()},
        "options": {
            "limit": None,
            "turns": 1,
            "include_overlap": False,
            "box_codec": BoxCodec().to_dict(),
            "mask_codec": MaskCodec(grid=4).to_dict(),
        }
        | options,
        "samples": {},
        "bad_samples": 0,
        "left_out": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "conversion.json").write_text(json.dumps(summary), encoding="utf-8")
    return out
