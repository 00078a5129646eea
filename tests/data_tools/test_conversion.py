"""From samples to record files: forms per split, turns per record, all or nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.isprs import make_potsdam

from data_tools import conversion
from data_tools.conversion import convert
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.registry import converters
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec
from rsunivlm.data.records import Record, RecordFile, read_records
from rsunivlm.tasks import TEMPLATES, Task

MANIFEST = Manifest("toy", "Toy", (Task.VQA, Task.CAP), "nowhere", "none", "nothing")


def question(split: str, number: int, image: int) -> Sample:
    return Sample(
        id=f"{split}-{number}",
        images=(f"{image}.png",),
        task=Task.VQA,
        slots={"question": f"question {number}?"},
        answers=(f"answer {number}",),
        target={"answer": f"answer {number}"},
    )


def samples(split: str, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Image 0 has questions 0..4 and two captions, image 1 question 5; one item of eleven is bad."""
    for number in range(5):
        yield question(split, number, image=0)
    captions = ("a town .", "houses .")
    yield Sample(f"{split}-c", ("0.png",), Task.CAP, {}, captions, {"references": list(captions)})
    yield replace(question(split, 5, image=1), training=split != "val")
    report.skip(f"{split} item", "is odd")


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[str]:
    yield split


def splits(root: Path) -> tuple[str, ...]:
    return ("train", "val", "test")


TOY = Converter(MANIFEST, splits, items, samples)


def ids(path: Path) -> list[str]:
    return [record.id for record in read_records(path)]


def test_training_and_evaluation_forms_go_to_their_splits(tmp_path: Path) -> None:
    out = tmp_path / "deep/out"
    made = convert(TOY, Settings(tmp_path), out, turns=2, max_bad=0.2)
    assert made.records == {
        "training/vqa_train.jsonl": 4,
        "training/cap_train.jsonl": 2,
        "vqa_val.jsonl": 6,
        "cap_val.jsonl": 1,
        "training/vqa_val.jsonl": 3,
        "training/cap_val.jsonl": 2,
        "vqa_test.jsonl": 6,
        "cap_test.jsonl": 1,
    }
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {*made.records, "conversion.json"}
    summary = json.loads((out / "conversion.json").read_text())
    assert summary["records"] == made.records
    assert summary["samples"]["val"] == {"vqa": 6, "cap": 1}
    assert summary["bad"] == {"train item": "is odd", "val item": "is odd", "test item": "is odd"}


def test_questions_about_one_image_share_a_record_and_captions_never_do(tmp_path: Path) -> None:
    convert(TOY, Settings(tmp_path), tmp_path / "out", splits=["train"], turns=4, max_bad=0.2)
    first, second, third = RecordFile(tmp_path / "out/training/vqa_train.jsonl")
    assert [turn.answer for turn in first.turns] == ["answer 0", "answer 1", "answer 2", "answer 3"]
    assert first.targets == [{"answer": f"answer {number}"} for number in range(4)]
    assert (first.source, second.targets, third.images) == ("toy", {"answer": "answer 4"}, ("1.png",))
    captions = list(RecordFile(tmp_path / "out/training/cap_train.jsonl"))
    assert [(r.id, r.turns[0].answer) for r in captions] == [
        ("train-c-0", "a town ."),
        ("train-c-1", "houses ."),
    ]


