"""Answers survive a kill, and neither processes nor interruptions leave a trace in the results."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from eval import benchmarks, reg, run_benchmark, vg
from eval.generation import forget, predict
from eval.predictions import read_predictions, write_predictions
from rsunivlm.codecs import BoxCodec
from rsunivlm.data.records import Record
from rsunivlm.tasks import Task

WORKER = Path(__file__).with_name("asking_worker.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(WORKER.parents[2]), "OMP_NUM_THREADS": "1"}
PATIENCE = 300  # seconds; a machine under load starts a process slowly


@pytest.fixture
def questions(tiny):
    return benchmarks.load(str(tiny), Task.VG, vg, None, None)


@pytest.fixture
def ask(questions, tmp_path):
    """Ask all questions in batches of two, with the journals of earlier calls; gives the predictions."""

    def start(predictor, asked=questions, batch_size=2):
        chosen = range(len(asked.records))
        return predict(predictor, asked, vg, chosen, tmp_path / "journals", batch_size=batch_size)

    return start


@pytest.fixture
def interrupted(ask, fake_predictor, oracle):
    """Ask until the fourth batch, which never ends."""

    def killed(prompt):
        if prompt.endswith("number 6"):
            raise KeyboardInterrupt
        return oracle.text_of(prompt)

    with pytest.raises(KeyboardInterrupt):
        ask(fake_predictor(killed))
    return oracle


def test_an_interrupted_run_asks_only_what_is_missing(ask, interrupted, fake_predictor, tmp_path):
    again = fake_predictor(interrupted.text_of)
    resumed = ask(again)
    assert [request.prompt[-2:].strip() for request in again.requests] == [str(n) for n in range(6, 14)]
    forget(resumed.journals)
    assert not (tmp_path / "journals").exists()
    undisturbed = ask(fake_predictor(interrupted.text_of))
    assert resumed.predictions == undisturbed.predictions
    assert dict(resumed.yardsticks.answers) == dict(undisturbed.yardsticks.answers)


def test_a_batch_with_a_lost_answer_is_asked_as_a_whole(ask, interrupted, fake_predictor, tmp_path):
    [journal] = tmp_path.glob("journals/*/*.jsonl")
    whole = journal.read_bytes()
    assert whole.count(b"\n") == 6
    journal.write_bytes(whole[:-40])  # the kill came in the middle of a line
    again = fake_predictor(interrupted.text_of)
    resumed = ask(again)
    assert len(again.requests) == 10
    assert again.batches == [2] * 5
    forget(resumed.journals)
    assert resumed.predictions == ask(fake_predictor(interrupted.text_of)).predictions


def test_half_a_character_at_the_end_of_a_journal(ask, interrupted, fake_predictor, tmp_path):
    [journal] = tmp_path.glob("journals/*/*.jsonl")
    journal.write_bytes(journal.read_bytes() + '["q9", {"answer": "é'.encode()[:-1])
    assert len(ask(fake_predictor(interrupted.text_of)).predictions) == 14


def test_a_damaged_journal_is_named(ask, interrupted, tmp_path):
    [journal] = tmp_path.glob("journals/*/*.jsonl")
    journal.write_bytes(b"\x00\x00\n" + journal.read_bytes())
    with pytest.raises(ValueError, match=rf"{journal.name}:1: this journal .* is damaged"):
        ask(interrupted)


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0c", "\r", "\n", "\x1e", "é"])
def test_answers_with_any_character_survive(ask, fake_predictor, tmp_path, character):
    def text_of(prompt):
        return f"[1, 2, 30, 40]{character} {prompt}"

    ask(fake_predictor(text_of))
    again = fake_predictor(text_of)
    rows = ask(again).predictions
    assert again.requests == []
    assert [row.answer for row in rows] == [text_of(row.prompt) for row in rows]
    write_predictions(tmp_path / "p.jsonl", rows)
    assert read_predictions(tmp_path / "p.jsonl") == rows


def other_model(predictor, questions):
    predictor.describe = lambda: {"id": "another"}
    return questions


def other_prompt(predictor, questions):
    first = questions.records[0]
    turn = replace(first.turns[0], prompt="[VG] something else")
    return replace(questions, records=(replace(first, turns=(turn,)), *questions.records[1:]))


def other_folder(predictor, questions):
    return replace(questions, root=questions.root.rename(questions.root.parent / "moved"))


def fewer_questions(predictor, questions):
    return replace(questions, records=questions.records[:8])


@pytest.mark.parametrize("change", [other_model, other_prompt, other_folder, fewer_questions])
def test_other_settings_have_other_answers(ask, interrupted, fake_predictor, questions, tmp_path, change):
    again = fake_predictor(lambda prompt: "[1, 2, 30, 40]")
    asked = change(again, questions)
    answered = ask(again, asked)
    assert len(again.requests) == len(asked.records)
    assert {row.answer for row in answered.predictions} == {"[1, 2, 30, 40]"}
    forget(answered.journals)
    [left] = (tmp_path / "journals").iterdir()  # of the interrupted run, which may go on
    assert len(list(left.iterdir())) == 1


def test_boxes_in_prompts_are_written_as_the_model_writes_boxes(tmp_path, fake_predictor):
    """Asked on the model's own scale, shown on one scale; too small for it: with decimals."""
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    records = []
    for number, box in enumerate(([20, 30, 60, 80], [20, 30, 20.4, 80])):
        prompt = {"from": "human", "value": "<image>\n[REF] what is [100000, 300000, 300000, 800000]?"}
        record = {
            "id": number,
            "image": "a.png",
            "task": "reg",
            "conversations": [prompt, {"from": "gpt", "value": "-"}],
            "targets": {"box_px": box, "image_size": [200, 100], "references": ["it"]},
        }
        records.append(Record.from_json(record))
    questions = benchmarks.Questions("b", Task.REG, "test", tmp_path, tuple(records))
    asked = {}
    for scale in (100, 1000):
        predictor = fake_predictor(lambda prompt: "it")
        predictor.box_codec = BoxCodec(scale)
        rows = predict(predictor, questions, reg, range(2), tmp_path / str(scale)).predictions
        asked[scale] = [request.prompt for request in predictor.requests]
        assert [row.prompt for row in rows] == [
            "[REF] what is [10, 30, 30, 80]?",
            "[REF] what is [10.000000, 30.000000, 10.200000, 80.000000]?",
        ]
    assert asked[100] == [row.prompt for row in rows]
    assert asked[1000] == ["[REF] what is [100, 300, 300, 800]?", "[REF] what is [100, 300, 102, 800]?"]


