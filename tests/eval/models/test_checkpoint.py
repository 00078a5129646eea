"""Checkpoints of this project as a benchmark asks them."""

import json

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
