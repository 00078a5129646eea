"""Every converter: its fixture gives the golden records, and their texts decode back to the annotation."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.registry import converters
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from fixtures import fixtures  # noqa: E402
from golden import converted  # noqa: E402


def test_every_converter_has_a_fixture_and_a_golden_file() -> None:
    assert set(fixtures()) == set(converters()) == {path.stem for path in (HERE / "golden").glob("*.json")}


@pytest.mark.parametrize("name", sorted(fixtures()))
def test_fixture_gives_the_golden_records_that_decode_to_the_annotation(name: str, tmp_path: Path) -> None:
    content = converted(name, tmp_path)
    golden = json.loads((HERE / "golden" / f"{name}.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(content)) == golden
    manifest = converters()[name].manifest
    images = tmp_path / ("out" if manifest.cuts_images(tmp_path / "root") else "root")
    masks = fixtures()[name].options.get("masks", MaskCodec())
    boxes = fixtures()[name].options.get("boxes", BoxCodec())
    seen = set()
    for file, lines in content["files"].items():
        assert lines, file
        for line in lines:
            record = Record.from_json(line, file)
            assert all((images / image).is_file() for image in record.images)
            targets = record.targets if isinstance(record.targets, list) else [record.targets]
            for turn, target in zip(record.turns, targets, strict=True):
                if target is None:  # one of several answers; the evaluation form has them all
                    assert record.task.answer_kind == "text"
                    continue
                _check_round_trip(record.task.value, turn.prompt, turn.answer, target, images, boxes, masks)
            seen.add(record.task)
    assert seen == set(manifest.tasks)


def _check_round_trip(
    task: str,
    prompt: str,
    answer: str,
    target: dict[str, Any],
    images: Path,
    boxes: BoxCodec,
    masks: MaskCodec,
) -> None:
    if task == "vg":
        _check_boxes(answer, target["boxes_px"], target["image_size"], boxes)
    elif task == "reg":
        _check_boxes(prompt, [target["box_px"]], target["image_size"], boxes)
        assert answer in target["references"]
    elif task == "sc":
        assert answer == target["label"]
        assert answer in target["classes"]
        assert ", ".join(target["classes"]) in prompt
    elif task == "vqa":
        assert answer == target["answer"]
    elif task in ("cap", "cc"):
        assert answer in target["references"]
    else:
        _check_mask(answer, target, images, masks)


def _check_boxes(text: str, boxes_px: Any, size: tuple[int, int], codec: BoxCodec) -> None:
    (found,) = re.findall(r"\[[^\[\]A-Za-z]*\](?:, \[[^\[\]A-Za-z]*\])*", text)
    decoded, report = codec.decode(found, tuple(size))
    assert report.clean
    half_step = np.tile(size, 2) / codec.range / 2
    assert (np.abs(decoded - np.array(boxes_px)) <= half_step + 1e-9).all()


def _check_mask(answer: str, target: dict[str, Any], images: Path, codec: MaskCodec) -> None:
    """The text's grid equals the grid of the mask as it lies on disk, wherever the mask is annotated."""
    grid, report = codec.text_to_grid(answer, target["labels"])
    assert report.valid
    with Image.open(images / target["mask"]) as picture:
        values = np.asarray(picture)
    truth = _is(values, target["value"]).astype(np.int32)
    ignored = np.zeros_like(truth, bool)
    for value in target.get("ignore", []):
        ignored |= _is(values, value)
    truth[ignored] = 2
    np.testing.assert_array_equal(grid, codec.to_grid(truth, 2, ignore_index=2))


def _is(values: np.ndarray, value: int | list[int]) -> np.ndarray:
    if isinstance(value, list):
        return (values[..., :3] == value).all(axis=-1)
    return (values if values.ndim == 2 else values[..., 0]) == value
