"""`rsunivlm convert`: what it prints, and how it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "models/checkpoints"))  # for `foreign_checkpoints`

import foreign_checkpoints as foreign

from rsunivlm.cli import main

CONFIG = foreign.TEXT | {"vision_config": {"num_attention_heads": 4, "image_size": 30}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return foreign.write(tmp_path / "src", foreign.official(foreign.random_parts(720)), CONFIG)


def test_the_report_in_words_and_as_json(
    source: Path, tiny_tokenizer_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert", str(source), str(tmp_path / "ours"), "--tokenizer", str(tiny_tokenizer_dir)]
    assert main([*command, "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["layout"], report["files"]) == ("official LLaVA (dense)", [])
    assert main([*command, "--no-image-newline", "--upcycle", "--dtype", "bf16"]) == 0
    words = capsys.readouterr().out
    assert "3 experts, without image_newline, head tied" in words
    assert "left out: 1 tensors, not wanted" in words
    assert (tmp_path / "ours/model.safetensors").is_file()


def test_bad_input_is_one_line_and_code_2(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for sources, message in (
        ([], "give one source"),
        ([tmp_path / "empty"], "has no weights"),
        ([source], "--tokenizer"),
    ):
        assert main(["convert", *map(str, sources), str(tmp_path / "ours")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error