def test_templates_are_seeded_in_training_and_fixed_in_evaluation(tmp_path: Path) -> None:
    def many(split: str, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
        for number in range(60):
            yield Sample(f"{number}", (f"{number}.png",), Task.SS, {"label": "road"}, ("others*1",), {})

    toy = Converter(replace(MANIFEST, tasks=(Task.SS,)), lambda root: ("val",), items, many)

    def prompts(seed: int, name: str) -> list[str]:
        convert(toy, Settings(tmp_path, seed=seed), tmp_path / f"{seed}")
        return [record.turns[0].prompt for record in read_records(tmp_path / f"{seed}" / name)]

    templates = {template.format(label="road") for template in TEMPLATES[Task.SS]}
    assert set(prompts(0, "training/ss_val.jsonl")) == templates
    assert prompts(0, "training/ss_val.jsonl") == prompts(0, "training/ss_val.jsonl")
    assert prompts(0, "training/ss_val.jsonl") != prompts(1, "training/ss_val.jsonl")
    assert len(set(prompts(0, "ss_val.jsonl"))) == 1


def test_a_limit_counts_per_task_and_split(tmp_path: Path) -> None:
    convert(TOY, Settings(tmp_path), tmp_path / "out", splits=["test"], limit=1)
    assert ids(tmp_path / "out/vqa_test.jsonl") == ["test-0"]
    assert ids(tmp_path / "out/cap_test.jsonl") == ["test-c"]


PICTURES = 40


def numbered(split: str, settings: Settings, report: ConversionReport) -> Iterator[int]:
    yield from range(PICTURES)


def pictured(item: int, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    if item == 20 and (settings.root / "kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    with (settings.root / "seen").open("a") as seen:
        seen.write(f"{item}\n")
    yield question("train", item, image=item)
    if item == 7:
        report.skip("image 7", "is odd")


PICTURED = Converter(replace(MANIFEST, name="pictured"), splits, numbered, pictured)


def result(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_workers_change_nothing(
    tmp_path: Path, save_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "CHUNK_ITEMS", 2)
    stems = [f"{number:02}" for number in range(11)]
    for stem in stems:
        save_image(f"root/images/{stem}.png")
        save_image(f"root/masks/{stem}.png", values=np.full((32, 32), int(stem) % 3, np.uint8))
    (tmp_path / "root/masks/05.png").unlink()
    (tmp_path / "root/train.txt").write_text("\n".join(stems))
    settings = Settings(tmp_path / "root", classes={0: "void", 1: "road", 2: "water"})
    for workers in (1, 3):
        convert(converters()["index_masks"], settings, tmp_path / f"{workers}", max_bad=0.1, workers=workers)
    assert result(tmp_path / "1") == result(tmp_path / "3")
    assert ids(tmp_path / "3/training/ss_train.jsonl") == [
        f"train-{stem}-{'road' if int(stem) % 3 == 1 else 'water'}"
        for stem in stems
        if int(stem) % 3 and stem != "05"
    ]


def test_a_killed_conversion_takes_up_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "CHUNK_ITEMS", 3)

    def run(name: str) -> None:
        convert(PICTURED, Settings(tmp_path), tmp_path / name, splits=["train"], max_bad=0.1)

    (tmp_path / "kill").touch()
    child = multiprocessing.get_context("fork").Process(target=run, args=("out",))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out/training").exists()
    (tmp_path / "kill").unlink()
    (tmp_path / "seen").unlink()
    run("out")
    done = (tmp_path / "seen").read_text().split()
    assert done == [str(number) for number in range(18, PICTURES)]  # 18 and 19 stood in the broken chunk
    run("undisturbed")
    assert result(tmp_path / "out") == result(tmp_path / "undisturbed")
    assert not list((tmp_path / "out").glob(".*"))


def test_crops_are_published_with_the_records_or_not_at_all(tmp_path: Path) -> None:
    make_potsdam(tmp_path / "root")
    for workers in (1, 3):
        out = tmp_path / f"{workers}"
        settings = Settings(tmp_path / "root", out=out, masks=MaskCodec(4), crop=32)
        with pytest.raises(ValueError, match="are bad"):
            convert(converters()["potsdam"], settings, out, workers=workers)
        assert not out.exists()
        made = convert(converters()["potsdam"], settings, out, workers=workers, max_bad=1.0)
        for name in made.records:
            for record in RecordFile(out / name):
                assert all((out / path).is_file() for path in (*record.images, record.targets["mask"]))
        assert not list(out.rglob(".*"))
    first, second = (result(tmp_path / workers) for workers in "13")
    # The folder of the images is written down.
    assert first.pop("conversion.json") != second.pop("conversion.json")
    assert first == second


def test_too_many_bad_items_stop_and_leave_an_older_result_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"1 of 8 samples \(12\.5%\) are bad.*\n  test item: is odd"):
        convert(TOY, Settings(tmp_path), out, splits=["test"])
    assert not out.exists()
    convert(TOY, Settings(tmp_path), out, splits=["test"], max_bad=0.2)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match="are bad"):
        convert(TOY, Settings(tmp_path), out, splits=["train"])
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_nothing_to_convert_stops(tmp_path: Path) -> None:
    empty = replace(TOY, items=lambda split, settings, report: iter(()))
    for call, words in (
        (lambda: convert(empty, Settings(tmp_path), tmp_path / "out"), "no samples found"),
        (
            lambda: convert(replace(TOY, find_splits=lambda root: ()), Settings(tmp_path), tmp_path / "out"),
            "holds no split; expected layout: nothing",
        ),
        (lambda: convert(TOY, Settings(tmp_path / "gone"), tmp_path / "out"), "is no folder"),
        (
            lambda: convert(TOY, Settings(tmp_path), tmp_path / "out", splits=["dev"]),
            "found: train, val, test",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["vhr10_rsvg", "rsvqa_lr", "rsvqa_hr", "rsicd", "levir_mci", "dubai"])
def test_records_of_real_data_are_valid_and_their_images_are_there(
    rs_sample: Callable[[str], Path], part: str, tmp_path: Path
) -> None:
    root = rs_sample(part)
    name = {"vhr10_rsvg": "dior_rsvg", "dubai": "index_masks"}.get(part, part)
    made = convert(converters()[name], Settings(root), tmp_path / "out", limit=40, turns=4)
    for file in made.records:
        records = list(RecordFile(tmp_path / "out" / file))
        assert len({record.id for record in records}) == len(records) > 0
        for record in records:
            assert all((root / image).is_file() for image in record.images)
            assert Record.from_json(record.to_json()) == record
