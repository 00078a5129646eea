"""An upload is known by its content, measured before it is decoded, and named in every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsunivlm.demo import uploads
from rsunivlm.demo.limits import Limits
from rsunivlm.demo.uploads import read_upload

LIMITS = Limits(max_pixels=10_000)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif", "tiff"])
def test_plain_pictures_are_read_whatever_their_name(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.dat"
    Image.new("RGB", (60, 40), "gray").save(file, format=kind)
    scene = read_upload(file, LIMITS)
    assert (scene.name, scene.size, scene.picture.mode, scene.place) == ("picture.dat", (60, 40), "RGB", None)


def test_limit_is_checked_before_decoding(grey_png: Callable[..., Path]) -> None:
    assert read_upload(grey_png(size=(100, 100)), LIMITS).size == (100, 100)
    with pytest.raises(ValueError, match=r"scene.png has 101 x 100"):
        read_upload(grey_png(size=(101, 100)), LIMITS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "scene.png"),
        (b"<VRTDataset rasterXSize='9' rasterYSize='9'></VRTDataset>", "scene.png"),
        (b"\x89PNG\r\n\x1a\nrubbish", "scene.png"),
        (b"II*\0rubbish", "scene.png"),
    ],
)
def test_bad_file_is_refused_by_name_without_its_folder(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "scene.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read_upload(file, LIMITS)
    assert str(tmp_path) not in str(caught.value)


def test_truncated_picture_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"damaged or truncated: cut.png"):
        read_upload(file, LIMITS)


def test_vanished_upload_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the upload gone.png is gone"):
        read_upload(tmp_path / "gone.png", LIMITS)


def test_plain_tiff_is_read_without_rasterio_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "find_spec", lambda name: None)
    Image.new("RGB", (60, 40)).save(tmp_path / "a.tif")
    assert "georeference" in read_upload(tmp_path / "a.tif", LIMITS).notes[0]