class Workers:
    """Runs of `asking_worker.py` over the questions of `tiny`, in processes of their own."""

    def __init__(self, benchmark, folder):
        self.benchmark, self.folder = benchmark, folder

    def command(self, out):
        argv = ("--task", "vg", "--benchmark", self.benchmark, "--out", self.folder / out, "--batch-size", 2)
        return [str(item) for item in (sys.executable, WORKER, *argv)]

    def start(self, out, cwd="", **environment):
        where = self.folder / "cwd" / (cwd or out)
        where.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            self.command(out),
            cwd=where,
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pair(self, out, **environment):
        """Two connected processes, as a launcher starts them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment}
        return [
            self.start(out, cwd=f"{out}{rank}", RANK=str(rank), LOCAL_RANK=str(rank), **common)
            for rank in (0, 1)
        ]

    def wait_for_answers(self, out, count):
        """Wait until the journals of a run hold some answers."""
        deadline = time.monotonic() + PATIENCE
        while self.answers(out) < count:
            assert time.monotonic() < deadline, f"no {count} answers in {PATIENCE} s"
            time.sleep(0.05)

    def answers(self, out):
        return sum(path.read_bytes().count(b"\n") for path in (self.folder / out).glob(".asking/*/*.jsonl"))

    def files(self, out):
        """Contents of a run's output folder; the page is named only, it is drawn from the others."""
        found = {path.name: path.read_bytes() for path in (self.folder / out).iterdir() if path.is_file()}
        return found | {name: b"" for name in found if name.endswith(".html")}


