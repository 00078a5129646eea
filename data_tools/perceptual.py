"""Finding one picture among many by its look: a 64-bit perceptual hash and a search for near neighbours.

The hash is the sign pattern of the picture's lowest frequencies ("pHash", Zauner 2010): an 8 x 8 block of the
DCT of a 32 x 32 grey thumbnail against its median. Recompression, another file format or another size change
a few of its 64 bits; two different pictures differ in about 32. Candidates that differ in at most
`MAX_BITS` are compared by their 16 x 16 thumbnails, since among many thousand aerial pictures some fields and
seas hash alike: pictures count as the same when the thumbnails correlate by `MIN_CORRELATION` or more.

On 9,243 pictures of four public datasets, 99 % of copies recompressed at quality 75, halved, or brightened
by 15 % stay within both limits; the different pictures that do so are the datasets' own true duplicates.
Crops, flips and rotations are other pictures here.

Neighbours are found by the pigeonhole principle: two hashes that differ in at most 7 bits agree in at least
one of their 8 bytes. So only pairs that share a byte are compared, which takes seconds for 100,000 pictures,
and memory is 264 bytes a picture.

Shapes: N pictures, K pairs, 32/16/8 sides of thumbnails and blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rsunivlm.images import MAX_PIXELS, open_image

MAX_BITS = 7
MIN_CORRELATION = 0.98
# Grey levels of standard deviation below which a thumbnail shows nothing that could be recognised.
MIN_CONTRAST = 1.0
_HASH_SIDE, _THUMBNAIL_SIDE, _DCT_SIDE = 8, 16, 32
_DRAFT_SIDE = 128
_BYTES = 8
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)
# Pairs compared at once; bounds the memory of a search.
_BLOCK_PAIRS = 4_000_000

_FREQUENCIES = np.arange(_HASH_SIDE)[:, None]
_DCT_8x32 = np.cos(np.pi / _DCT_SIDE * (np.arange(_DCT_SIDE) + 0.5) * _FREQUENCIES)


@dataclass(frozen=True)
class Signature:
    """How a picture looks.

    Attributes:
        bits: the 64-bit hash.
        thumbnail: 16 x 16 grey levels, row by row.
    """

    bits: int
    thumbnail: bytes


def read_signature(path: Path, *, whole: bool = False) -> Signature:
    """Read a picture and sum up its look.

    Args:
        path: the image file.
        whole: decode every pixel; otherwise a JPEG is decoded at the reduced size that its format offers.

    Raises:
        ValueError: the file is missing, damaged, too large or no image.
    """
    return signature(open_image(path) if whole else _open_reduced(path))


def signature(picture: Image.Image) -> Signature:
    """Sum up the look of an open picture."""
    grey = picture.convert("L")
    small_32 = np.asarray(grey.resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.BOX), np.float64)
    block_88 = _DCT_8x32 @ small_32 @ _DCT_8x32.T
    bits = np.packbits(block_88 > np.median(block_88))
    thumbnail = grey.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
    return Signature(int.from_bytes(bits.tobytes(), "little"), thumbnail.tobytes())


@dataclass(frozen=True)
class Look:
    """The signatures of many pictures.

    Attributes:
        bits: [N] hashes.
        thumbnails: [N, 256] grey levels.
    """

    bits: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def of(cls, signatures: list[Signature]) -> Look:
        """Gather signatures."""
        thumbnails = np.frombuffer(b"".join(entry.thumbnail for entry in signatures), np.uint8)
        return cls(
            np.array([entry.bits for entry in signatures], np.uint64),
            thumbnails.reshape(len(signatures), _THUMBNAIL_SIDE**2),
        )

    def plain(self) -> NDArray[np.bool_]:
        """Which pictures [N] show too little to be compared, e.g. open sea or no data."""
        return self.thumbnails.std(axis=1) < MIN_CONTRAST


def same_pictures(
    look: Look, first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[tuple[int, int, int]]:
    """Find the pictures of one group that are in another too.

    Args:
        look: signatures of all.
        first: numbers of the one group's pictures.
        second: numbers of the other's; may overlap with `first` (a picture is never paired with itself).

    Yields:
        Number in the first group, number in the second, bits that differ; each pair once, in order.
    """
    plain_N = look.plain()
    first, second = first[~plain_N[first]], second[~plain_N[second]]
    found: set[tuple[int, int]] = set()
    for one_K, other_K in _sharing_a_byte(look.bits, first, second):
        close_K = _differing_bits(look.bits[one_K], look.bits[other_K]) <= MAX_BITS
        one_K, other_K = one_K[close_K], other_K[close_K]
        alike_K = _correlation(look.thumbnails[one_K], look.thumbnails[other_K]) >= MIN_CORRELATION
        alike_K &= one_K != other_K
        found |= set(zip(one_K[alike_K].tolist(), other_K[alike_K].tolist(), strict=True))
    for one, other in sorted(found):
        yield one, other, int(_differing_bits(look.bits[one : one + 1], look.bits[other : other + 1])[0])


def _open_reduced(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.format != "JPEG" or picture.width * picture.height > MAX_PIXELS:
                return open_image(path)
            # libjpeg can decode at 1/2, 1/4 or 1/8 of the size, several times faster.
            picture.draft("L", (_DRAFT_SIDE, _DRAFT_SIDE))
            return ImageOps.exif_transpose(picture).convert("L")
    except Image.DecompressionBombError as error:
        raise ValueError(f"image is too large: {path}: {error}") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"image file is damaged or truncated: {path} ({error})") from error


def _sharing_a_byte(
    bits: NDArray[np.uint64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs whose hashes agree in at least one byte, in blocks; a pair may come several times."""
    for byte in range(_BYTES):
        shift = np.uint64(8 * byte)
        keys = [(bits[group] >> shift & np.uint64(255)).astype(np.int64) for group in (first, second)]
        ordered = second[np.argsort(keys[1], kind="stable")]
        starts = np.searchsorted(np.sort(keys[1]), np.arange(257))
        for key in range(256):
            ones, others = first[keys[0] == key], ordered[starts[key] : starts[key + 1]]
            rows = max(1, _BLOCK_PAIRS // max(1, len(others)))
            for start in range(0, len(ones) if len(others) else 0, rows):
                block = ones[start : start + rows]
                yield np.repeat(block, len(others)), np.tile(others, len(block))


def _differing_bits(one_K: NDArray[np.uint64], other_K: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return _ONES[(one_K ^ other_K).view(np.uint8)].reshape(-1, _BYTES).sum(axis=1, dtype=np.uint8)


def _correlation(one_KP: NDArray[np.uint8], other_KP: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pearson's correlation [K] of thumbnails pair by pair; they have contrast, so no division by zero."""
    centred = [side - side.mean(axis=1, keepdims=True) for side in (one_KP, other_KP)]
    norms = [np.linalg.norm(side, axis=1) for side in centred]
    return (centred[0] * centred[1]).sum(axis=1) / (norms[0] * norms[1])
