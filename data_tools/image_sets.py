"""Annotations that gather images from many public sets: ``coco/train2017/1.jpg``, ``sam/images/2.jpg``.

Hardly anybody has all of these sets on disk. What belongs to a set that is not there at all is left out and
counted by set; a file that is missing from a set that is there is bad.
"""

from __future__ import annotations

from pathlib import Path

from data_tools.files import image_size
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image


def size_in_set(root: Path, image: str, questions: int, report: ConversionReport) -> tuple[int, int] | None:
    """Return (width, height) of an image, or None, counted, where its whole set is absent.

    Args:
        root: folder of the image sets.
        image: path whose first folder is the image set.
        questions: how many questions are lost with it.
        report: counts what is left out.

    Raises:
        ValueError: the path leads out of the root, or the file is missing or no image.
    """
    path = resolve_image(root, image)
    image_set = image.split("/")[0]
    if not (root / image_set).is_dir():
        report.left_out[f"images of {image_set!r} are not downloaded"] += questions
        return None
    return image_size(path)
