"""Constant masks and the codec's ceiling: the best there is, and said what they were fitted on."""

from dataclasses import replace

import numpy as np
import pytest

from eval import benchmarks, mask_baselines, ss
from eval.metrics import masks
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task


def test_best_constant_mask_beats_every_threshold():
    rng = np.random.default_rng(6)
    for _ in range(50):
        seen = rng.uniform(0.2, 1, (20, 3, 4)) * (rng.random((20, 3, 4)) < 0.9)
        hits = seen * rng.random((3, 4)) * (rng.random((20, 3, 4)) < 0.5)
        total, area = hits.sum(axis=0), seen.sum(axis=0)
        share = total / area
        found = mask_baselines.best_constant(total, area)
        ious = [
            total[mask].sum() / (area[mask].sum() + total[~mask].sum())
            for mask in (found, *(share >= threshold for threshold in share.ravel()))
        ]
        assert ious[0] == pytest.approx(max(ious[1:]))
    assert not mask_baselines.best_constant(np.zeros((2, 2)), np.ones((2, 2))).any()


def test_baselines_say_what_they_were_fitted_on(scenes, mask_oracle):
    questions = benchmarks.load(str(scenes / "ss.jsonl"), Task.SS, ss, None, None)
    alone = ss.yardsticks(questions, mask_oracle())
    assert list(alone.answers) == [
        mask_baselines.CEILING, ss.ALL_BACKGROUND, ss.ALL_FOREGROUND, mask_baselines.PRIOR,
    ]  # fmt: skip
    assert set(alone.definitions) == set(alone.answers)
    assert "other images (20 questions" in alone.definitions[mask_baselines.PRIOR]
    sizes = [masks.area(alone.answers[name][0]["mask"]) for name in (ss.ALL_BACKGROUND, ss.ALL_FOREGROUND)]
    assert sizes == [0, 60 * 90]
    fitted = ss.yardsticks(
        replace(questions, fit_split="train", fit_records=questions.records[:2]), mask_oracle()
    )
    assert "split train (2 questions" in fitted.definitions[mask_baselines.PRIOR]
    prior = masks.decode(fitted.answers[mask_baselines.PRIOR][4]["mask"])
    truth = masks.decode(ss.truth(questions.records[0], scenes)["mask"])
    assert (prior & truth).sum() / (prior | truth).sum() > 0.8  # the building of the only training image
    one_image = replace(questions, records=questions.records[:2])
    assert mask_baselines.PRIOR not in ss.yardsticks(one_image, mask_oracle()).answers
    # Labels that occur once are compared with whatever else is there.
    described = [
        replace(record, targets=record.targets | {"labels": ["others", f"thing number {chr(97 + number)}"]})
        for number, record in enumerate(questions.records)
    ]
    free = ss.yardsticks(replace(questions, records=tuple(described)), mask_oracle())
    assert masks.area(free.answers[mask_baselines.PRIOR][0]["mask"]) > 0


def test_the_ceiling_ignores_pixels_without_a_label():
    ids = np.full((4, 4), 2, np.uint8)
    ids[0, 0] = 1  # the only labelled pixel of its cell
    codec = MaskCodec(2, encode_rule="majority")
    assert (
        mask_baselines.through_codec(ids, codec).tolist()
        == np.kron([[1, 0], [0, 0]], np.ones((2, 2))).tolist()
    )
