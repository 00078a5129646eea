"""VRSBench: bare questions, boxes clamped as prescribed, the published truth kept for scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.vrsbench import CONVERTERS, bare_question
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

(VRSBENCH,) = CONVERTERS


def record(image: str, question: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": "Final_Data/v1.2", "image": image, "conversations": turns}


def convert(root: Path, split: str) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("vrsbench")
    return list(VRSBENCH.read(split, Settings(root), report)), report


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "{}. A short answer to the question is",
        "{} Short answer:",
        "Question: {}",
        "Question: {} Short answer:",
        "Q: {} A:",
        "Based on the image, respond to this question with a short answer: {}.",
        "Given the image, answer the following question with no more than three words. {}",
        "Use the provided image to answer the question: {} Provide your answer as short as possible.",
        "The question {} can be answered using the image. A short answer is",
    ],
)
@pytest.mark.parametrize("bare", ["How many ships are there?", "The question mark is on which roof?"])
def test_phrases_around_a_question_are_taken_off(wrapped: str, bare: str) -> None:
    assert bare_question(wrapped.format(bare)) == bare


def test_a_question_never_vanishes() -> None:
    assert bare_question("Question:") == "Question:"


def test_training_questions_about_an_image_come_together(
    tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]
) -> None:
    for name in ("a.png", "b.png"):
        save_image(f"Images_train/{name}", (512, 256))
    records = [
        record("a.png", "[refer] where is <p>the red ship</p> ?", "{<10><20><50><75>}"),
        record("b.png", "[vqa] Question: Is it red?", "Yes"),
        record("a.png", "[caption] Could you describe this image in detail?", "A harbour."),
        record("a.png", "[refer] where is <p>the pier</p> ?", "{<-73><20><196><75>}"),
        record("a.png", "[refer] where is <p>the dam</p> ?", "{<104><20><154><75>}"),
        record("a.png", "[refer] where is <p>the road</p> ?", "{<50><20><40><75>}"),
        record("a.png", "[refer] where is the car ?", "{<10><20><50><75>}"),
        record("a.png", "[grounding] describe it", "A ship {<10><20><50><75>}"),
        record("c.png", "[vqa] Is it there?", "No"),
        record("c.png", "[vqa] Is it here?", "No"),
        {"conversations": []},
    ]
    save_json("VRSBench_train.json", records)
    assert VRSBENCH.find_splits(tmp_path) == ("train",)
    samples, report = convert(tmp_path, "train")
    assert [(s.id, s.task, s.slots, s.answers) for s in samples] == [
        ("train-0", Task.VG, {"expression": "the red ship"}, ("[10, 20, 50, 75]",)),
        ("train-2", Task.CAP, {}, ("A harbour.",)),
        ("train-3", Task.VG, {"expression": "the pier"}, ("[0, 20, 100, 75]",)),
        ("train-1", Task.VQA, {"question": "Is it red?"}, ("Yes",)),
    ]
    assert samples[0].target == {"boxes_px": [[51.2, 51.2, 256.0, 192.0]], "image_size": [512, 256]}
    assert report.left_out == {
        "clamped, not left out: boxes that reach beyond the frame": 1,
        "boxes without area inside the frame": 1,
    }
    assert report.bad == {
        "VRSBench_train.json record 5": "box [50.0, 20.0, 40.0, 75.0] is reversed",
        "VRSBench_train.json record 6": "'where is the car ?' has no expression between <p> and </p>",
        "VRSBench_train.json record 7": "token 'grounding' is none of caption, refer, vqa",
        "Images_train/c.png": "image c.png is missing",
        "VRSBench_train.json record 10": "names no image ('image')",
    }
    assert report.bad_samples == 6


def test_the_published_truth_stays_and_one_without_area_comes_from_its_corners(
    tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]
) -> None:
    save_image("Images_val/Images_val/P1_0001.png", (512, 512))
    common = {"image_id": "P1_0001.png", "type": "ref", "unique": False, "size_group": "small"}
    flat = [0.92, 0.001, 0.965, 0.001, 0.965, 0.008, 0.92, 0.008]
    referring = [
        {**common, "question": "The ship.", "ground_truth": "{<25><40><33><60>}", "question_id": 0},
        {**common, "question": "The car.", "ground_truth": "{<92><0><96><0>}", "obj_corner": flat},
        {**common, "question": "The bus.", "ground_truth": "{<92><0><96><0>}"},
    ]
    save_json("VRSBench_EVAL_referring.json", referring)
    samples, report = convert(tmp_path, "test")
    assert [sample.id for sample in samples] == ["test-ref-0", "test-ref-1"]
    first, second = samples
    assert first.images == ("Images_val/Images_val/P1_0001.png",)
    assert first.target == {
        "boxes_px": [[128.0, 204.8, 168.96, 307.2]],
        "image_size": [512, 512],
        "unique": False,
        "size_group": "small",
    }
    assert [value * 100 / 512 for value in first.target["boxes_px"][0]] == [25, 40, 33, 60]
    assert second.target["boxes_px"] == [pytest.approx([471.04, 0.512, 494.08, 4.096])]
    # The width of 0.7 % is lost on whole numbers: no training, but a text to say and a box to score.
    assert second.answers == ("[92, 0, 96, 1]",)
    assert list(report.bad) == ["VRSBench_EVAL_referring.json record 2"]
    assert report.warnings == [
        "VRSBench_EVAL_Cap.json is missing: its questions are not converted",
        "VRSBench_EVAL_vqa.json is missing: its questions are not converted",
    ]
