"""The stand-ins for the paper's mixtures have their sets, their shares and their samples per image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.published_mixtures import MIXTURES, make_images, write_mixture
from rsunivlm.data.records import RecordFile


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    make_images(folder, 80, 64, 8)
    return folder


def test_shares_are_those_of_the_tables() -> None:
    # 985k and 547k samples; 60,000 of each granularity.
    assert sum(share for share, _ in MIXTURES[1].values()) == pytest.approx(985 + 547, abs=3)
    assert sum(share for share, _ in MIXTURES[2].values()) == 180


@pytest.mark.parametrize("stage", [1, 2])
def test_every_set_has_its_samples_per_image_and_no_image_serves_two(
    images: Path, tmp_path: Path, stage: int
) -> None:
    entries = write_mixture(stage, 80, images, tmp_path)
    used: set[tuple[str, ...]] = set()
    total = 0
    for entry in entries:
        records = list(RecordFile(entry["records"]))
        assert all(len(record.turns) == 1 for record in records)
        _, cycle = MIXTURES[stage][entry["name"]]
        per_image = Counter(record.images for record in records)
        asked = [len(wanted.split()) for wanted in cycle * len(per_image)][: len(per_image)]
        assert list(per_image.values())[:-1] == asked[:-1]  # the last image makes up the number
        assert not used & per_image.keys()
        used |= per_image.keys()
        total += len(records)
    assert total == 80
