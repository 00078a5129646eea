from pathlib import Path

import pytest

from rsunivlm.training.recipe import Recipe, load_recipe, parse_overrides

FILE = """
mixture: {datasets: [{name: a, records: a.jsonl}]}
model: {text: {hidden_size: 64, num_hidden_layers: 2}}
batch_size: 8
learning_rate: 1e-4
stage2: {learning_rate: 2.0e-5, epochs: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(FILE)
    return path


def test_stage_settings_stand_over_common_ones_and_the_command_line_over_both(file: Path) -> None:
    first = load_recipe(file, 1)
    second = load_recipe(file, 2, {"batch_size": "2"})
    assert (first.name, first.stage, first.batch_size, first.learning_rate, first.epochs) == (
        "toy",
        1,
        8,
        1e-4,
        1,
    )
    assert (second.stage, second.batch_size, second.learning_rate, second.epochs) == (2, 2, 2e-5, 2)
    assert (first.start_dir, first.output_dir) == (None, Path("runs/toy/stage1"))
    assert (second.start_dir, second.output_dir) == (Path("runs/toy/stage1"), Path("runs/toy/stage2"))
    assert load_recipe(file, 1, {"init_from": "x"}).start_dir == Path("x")


def test_the_paper_settings_are_the_defaults() -> None:
    recipe = Recipe(name="x", stage=1, mixture="m.yaml")
    assert (recipe.learning_rate, recipe.weight_decay, recipe.warmup_ratio) == (1e-5, 0.0, 0.03)
    assert (recipe.schedule, recipe.epochs, recipe.batch_size) == ("cosine", 1, 4)


def test_overrides_in_every_form(file: Path) -> None:
    arguments = [
        "batch_size=2",
        "--seed=7",
        "--learning-rate",
        "3e-5",
        "model.text.hidden_size=32",
        "deepspeed=",
    ]
    overrides = parse_overrides(arguments)
    recipe = load_recipe(file, 1, overrides)
    assert (recipe.batch_size, recipe.seed, recipe.learning_rate, recipe.deepspeed) == (2, 7, 3e-5, "")
    assert recipe.model == {"text": {"hidden_size": 32, "num_hidden_layers": 2}}
    assert load_recipe(file, 1).model["text"]["hidden_size"] == 64  # nothing is changed in place


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rte": "1"}, "unknown setting 'learning_rte'; did you mean 'learning_rate'"),
        ({"stage": "2"}, "unknown setting 'stage'"),
        ({"batch_size": "many"}, "batch_size must be a whole number, got 'many'"),
        ({"batch_size": "1.5"}, "batch_size must be a whole number"),
        ({"batch_size": "0"}, "batch_size must be above 0"),
        ({"overwrite": "3"}, "overwrite must be true or false"),
        ({"precision": "fp16"}, "precision must be one of auto, bf16, fp32"),
        ({"model": "big"}, "model must be a mapping"),
        ({"seed.x": "1"}, "'seed' has no parts"),
        ({"warmup_ratio": "3"}, "below 1"),
    ],
)
def test_mistakes_are_named(file: Path, overrides: dict[str, str], message: str) -> None:
    settings = {"seed": "0", **overrides}
    with pytest.raises(ValueError, match=message):
        load_recipe(file, 1, settings)


def test_a_misspelt_key_of_stage_2_shows_before_stage_1_has_run(file: Path) -> None:
    file.write_text(FILE.replace("epochs: 2", "epoch: 2"))
    with pytest.raises(
        ValueError, match=r"toy\.yaml: stage2: unknown setting 'epoch'; did you mean 'epochs'"
    ):
        load_recipe(file, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1]", "a recipe is a mapping"), ("a: [", "not valid YAML"), ("seed: 1", "stage1 names no mixture")],
)
def test_files_that_are_no_recipe(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(file, 1)


@pytest.mark.parametrize("arguments", [["quick"], ["--seed"]])
def test_arguments_that_are_no_override(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=arguments[0]):
        parse_overrides(arguments)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "scripts/recipes").glob("*.yaml")), ids=lambda path: path.stem
)
@pytest.mark.parametrize("stage", [1, 2])
def test_bundled_recipes_are_valid(path: Path, stage: int) -> None:
    recipe = load_recipe(path, stage)
    assert Path(recipe.deepspeed).name in ("zero1.json", "zero2.json", "zero3.json")


def test_the_paper_recipe_trains_on_what_mix_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Path(__file__).parents[2] / "scripts/recipes/paper.yaml"
    monkeypatch.delenv("RSUNIVLM_DATA", raising=False)
    assert load_recipe(paper, 1).mixture == "data/mixtures/stage1.yaml"
    monkeypatch.setenv("RSUNIVLM_DATA", "/sets")
    assert load_recipe(paper, 2).mixture == "/sets/mixtures/stage2.yaml"
    with pytest.raises(ValueError, match=r"paper\.yaml: 'mixture' uses \$\{NO_SUCH\}, which is not set"):
        load_recipe(paper, 1, {"mixture": "${NO_SUCH}/m.yaml"})
