"""Folders of images with colour-coded masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import save_json, save_picture, save_text, save_values
from fixtures.colour_masks import make_colour_masks
from PIL import Image

from data_tools.converter import Converter, Sample, Settings
from data_tools.converters import colour_masks, index_masks
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

COLOURS = {"#000000": "void", "#ff0000": "building", "0, 255, 0": "tree", "1,2,3": "background"}


def read(converter: Converter, root: Path) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("masks")
    return list(converter.read("train", Settings(root, masks=MaskCodec(8)), report)), report


def test_colours_and_numbers_give_the_same_answers(tmp_path: Path) -> None:
    """The same label image in three forms: numbers, colours, colours behind a palette."""
    values = np.random.default_rng(0).integers(0, 4, (24, 24)).astype(np.uint8)
    lookup = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    for form in ("numbers", "colours", "palette"):
        save_picture(tmp_path / form / "images/a.jpg", (24, 24))
        save_text(tmp_path / form / "train.txt", "a\n")
        save_json(tmp_path / form / "classes.json", COLOURS)
    save_json(tmp_path / "numbers/classes.json", dict(enumerate(COLOURS.values())))
    save_values(tmp_path / "numbers/masks/a.png", values)
    save_values(tmp_path / "colours/masks/a.png", lookup[values])
    (tmp_path / "palette/masks").mkdir()
    palette = Image.fromarray(values, mode="P")
    palette.putpalette(lookup.ravel().tolist())
    palette.save(tmp_path / "palette/masks/a.png")
    numbers, _ = read(index_masks.CONVERTERS[0], tmp_path / "numbers")
    for form in ("colours", "palette"):
        found, report = read(colour_masks.CONVERTERS[0], tmp_path / form)
        assert not report.bad
        assert [(s.id, s.answers, s.training) for s in found] == [
            (s.id, s.answers, s.training) for s in numbers
        ]
        assert [sample.target["value"] for sample in found] == [[255, 0, 0], [0, 255, 0]]
        assert found[0].target["ignore"] == [[0, 0, 0]]


def test_a_lossy_mask_is_bad(tmp_path: Path) -> None:
    make_colour_masks(tmp_path)
    samples, report = read(colour_masks.CONVERTERS[0], tmp_path)
    assert {sample.images for sample in samples} == {("images/a.jpg",)}
    assert report.bad == {"images/c.jpg": "mask has 1 unknown colours, e.g. (61, 16, 152)"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"0": "building"}, "'0' is no colour of its own"),
        ({"256,0,0": "building"}, "'256,0,0' is no colour of its own"),
        ({"#ff0000": "building", "255,0,0": "tree"}, "'255,0,0' is no colour of its own"),
        ({"#ff0000": "building", "#00ff00": "Building"}, "must hold distinct names"),
    ],
)
def test_an_unusable_class_file_stops(tmp_path: Path, content: Any, words: str) -> None:
    make_colour_masks(tmp_path)
    save_json(tmp_path / "classes.json", content)
    with pytest.raises(ValueError, match=words):
        read(colour_masks.CONVERTERS[0], tmp_path)
