"""What both mask tasks read and refuse: true masks by number or colour, targets, samples to show."""

import numpy as np
import pytest
from PIL import Image

from eval import segmentation, ss
from eval.metrics import masks
from eval.scoring import with_scores
from eval.tasks import protocol_of
from rsunivlm.data.records import Record


def targets(**changes):
    base = {"mask": "m.png", "labels": ["others", "building"], "value": 1, "ignore": [0]}
    return {key: value for key, value in (base | changes).items() if value != "DROP"}


def make(found, image="i.png"):
    turns = [{"from": "human", "value": "<image>\n[SEG] it"}, {"from": "gpt", "value": "others*8"}]
    record = {"id": "q7", "image": image, "task": "ss", "conversations": turns, "targets": found}
    return Record.from_json(record)


def test_colour_coded_truth(tmp_path):
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[:2] = (0, 0, 255)
    colours[3, :2] = (255, 0, 0)
    Image.fromarray(colours).save(tmp_path / "m.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "i.png")
    record = make(targets(value=[0, 0, 255], ignore=[[255, 0, 0]], mask="m.png"), "i.png")
    segmentation.check(record)
    truth = segmentation.truth(record, tmp_path)
    assert (masks.decode(truth["mask"]) == (colours[..., 2] == 255)).all()
    assert (masks.decode(truth["valid"]) == (colours[..., 0] == 0)).all()
    Image.new("RGB", (5, 4)).save(tmp_path / "i.png")
    with pytest.raises(ValueError, match=r"record q7: mask m\.png is 6 x 4 pixels, its image 5 x 4"):
        segmentation.truth(record, tmp_path)
    with pytest.raises(ValueError, match=r"record q7: image none\.png is missing"):
        segmentation.truth(make(targets(mask="none.png"), "i.png"), tmp_path)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "targets"),
        (targets(mask="DROP"), "'mask' of 'targets'.*non-empty string"),
        (targets(mask="../m.png"), "must be relative"),
        (targets(labels="DROP"), "'labels'"),
        (targets(labels=["others"]), "'labels'"),
        (targets(labels=["others", "a*b"]), "holds"),
        (targets(labels=["others", "Others"]), "read alike"),
        (targets(value="DROP"), "'value'"),
        (targets(value=True), "'value'"),
        (targets(value=[1, 2]), "'value'"),
        (targets(ignore=3), "'ignore'"),
        (targets(ignore=[1]), "must differ"),
        (targets(ignore=[[0, 0, 0]]), "all numbers or all colours"),
    ],
)
def test_targets_that_cannot_be_scored_are_refused(found, message):
    with pytest.raises(ValueError, match=f"q7.*{message}"):
        segmentation.check(make(found))


def test_tiles_show_questions_with_something_to_find_first(ask, mask_oracle, scenes):
    blind = mask_oracle(lambda ids: np.zeros_like(ids))
    rows = with_scores(ss, ask(blind, ss, "ss"), protocol_of(ss, "strict", {}))
    shown = ss.tiles(rows, scenes, seed=1)
    assert len(shown) == 12
    assert all(masks.area(tile.truth_mask) and tile.heading.endswith("IoU 0.00") for tile in shown)
    buildings = ss.tiles([row for row in rows if "building" in row.id], scenes, seed=1)
    assert sorted(tile.heading[-8:] for tile in buildings) == ["IoU 0.00"] * 8 + ["IoU 1.00"] * 2
