"""Tiles are asked one by one, and raise the ceiling."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import cd, ss
from eval.benchmarks import Questions
from eval.mask_baselines import CEILING, WHOLE_CEILING
from eval.metrics import masks
from eval.scoring import score
from eval.tasks import protocol_of
from eval.tiling import UNREAD_ID, TiledAnswerer, _Scene
from rsunivlm.codecs import MaskCodec
from rsunivlm.inference.answer import Request
from rsunivlm.inference.tiling import Tiling
from rsunivlm.tasks import Task

STRICT = protocol_of(ss, "strict", {})
EMPTY = Questions("none", Task.SS, "all", Path(), ())


def test_oracle_scores_the_tiled_ceiling_and_that_is_higher(ask, mask_oracle):
    tiled = TiledAnswerer(mask_oracle(), Tiling(8, 2))  # a cell of the grid is a pixel
    for module, task in ((ss, "ss"), (cd, "cd")):
        results = score(module, ask(tiled, module, task), protocol_of(module, "strict", {}))
        ceiling, whole = (results["yardsticks"][name] for name in (CEILING, WHOLE_CEILING))
        first = next(iter(ceiling))
        assert results["metrics"] == ceiling
        assert ceiling[first]["value"] == 1 > whole[first]["high"]
        assert "tiles of 8 pixels that overlap by 2" in module.yardsticks(EMPTY, tiled).definitions[CEILING]


def test_whole_image_mode_is_a_tile_as_large_as_the_image(ask, mask_oracle):
    whole, tiled = ask(mask_oracle(), ss, "ss"), ask(TiledAnswerer(mask_oracle(), Tiling(90)), ss, "ss")
    assert [row.parsed for row in tiled] == [row.parsed for row in whole]
    assert tiled[0].model == {"id": "fake", "tiling": {"tile": 90, "overlap": 0}}


def test_a_tile_cut_one_row_too_low_is_caught(ask, mask_oracle, monkeypatch):
    right = _Scene.ask

    def one_row_lower(scene, part):
        window = replace(part.window, y=part.window.y + 1)
        return right(scene, replace(part, window=window))

    monkeypatch.setattr(_Scene, "ask", one_row_lower)
    results = score(ss, ask(TiledAnswerer(mask_oracle(), Tiling(8, 2)), ss, "ss"), STRICT)
    assert results["margins"][CEILING]["mIoU"]["high"] < -0.02


def request(image, prompt="[SEG] Please segment the building in scene 0.", labels=("building",)):
    return Request([image], prompt, labels=list(labels))


def test_unreadable_tiles_are_marked_and_reported(mask_oracle):
    values = np.zeros((20, 40, 3), np.uint8)
    values[:, 30:] = 20
    inner = mask_oracle(say=lambda text, prompt: "no idea" if "building" in text else text)
    [answer] = TiledAnswerer(inner, Tiling(20)).answer_batch(
        [request(Image.fromarray(values))], batch_size=1, max_new_tokens=8
    )
    assert (answer.mask[:, :20] == 0).all()
    assert (answer.mask[:, 20:] == UNREAD_ID).all()
    assert answer.report.valid
    assert answer.report.notes == ("tiles: 2", "tiles without a readable mask: 1")
    assert answer.text.endswith("\n\nno idea")
    parsed = ss.parsed(answer)
    assert (masks.area(parsed["mask"]), masks.area(parsed["unread"])) == (0, 400)
    inner.say = lambda text, prompt: ""
    silent = TiledAnswerer(inner, Tiling(20)).answer_batch(
        [request(Image.fromarray(values))], batch_size=1, max_new_tokens=8
    )
    assert ss.parsed(silent[0]) == {"mask": None}


def test_tiles_of_several_scenes_share_a_batch(mask_oracle):
    inner = mask_oracle()
    requests = [request(Image.new("RGB", (30, 20))), request(Image.new("RGB", (20, 20)))]
    answers = TiledAnswerer(inner, Tiling(10)).answer_batch(requests, batch_size=4, max_new_tokens=8)
    assert inner.batches == [4, 4, 2]
    assert [answer.mask.shape for answer in answers] == [(20, 30), (20, 20)]


def test_other_questions_are_refused(mask_oracle):
    tiled, image = TiledAnswerer(mask_oracle(), Tiling(10)), Image.new("RGB", (30, 20))
    for bad in (Request([image], "[VG] the car"), request(image, labels=("a", "b"))):
        with pytest.raises(ValueError, match="only questions for the mask of one class"):
            tiled.answer_batch([bad], batch_size=4, max_new_tokens=8)
    pair = Request([Image.new("RGB", (20, 20)), image], "[SEG] building", labels=["building"])
    with pytest.raises(ValueError, match="pair of images of one size"):
        tiled.answer_batch([pair], batch_size=4, max_new_tokens=8)


def test_small_things_in_large_scenes_are_found(mask_oracle):
    """A roof of 40 x 40 pixels in a photograph of 4000 x 3000: lost on one grid, found in tiles."""
    values = np.zeros((3000, 4000, 3), np.uint8)
    values[1000:1040, 2010:2050] = 20
    oracle = mask_oracle()
    oracle.mask_codec = MaskCodec(24)
    truth = masks.encode(values[..., 0] > 0)
    ious = []
    for answerer in (oracle, TiledAnswerer(oracle, Tiling(500, 20))):
        [answer] = answerer.answer_batch([request(Image.fromarray(values))], batch_size=8, max_new_tokens=8)
        ious.append(float(masks.iou(masks.confusion(ss.parsed(answer)["mask"], truth))))
    assert ious[0] == 0
    assert ious[1] > 0.5
