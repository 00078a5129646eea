"""Copies are found, strangers are not, and the search misses nobody within its limit."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_tools.perceptual import MAX_BITS, Look, Signature, read_signature, same_pictures, signature


def scene(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((320, 240), Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=60)
    return Image.open(stream)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "smaller": lambda picture: picture.resize((100, 75), Image.Resampling.LANCZOS),
    "of another shape": lambda picture: picture.resize((200, 200), Image.Resampling.BICUBIC),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.1),
    "grey": lambda picture: picture.convert("L"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_strangers_are_not(kind: str) -> None:
    originals = [scene(seed) for seed in range(20)]
    copies = [COPIES[kind](picture) for picture in originals]
    look = Look.of([signature(picture) for picture in [*originals, *copies]])
    found = {(one, other) for one, other, _ in same_pictures(look, np.arange(20), np.arange(20, 40))}
    assert found == {(number, number + 20) for number in range(20)}


@pytest.mark.parametrize("change", ["crop", "mirror"])
def test_other_views_are_other_pictures(change: str) -> None:
    original = scene(0)
    other = original.crop((80, 0, 320, 240)) if change == "crop" else original.transpose(Image.Transpose(0))
    look = Look.of([signature(original), signature(other)])
    assert list(same_pictures(look, np.array([0]), np.array([1]))) == []


def test_search_finds_all_pairs_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    thumbnail = rng.integers(0, 256, 256, dtype=np.uint8).tobytes()
    bits = [int(value) for value in rng.integers(0, 2**63, 60)]
    for base in bits[:20]:  # neighbours of every distance around the limit
        flips = rng.choice(64, int(rng.integers(0, 12)), replace=False)
        bits.append(base ^ sum(1 << int(flip) for flip in flips))
    look = Look.of([Signature(value, thumbnail) for value in bits])
    everyone = np.arange(len(bits))
    expected = {
        (one, other, (bits[one] ^ bits[other]).bit_count())
        for one in everyone.tolist()
        for other in everyone.tolist()
        if one != other and (bits[one] ^ bits[other]).bit_count() <= MAX_BITS
    }
    assert set(same_pictures(look, everyone, everyone)) == expected
    assert len(expected) > 10


def test_equal_hashes_of_unlike_pictures_are_no_copies() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (2, 256), dtype=np.uint8)
    look = Look.of([Signature(7, row.tobytes()) for row in thumbnails])
    assert list(same_pictures(look, np.array([0]), np.array([1]))) == []


def test_plain_pictures_are_not_compared() -> None:
    look = Look.of([signature(Image.new("L", (64, 64), grey)) for grey in (7, 7)])
    assert look.plain().all()
    assert list(same_pictures(look, np.array([0]), np.array([1]))) == []


def test_reduced_reading_sees_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    scene(3).resize((1600, 1200), Image.Resampling.BICUBIC).save(path, quality=90)
    look = Look.of([read_signature(path), read_signature(path, whole=True)])
    assert len(list(same_pictures(look, np.array([0]), np.array([1])))) == 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str, whole: bool) -> None:
    path = tmp_path / f"cut.{suffix}"
    scene(1).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"cut.{suffix}"):
        read_signature(path, whole=whole)
