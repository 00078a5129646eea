"""`rsunivlm card`: what it says follows from the files, and nothing is overwritten or made up."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from rsunivlm.cli import main
from rsunivlm.models.checksum import weights_checksum
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def result_file(path: Path, checkpoint: Path, dtype: torch.dtype = torch.float32) -> Path:
    """What `eval/run_benchmark.py` writes, cut down to what the card reads, and its kinds of yardsticks."""

    def cell(value: float | None, *interval: float) -> dict:
        low, high = interval or (None, None)
        return {"value": value, "low": low, "high": high}

    model = RSUniVLMForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
    results = {
        "task": "vg", "benchmark": "dior_rsvg", "split": "test", "n": 187, "unparsable": 8,
        "metrics": {"acc@0.5": cell(0.25, 0.18, 0.32)},
        "yardsticks": {
            "codec_ceiling": {"acc@0.5": cell(1.0)},
            "centre_box": {"acc@0.5": cell(0.016)},
            "most_frequent_box": {"acc@0.5": cell(0.027)},
        },
        "protocol": {"name": "strict"}, "decoder": {"strategy": "greedy"},
        "model": {"id": "x", "weights": weights_checksum(model)},
    }  # fmt: skip
    path.write_text(json.dumps(results))
    return path


def test_a_card_from_the_files_alone(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(tiny_checkpoint)]) == 0
    card = card_of(tiny_checkpoint)
    assert card.data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["rsunivlm", "remote-sensing"],
    }
    main(["info", str(tiny_checkpoint), "--json"])
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert f"{counts['stored']:,} stored, {counts['active']:,} active" in card.text
    size = (tiny_checkpoint / "model.safetensors").stat().st_size
    assert f"safetensors, F32, {size / 1e6:,.1f} MB" in card.text
    assert "4 x 4 cells" in card.text
    assert "| `[VG]` | box of what the words name | 1 (region) |" in card.text
    assert "3 experts a layer (whole networks)" in card.text
    for absence in (
        "No result file was given",
        "how these weights were trained is not recorded",
        "No licence",
    ):
        assert absence in card.text


def test_scores_training_and_statements(tiny_checkpoint: Path, tmp_path: Path) -> None:
    training = {
        "recipe": {"name": "mine", "stage": 2, "output": "/home/somebody/secret", "learning_rate": 1e-5},
        "steps": 1400, "finished": False, "seconds": 577.7, "loss": {"last": 0.6373},
        "data": {"synth vg": {"records": 29768, "samples_per_epoch": 18000}},
    }  # fmt: skip
    (tiny_checkpoint / "training.json").write_text(json.dumps(training))
    results = [
        result_file(tmp_path / "a.json", tiny_checkpoint),
        result_file(tmp_path / "b.json", tiny_checkpoint, torch.bfloat16),  # a run on a GPU
    ]
    options = [
        "--license",
        "apache-2.0",
        "--base-model",
        "a/b",
        "c/d",
        "--dataset",
        "e/f",
        "--name",
        "me/tiny",
    ]
    assert main(["card", str(tiny_checkpoint), "--scores", *map(str, results), *options]) == 0
    card = card_of(tiny_checkpoint)
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == ["a/b", "c/d"]
    assert card.data.datasets == ["e/f"]
    assert card.data.tags[-1] == "visual-grounding"
    assert card.text.count("| 187 | 8 | acc@0.5 | 25.0 [18.0, 32.0] | 2.7 (most_frequent_box) |") == 2
    assert "| synth vg | 29,768 | 18,000 |" in card.text
    assert "had not finished" in card.text
    assert "secret" not in card.content


def test_scores_of_other_weights_are_refused(
    tiny_checkpoint: Path, make_tiny_model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_model(num_experts=3, seed=1).save_pretrained(tmp_path / "other")
    results = result_file(tmp_path / "results.json", tmp_path / "other")
    assert main(["card", str(tiny_checkpoint), "--scores", str(results)]) == 2
    assert re.search(r"^error: .*results.json was measured on other weights", capsys.readouterr().err)
    results.write_text('{"task": "vg"}')
    assert main(["card", str(tiny_checkpoint), "--scores", str(results)]) == 2
    assert "is no results.json of eval/run_benchmark.py" in capsys.readouterr().err
    assert not (tiny_checkpoint / "README.md").exists()


def test_a_card_that_is_there_stays(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tiny_checkpoint / "README.md"
    readme.write_text("written by hand")
    assert main(["card", str(tiny_checkpoint)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {readme} exists; --force")
    assert main(["card", str(tiny_checkpoint), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("---\n")
    assert readme.read_text() == "written by hand"
    assert main(["card", str(tiny_checkpoint), "--force"]) == 0
    assert card_of(tiny_checkpoint).data.to_dict()["library_name"] == "transformers"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--license", "Apache 2"], "a licence is spelt like apache-2.0"),
        (["--base-model", "/home/me/base"], "is named owner/name as on the hub"),
    ],
)
def test_statements_that_the_hub_would_refuse(
    options: list[str], message: str, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(tiny_checkpoint), *options]) == 2
    assert message in capsys.readouterr().err


def test_the_examples_of_a_card_run(tiny_checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    assert main(["card", str(tiny_checkpoint), "--name", str(tiny_checkpoint)]) == 0
    Image.effect_noise((40, 40), 80).save(tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", card_of(tiny_checkpoint).text, re.S)
    assert len(programs) == 2
    for program in programs:
        exec(program.replace("512", "8"), {})