@pytest.fixture
def workers(tiny, tmp_path):
    return Workers(tiny, tmp_path)


def finish(process):
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def test_killed_and_started_again_equals_undisturbed(workers, run_tiny, oracle):
    process = workers.start("out", FAKE_SECONDS="0.3")
    workers.wait_for_answers("out", 5)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    kept = workers.answers("out")
    assert 5 <= kept < 14
    assert [path.name for path in (workers.folder / "out").iterdir()] == [".asking"]

    run_tiny(oracle, workers.folder / "out", "--batch-size", 2)
    assert len(oracle.requests) == 14 - kept // 2 * 2
    oracle.requests.clear()
    run_tiny(oracle, workers.folder / "undisturbed", "--batch-size", 2)
    assert len(oracle.requests) == 14
    assert workers.files("out") == workers.files("undisturbed")


def test_a_run_of_all_tasks_that_was_killed_asks_only_the_rest(
    monkeypatch, fake_predictor, no_java, tmp_path
):
    def interrupted(prompt):
        if prompt.startswith("[CCD]"):
            raise KeyboardInterrupt
        return "yes"

    argv = ["--task", "all", "--limit", "2", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(run_benchmark, "load_answerer", lambda *_: fake_predictor(interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_benchmark.main(argv)
    again = fake_predictor(lambda prompt: "yes")
    monkeypatch.setattr(run_benchmark, "load_answerer", lambda *_: again)
    assert run_benchmark.main(argv) == 0
    assert [request.prompt.split()[0] for request in again.requests] == ["[CCD]", "[CCD]", "[SEG]", "[SEG]"]
    assert not list(tmp_path.rglob(".asking"))


@pytest.mark.distributed
def test_two_processes_equal_one(workers, run_tiny, oracle):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    elsewhere = workers.folder / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [*launcher, *workers.command("two")[1:]],
        cwd=elsewhere,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["n"] == 14
    assert done.stdout.count('"unparsable"') == 1  # the second process says nothing
    run_tiny(oracle, workers.folder / "one", "--batch-size", 2)
    assert workers.files("two") == workers.files("one")
    assert not (workers.folder / "two/.asking").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.distributed
def test_an_unreadable_image_ends_all_processes_and_keeps_the_answers(workers, run_tiny, oracle, tiny):
    image = tiny.parent / "images/5.png"  # of questions 10 and 11, in the share of process 1
    good = image.read_bytes()
    image.write_bytes(good[:-30])  # its head is whole, so only decoding finds out
    processes = workers.pair("out", FAKE_SECONDS="0.1")
    for code, out, err in map(finish, processes):
        last = err.strip().splitlines()[-1]
        assert code == 2
        assert out == ""
        assert last.startswith("error: ")
        assert "5.png" in last
    assert [path.name for path in (workers.folder / "out").iterdir()] == [".asking"]
    assert workers.answers("out") == 6 + 4  # all of process 0, and two batches before the bad one
    image.write_bytes(good)
    run_tiny(oracle, workers.folder / "out", "--batch-size", 2)
    assert [request.prompt.split()[-1] for request in oracle.requests] == ["10", "11", "12", "13"]


@pytest.mark.distributed
def test_a_process_that_dies_does_not_leave_the_other_waiting(workers):
    first, second = workers.pair("out", FAKE_STUCK_RANK="1")
    workers.wait_for_answers("out", 6)
    second.send_signal(signal.SIGKILL)
    code, _, err = finish(first)
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("error: another process has ended before its share")
    finish(second)
    assert workers.answers("out") == 6
