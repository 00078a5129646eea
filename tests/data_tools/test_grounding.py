"""Boxes are checked as annotated; expressions become grounding and description samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.converter import Settings
from data_tools.expressions import Thing
from data_tools.grounding import check_box, detection_samples, grounding_samples
from data_tools.report import ConversionReport
from rsunivlm.codecs import BoxCodec
from rsunivlm.tasks import Task

SIZE = (200, 100)


@pytest.mark.parametrize(
    ("values", "slack", "expected"),
    [
        (("10", "20.5", "30", "40"), 0, (10, 20.5, 30, 40)),
        ((0, 0, 200, 100), 0, (0, 0, 200, 100)),
        ((-0.4, 0, 200.5, 100), 0.5, (0, 0, 200, 100)),
        ((-0.4, 0, 20, 10), 0, "beyond the 200 x 100 image"),
        ((0, 0, 20, 100.6), 0.5, "beyond the 200 x 100 image"),
        ((30, 0, 20, 10), 0, "reversed or empty"),
        ((20, 0, 20, 10), 0, "reversed or empty"),
        ((0, 0, float("inf"), 10), 0, "reversed or empty"),
        ((0, 0, "nan", 10), 0, "reversed or empty"),
        ((0, 0, None, 10), 0, "not made of numbers"),
        ((0, 0, "", 10), 0, "not made of numbers"),
        ((0, 0, 10), 0, "incomplete"),
    ],
)
def test_a_box_is_taken_as_it_is_or_named(values: Any, slack: float, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            check_box(values, SIZE, slack)
    else:
        assert check_box(values, SIZE, slack) == expected


def test_one_grounding_sample_per_expression_and_one_description_with_all() -> None:
    report = ConversionReport("x")
    made = list(
        grounding_samples(
            "a", "a.png", SIZE, (10, 20, 30, 40), ["the ship", "the only ship"], Settings(Path()), report
        )
    )
    assert [(s.id, s.task, s.slots, s.answers) for s in made] == [
        ("a", Task.VG, {"expression": "the ship"}, ("[5, 20, 15, 40]",)),
        ("a.1", Task.VG, {"expression": "the only ship"}, ("[5, 20, 15, 40]",)),
        ("a-reg", Task.REG, {"box": "[5, 20, 15, 40]"}, ("the ship", "the only ship")),
    ]
    assert made[2].target["references"] == ["the ship", "the only ship"]
    assert not report.left_out


def test_a_box_too_small_for_the_codec_counts_in_evaluation_only() -> None:
    report = ConversionReport("x")
    box = (50.1, 50.0, 50.4, 60.0)
    (small,) = grounding_samples("a", "a.png", SIZE, box, ["the speck"], Settings(Path()), report)
    assert (small.task, small.training) == (Task.VG, False)
    boxes, _ = BoxCodec().decode(small.answers[0], SIZE)
    np.testing.assert_allclose(boxes, [box], atol=1e-6)
    assert report.left_out.total() == 1


def test_objects_that_nothing_singles_out_are_counted() -> None:
    report = ConversionReport("x")
    things = [
        Thing("ship", (10, 10, 30, 30)),
        Thing("ship", (11, 11, 31, 31)),
        Thing("car", (90, 9, 99, 19), False),
    ]
    assert not list(detection_samples("a", "a.png", SIZE, things, (), Settings(Path()), report))
    assert report.left_out == {
        "objects that no unambiguous expression singles out": 2,
        "objects marked as difficult: never asked for": 1,
    }


def test_the_seed_chooses_among_the_expressions() -> None:
    things = [Thing("ship", (10, 10, 30, 30)), Thing("ship", (100, 60, 190, 90))]

    def asked(seed: int) -> tuple[str, ...]:
        made = detection_samples(
            "a", "a.png", SIZE, things, (), Settings(Path(), seed=seed), ConversionReport("x")
        )
        return tuple(sample.slots["expression"] for sample in made if sample.task is Task.VG)

    assert asked(1) == asked(1)
    assert len({asked(seed) for seed in range(10)}) > 3
