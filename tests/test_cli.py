"""The command line on a tiny checkpoint: answers, pictures, JSON, and exit code 2 with one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsunivlm.cli import main


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    return tmp_path / "a.png"


def test_ask_prints_json_and_draws(picture: Path, tiny_checkpoint: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.png"
    arguments = [
        "ask",
        str(picture),
        "[VG] the ship",
        "--model",
        str(tiny_checkpoint),
        "--json",
        "--out",
        str(out),
        "--max-new-tokens",
        "8",
    ]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["granularity"], result["route_source"]) == ("vg", "region", "token")
    assert isinstance(result["boxes_px"], list)
    assert Image.open(out).width == 640  # 48 x 64 enlarged to 480 x 640


def test_ask_about_a_pair(picture: Path, tiny_checkpoint: Path, tmp_path: Path, capsys) -> None:
    arguments = [
        "ask",
        str(picture),
        str(picture),
        "[SEG] changed building",
        "--model",
        str(tiny_checkpoint),
        "--out",
        str(tmp_path / "pair.png"),
        "--max-new-tokens",
        "4",
        "--labels",
        "building",
    ]
    assert main(arguments) == 0
    assert "task cd, pixel expert, route by token" in capsys.readouterr().err
    assert Image.open(tmp_path / "pair.png").width == 1280


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "nowhere.png", "what?"], "no such image file: nowhere.png"),
        (["ask", "only a prompt"], "give an image and a prompt"),
        (["ask", "PICTURE", "[VG] x", "--model", "nowhere"], "no checkpoint folder nowhere"),
        (["ask", "PICTURE", "[VG] x", "--task", "dance"], "unknown task 'dance'"),
        (["ask", "PICTURE", "[CCD] what changed?"], "looks at 2 image(s)"),
        (["ask", "PICTURE", "x", "--out", "no/folder/a.png"], "folder of --out does not exist"),
        (["info", "nowhere"], "no preset, checkpoint folder or hub id"),
    ],
)
def test_mistakes_end_with_code_2(
    arguments: list[str], message: str, picture: Path, tiny_checkpoint: Path, capsys
) -> None:
    arguments = [str(picture) if item == "PICTURE" else item for item in arguments]
    if arguments[0] == "ask" and "--model" not in arguments:
        arguments += ["--model", str(tiny_checkpoint)]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.full_size
def test_info_gives_the_published_counts(capsys) -> None:
    assert main(["info", "rsunivlm", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["dense"] == counts["active"] == 893_618_208
    assert counts["gmoe_stored"] == 1_521_190_944
    assert counts["per_expert"] == counts["stage2_trained_per_sample"] == 313_786_368
    assert counts["stage2_trained"] == 941_359_104
    assert counts["vision_tower"] == 397_747_744
    assert counts["connector"] == 1_836_800
    assert counts["language_model"] == 494_032_768


def test_command_is_installed() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "rsunivlm.cli", "--version"], capture_output=True, text=True
    )
    assert result.stdout.startswith("rsunivlm ")
