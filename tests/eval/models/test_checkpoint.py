"""Checkpoints of this project as a benchmark asks them."""

import json

import pytest

from eval import run_benchmark


def test_constrained_answers_are_all_readable_and_the_results_say_so(tiny, tiny_checkpoint, tmp_path, capsys):
    argv = ["--task", "vg", "--benchmark", tiny, "--model", tiny_checkpoint, "--device", "cpu"]
    unparsable, models = [], []
    for name, more in (("free", []), ("held", ["--constrained"])):
        assert run_benchmark.main([str(item) for item in [*argv, "--out", tmp_path / name, *more]]) == 0
        unparsable.append(json.loads(capsys.readouterr().out.splitlines()[-1])["unparsable"])
        models.append(json.loads((tmp_path / name / "results.json").read_text())["model"])
    assert unparsable == [14, 0]
    assert models[1] == models[0] | {"constrained": True}


@pytest.mark.usefixtures("int8_processor")
def test_int8_weights_are_another_model_in_the_results(tiny, tiny_checkpoint, tmp_path, capsys):
    argv = ["--task", "vg", "--benchmark", tiny, "--model", tiny_checkpoint, "--device", "cpu", "--limit", 2]
    models = []
    for name, more in (("float", []), ("int8", ["--int8"])):
        assert run_benchmark.main([str(item) for item in [*argv, "--out", tmp_path / name, *more]]) == 0
        models.append(json.loads((tmp_path / name / "results.json").read_text())["model"])
    for key in ("config_sha256", "weights"):
        assert models[0][key] != models[1][key]
    assert run_benchmark.main(["--task", "sc", "--model", "hf:x/y", "--int8"]) == 2
    assert "--int8 is for checkpoints of this project" in capsys.readouterr().err
