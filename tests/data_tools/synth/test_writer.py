"""Collections: the same files for any number of workers, all tasks, true answers, nothing half-written."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.__main__ import main
from data_tools.synth.writer import Order, write_collection
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import read_records
from rsunivlm.tasks import TEMPLATES, TOKEN_GRANULARITY, Task, route

MASKS = MaskCodec(grid=16)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "train"
    write_collection(Order(scenes=24, pairs=12, size=96, masks=MASKS), out)
    return out


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "eval"
    order = Order(scenes=30, pairs=12, size=96, split="eval", masks=MASKS, image_format="webp")
    write_collection(order, out)
    return out


def test_files_do_not_depend_on_the_number_of_workers(training, tmp_path):
    write_collection(Order(scenes=24, pairs=12, size=96, masks=MASKS), tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(training)


def test_training_records(training):
    records = list(read_records(training / "train.jsonl"))
    assert len({record.id for record in records}) == len(records)
    tokens, tasks = set(), Counter()
    for record in records:
        assert 1 <= len(record.turns) <= 4
        targets = record.targets if isinstance(record.targets, list) else [record.targets]
        assert len(targets) == len(record.turns)
        assert all((training / path).is_file() for path in record.images)
        for turn in record.turns:
            found = route(turn.prompt, num_images=len(record.images))
            assert found.source == "token"
            assert found.granularity == record.task.granularity
            tasks[found.task] += 1
            tokens.add(turn.prompt.split()[0])
    assert tokens == set(TOKEN_GRANULARITY)
    assert set(tasks) == set(Task)


def test_evaluation_files_hold_single_turns_with_the_first_template(evaluation):
    for task in Task:
        records = list(read_records(evaluation / f"{task.value}.jsonl"))
        assert records
        for record in records:
            assert record.task is task
            assert len(record.turns) == 1
            assert record.turns[0].prompt.startswith(TEMPLATES[task][0].split("{")[0])


def test_answers_decode_to_their_targets(evaluation):
    for record in read_records(evaluation / "vg.jsonl"):
        boxes, report = BoxCodec().decode(record.turns[0].answer, (96, 96))
        assert report.clean
        np.testing.assert_allclose(boxes, record.targets["boxes_px"], atol=0.49)
    for name in ("ss", "cd"):
        for record in read_records(evaluation / f"{name}.jsonl"):
            truth = np.asarray(Image.open(evaluation / record.targets["mask"])) == record.targets["value"]
            labels = record.targets["labels"]
            grid, report = MASKS.text_to_grid(record.turns[0].answer, labels)
            assert report.clean
            np.testing.assert_array_equal(grid, MASKS.to_grid(truth, len(labels)))
    for record in read_records(evaluation / "reg.jsonl"):
        assert record.turns[0].answer == record.targets["references"][0]
        assert BoxCodec().encode([record.targets["box_px"]], (96, 96)) in record.turns[0].prompt


def test_splits_share_no_picture(training, evaluation):
    first = np.asarray(Image.open(training / "images/000/s000000.jpg"), int)
    second = np.asarray(Image.open(evaluation / "images/000/s000000.webp"), int)
    assert np.abs(first - second).mean() > 10


def test_manifest_counts_records(training):
    manifest = json.loads((training / "manifest.json").read_text())
    assert manifest["seed"] == 0
    assert manifest["size"] == 96
    for name, count in manifest["records"].items():
        assert count == sum(1 for _ in read_records(training / name))


def test_task_files_hold_the_same_turns_one_task_per_record(training):
    def turns(path):
        return Counter(
            (record.images, turn.prompt, turn.answer)
            for record in read_records(path)
            for turn in record.turns
        )

    parts = Counter()
    for task in Task:
        path = training / f"training/{task.value}_train.jsonl"
        for record in read_records(path):
            found = {route(turn.prompt, num_images=len(record.images)).task for turn in record.turns}
            assert found == {task} == {record.task}
        parts += turns(path)
    assert parts == turns(training / "train.jsonl")


def run(capsys, *arguments):
    code = main(["synth", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_command_line_refuses_and_leaves_nothing(capsys, tmp_path, training):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear")
    code, error = run(capsys, "--out", mine, "--scenes", 1, "--pairs", 0)
    assert code == 2
    assert "not empty" in error
    code, error = run(capsys, "--out", mine, "--scenes", 1, "--pairs", 0, "--force")
    assert code == 2
    assert "not written by this command" in error
    code, error = run(capsys, "--out", tmp_path / "none", "--scenes", 0, "--pairs", 0)
    assert code == 2
    assert "at least one" in error
    code, error = run(capsys, "--out", tmp_path / "none", "--scenes", 1, "--size", 8)
    assert code == 2
    assert "32" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert contents(mine) == {"diary.txt": b"dear"}


def test_force_replaces_an_older_collection(capsys, tmp_path):
    out = tmp_path / "set"
    assert run(capsys, "--out", out, "--scenes", 2, "--pairs", 1, "--size", 48)[0] == 0
    assert run(capsys, "--out", out, "--scenes", 1, "--pairs", 0, "--size", 48, "--force")[0] == 0
    assert [path.name for path in (out / "images/000").iterdir()] == ["s000000.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_run_leaves_nothing(monkeypatch, tmp_path):
    def fail(order: Order, folder: Path, job: tuple[str, int]):
        raise OSError("disk full")

    monkeypatch.setattr("data_tools.synth.writer.make_records", fail)
    with pytest.raises(OSError, match="disk full"):
        write_collection(Order(scenes=1, pairs=0), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
