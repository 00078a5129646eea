"""Untrusted files: raw mask values come out, failures name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.files import image_size, read_json, read_mask, require
from rsunivlm.images import open_image


def test_a_mask_keeps_its_raw_values_in_every_storage_form(tmp_path: Path) -> None:
    values = np.array([[0, 1], [128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([values, values * 0, values * 0], -1)).save(tmp_path / "colour.png")
    palette = Image.fromarray(values, mode="P")
    palette.putpalette(list(range(256))[::-1] * 3)  # colours that would change the values
    palette.save(tmp_path / "palette.png")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_mask(path), values)


def test_broken_files_are_named(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    image = save_image("whole.png", (64, 64))
    (tmp_path / "cut.png").write_bytes(image.read_bytes()[:-2000])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.json").write_text('{"images": [')
    for call, name, words in (
        (read_mask, "cut.png", "cut.png is damaged"),
        (read_mask, "absent.png", "absent.png is missing"),
        (image_size, "text.png", "text.png is unreadable"),
        (read_json, "cut.json", "cut.json is not valid JSON"),
        (read_json, "absent.json", "absent.json does not exist"),
    ):
        with pytest.raises(ValueError, match=words):
            call(tmp_path / name)
    with pytest.raises(ValueError, match="has no Data; expected layout: Data/"):
        require(tmp_path, "Data", layout="Data/{id}.tif")


def test_a_turned_photograph_has_the_size_it_is_shown_in(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "turned.jpg") == open_image(tmp_path / "turned.jpg").size == (20, 40)
