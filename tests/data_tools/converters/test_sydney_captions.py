"""Sydney-captions: captions only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Settings
from data_tools.converters.sydney_captions import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task


def test_every_image_gives_its_captions(
    tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]
) -> None:
    with pytest.raises(ValueError, match="has no imgs; expected layout"):
        find_splits(tmp_path)
    save_image("imgs/7.tif")
    texts = [{"raw": " Houses and roads . "}, {"raw": "Many houses ."}]
    entries = [{"filename": f"{n}.tif", "split": "test", "sentences": texts} for n in (7, 8)]
    save_json("dataset.json", {"images": entries})
    assert find_splits(tmp_path) == ("test",)
    report = ConversionReport("sydney_captions")
    (sample,) = CONVERTERS[0].read("test", Settings(tmp_path), report)
    assert (sample.id, sample.task, sample.images) == ("test-7", Task.CAP, ("imgs/7.tif",))
    assert sample.target == {"references": ["Houses and roads .", "Many houses ."]}
    assert report.bad == {"imgs/8.tif": "image 8.tif is missing"}
