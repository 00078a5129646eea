"""UAVid: frames, and what its colours mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fixtures import save_picture, save_values
from fixtures.uavid import make_uavid
from PIL import Image

from data_tools.converter import Settings
from data_tools.converters.uavid import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(UAVID,) = CONVERTERS


def test_unlabelled_sequences_are_no_split(tmp_path: Path) -> None:
    make_uavid(tmp_path)
    assert UAVID.find_splits(tmp_path) == ("train", "val")
    names = [item.name for item in UAVID.items("train", Settings(tmp_path), ConversionReport("uavid"))]
    assert names == ["seq1_000000", "seq2_000000", "seq2_000100"]


def test_the_eight_colours_are_seven_classes(tmp_path: Path) -> None:
    colours = [
        *[(0, 0, 0), (128, 0, 0), (128, 64, 128), (192, 0, 192)],
        *[(0, 128, 0), (128, 128, 0), (64, 64, 0), (64, 0, 128)],
    ]
    labels = np.repeat(np.array([colours]), 4, axis=0).repeat(8, axis=0).repeat(8, axis=1)
    save_picture(tmp_path / "uavid_train/seq1/Images/000000.png", (64, 32))
    save_values(tmp_path / "uavid_train/seq1/Labels/000000.png", labels)
    settings = Settings(tmp_path, out=tmp_path / "out", masks=MaskCodec(8), crop=64)
    samples = list(UAVID.read("train", settings, ConversionReport("uavid")))
    rows = {sample.slots["label"]: sample.answers[0].splitlines()[0] for sample in samples}
    assert rows == {
        "clutter": "clutter*1, others*7",
        "building": "others*1, building*1, others*6",
        "road": "others*2, road*1, others*5",
        "car": "others*3, car*1, others*3, car*1",
        "tree": "others*4, tree*1, others*3",
        "low vegetation": "others*5, low vegetation*1, others*2",
        "human": "others*6, human*1, others*1",
    }
    with Image.open(tmp_path / "out" / samples[0].target["mask"]) as mask:
        assert np.asarray(mask)[0, ::8].tolist() == [0, 1, 2, 3, 4, 5, 6, 3]
