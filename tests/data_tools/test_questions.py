"""The sets of plain questions about images: what all four share, bad input above all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fixtures.ai2d import make_ai2d
from fixtures.chartqa import make_chartqa
from fixtures.docvqa import make_docvqa
from fixtures.dvqa import make_dvqa

from data_tools.converter import Sample, Settings
from data_tools.converters import ai2d, chartqa, docvqa, dvqa
from data_tools.questions import text_of
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

Edit = Callable[[list[dict[str, Any]]], None]
# Module, fixture, the file of training questions, where its list is, field of the image.
STREAMED = {
    "dvqa": (dvqa, make_dvqa, "train_qa.json", None, "image"),
    "chartqa": (chartqa, make_chartqa, "ChartQA Dataset/train/train_human.json", None, "imgname"),
    "docvqa": (docvqa, make_docvqa, "train_v1.0.json", "data", "image"),
}


def read(module: ModuleType, root: Path) -> tuple[list[Sample], ConversionReport]:
    (converter,) = module.CONVERTERS
    report = ConversionReport(converter.manifest.name)
    return list(converter.read("train", Settings(root), report)), report


@pytest.mark.parametrize(
    ("module", "make"), [(m, make) for m, make, *_ in STREAMED.values()] + [(ai2d, make_ai2d)]
)
def test_every_question_is_a_plain_one_with_a_unique_id(
    module: ModuleType, make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path)
    samples, report = read(module, tmp_path)
    assert samples
    assert {sample.task for sample in samples} == {Task.VQA}
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(sample.training and len(sample.answers) == 1 for sample in samples)
    images = [sample.images for sample in samples]
    assert sorted(images, key=images.index) == images  # those about one image in a row
    assert report.bad  # each fixture holds something bad


@pytest.mark.parametrize("name", STREAMED)
def test_a_path_out_of_the_root_is_named_and_skipped(name: str, tmp_path: Path) -> None:
    module, make, file, key, field = STREAMED[name]
    root = tmp_path / "root"
    make(root)
    (tmp_path / "secret.png").write_bytes(b"")
    content = json.loads((root / file).read_text())
    entries = content[key] if key else content
    for entry, path in zip(
        entries, ("/" + str(tmp_path / "secret.png"), "../../../../secret.png"), strict=False
    ):
        entry[field] = path
    (root / file).write_text(json.dumps(content))
    samples, report = read(module, root)
    assert not any("secret" in sample.images[0] for sample in samples)
    reasons = " ".join(reason for item, reason in report.bad.items() if "secret" in item)
    assert "must not use '..'" in reasons
    assert sum("secret" in item for item in report.bad) == 2


@pytest.mark.parametrize("name", STREAMED)
def test_a_file_cut_in_half_stops_with_its_name(name: str, tmp_path: Path) -> None:
    module, make, file, *_ = STREAMED[name]
    make(tmp_path)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=Path(file).name):
        read(module, tmp_path)


@pytest.mark.parametrize("module", [dvqa, chartqa, docvqa, ai2d])
def test_a_folder_of_something_else_is_refused(module: ModuleType, tmp_path: Path) -> None:
    (converter,) = module.CONVERTERS
    with pytest.raises(ValueError, match="expected layout"):
        converter.find_splits(tmp_path)


@pytest.mark.parametrize("value", [None, "", " ", True, [], {}])
def test_only_texts_and_numbers_are_texts(value: Any) -> None:
    assert text_of({"a": " b "}, "a") == "b"
    assert text_of({"a": 0}, "a") == "0"
    with pytest.raises(ValueError, match="no usable 'a'"):
        text_of({"a": value}, "a")
    with pytest.raises(ValueError, match="no usable 'a'"):
        text_of(value, "a")
