"""The comparison of RS-MoE with its controls: the bundled plan, changed checkpoints, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from eval import rs_moe_variants, run_benchmark
from eval.rs_moe_variants import PLAN, Plan, Row, main, view
from rsunivlm.data.expert_rows import check_targets
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.training.family_rs_moe import expert_fields
from rsunivlm.training.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]


def test_the_bundled_plan_makes_valid_recipes_and_has_all_controls() -> None:
    plan = Plan.read(PLAN)
    counts = {}
    for name, run in plan.runs.items():
        overrides = {key: json.dumps(value) for key, value in run.overrides.items()}
        recipe = load_recipe(ROOT / f"scripts/recipes/{plan.recipe}.yaml", run.stage, overrides)
        if recipe.experts:
            config = RSMoEConfig(**expert_fields(recipe.experts))
            check_targets(config.subtasks, recipe.targets)
            counts[name] = config.num_experts
    assert (counts["n1"], counts["n2"], counts["rs_moe"], counts["n4"]) == (1, 2, 3, 4)
    assert {row.name[:8] for row in plan.rows} >= {f"control{number}" for number in (1, 2, 3, 4)}
    assert len({plan.folder(name) for name in plan.runs}) == len(plan.runs)


def test_a_view_changes_settings_and_links_the_rest(make_tiny_rs_moe, tmp_path: Path) -> None:
    model, processor = make_tiny_rs_moe(experts=[])
    checkpoint = tmp_path / "stage1"
    model.save_pretrained(checkpoint)
    processor.save_pretrained(checkpoint)
    config = {"experts": None, "prompts": None, "experts_as": "prompts", "router": "template"}
    folder = view(checkpoint, tmp_path / "view", Row("a", "stage1", config, {"min_new_tokens": 5}))
    assert (folder / "model.safetensors").samefile(checkpoint / "model.safetensors")
    changed = type(model).from_pretrained(folder)
    assert list(changed.config.subtasks) == ["theme", "objects", "relations"]
    assert changed.generation_config.min_new_tokens == 5
    assert type(model).from_pretrained(checkpoint).config.num_experts == 0


def test_rows_are_trained_scored_and_compared_once(
    make_tiny_rs_moe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = {
        "recipe": "toy",
        "benchmark": "mini",
        "runs": {
            "stage1": {"stage": 1},
            "rs_moe": {"stage": 2},
            "n1": {"stage": 2, "overrides": {"seed": 1}},
        },
        "rows": [
            {"name": "rs_moe", "run": "rs_moe", "tasks": ["cap", "vqa"]},
            {"name": "captions", "run": "rs_moe"},
            {"name": "n1", "run": "n1", "config": {"aggregation": "best"}, "tasks": ["vqa"]},
        ],
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    trained: list[list[str]] = []

    def train_or_score(*words: object) -> None:
        texts = [str(word) for word in words]
        if texts[0] != "bash":
            assert Path(texts[1]).samefile(run_benchmark.__file__)
            assert run_benchmark.main(texts[2:]) == 0  # here and now: a process of its own takes its time
            return
        trained.append([Path(texts[1]).name, *texts[2:]])
        model, processor = make_tiny_rs_moe(experts=[] if "stage1" in texts[1] else None)
        folder = texts[3].removeprefix("output=")
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    monkeypatch.setattr(rs_moe_variants, "_call", train_or_score)
    mini = ROOT / "playground/benchmarks/mini"
    # Questions, because METEOR's Java takes seconds to start.
    command = ["--plan", "plan.yaml", "--task", "vqa", "--benchmark", "mini", "--data", str(mini)]
    command += ["--limit", "3", "--set", "seed=2"]
    assert main(command) == 0
    assert trained == [
        ["train_rs_moe_stage1.sh", "toy", "output=runs/toy/stage1", "seed=2"],
        ["train_rs_moe_stage2.sh", "toy", "output=runs/toy/stage2", "seed=2"],
        ["train_rs_moe_stage2.sh", "toy", "output=runs/toy/n1", "seed=1", "seed=2"],
    ]
    first, second = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (first["name"], first["n"]) == ("rs_moe", 2)  # the third is a count, which is not scored
    assert "versus_first" not in first
    assert second["versus_first"]["macro_accuracy"]["value"] == 0  # the same weights
    assert (tmp_path / "results/rs_moe_variants/vqa_mini/n1/results.json").is_file()
    assert main(command) == 0
    assert len(trained) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rows: []", "is no plan"),
        ("{recipe: a, benchmark: b, runs: {}, rows: [{name: c, run: d}]}", "row c looks at run 'd'"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path: Path, content: str, message: str, capsys) -> None:
    (tmp_path / "plan.yaml").write_text(content)
    assert main(["--plan", str(tmp_path / "plan.yaml"), "--data", "x"]) == 2
    assert message in capsys.readouterr().err
    assert main(["--plan", "nowhere", "--data", "x"]) == 2
    assert main(["--task", "vqa", "--data", "x"]) == 2
    assert "--task vqa needs --benchmark" in capsys.readouterr().err
    assert main(["--data", "x", "--only", "what"]) == 2
    assert "there are rs_moe, rs_moe_best" in capsys.readouterr().err
