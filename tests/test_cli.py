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


@pytest.mark.usefixtures("int8_processor")
def test_ask_with_int8_weights(picture: Path, tiny_checkpoint: Path, capsys) -> None:
    arguments = ["ask", str(picture), "[VG] the ship", "--model", str(tiny_checkpoint), "--json"]
    assert main([*arguments, "--int8"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "vg"


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
        (["ask", "PICTURE", "[VG] x", "--int8", "--device", "meta"], "int8 weights are for the CPU"),
        (["ask", "PICTURE", "x", "--out", "no/folder/a.png"], "folder of --out does not exist"),
        (["info", "nowhere"], "no preset, checkpoint folder or hub id"),
        (["info", "--adaptation", "loro"], "unknown adaptation 'loro'"),
        (["info", "--adaptation", "lora", "--option", "r=3"], "adaptation lora has no option 'r'"),
        (["info", "--adaptation", "lora", "--option", "rank=[3"], "rank: cannot read value '[3'"),
        (["plan", "--gpus", "0"], "must be above 0"),
        (["plan", "--memory", "0"], "--memory must be above 0"),
        (["plan", "--zero", "1", "--offload"], "offloading needs ZeRO 2 or 3"),
        (["plan", "--stage", "1", "--adaptation", "lora"], "settings of stage 2"),
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


@pytest.mark.full_size
def test_info_of_an_adaptation_stands_beside_the_printed_counts(capsys) -> None:
    assert main(["info", "--adaptation", "lora", "--option", "preset=paper"]) == 0
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:-1])
    assert rows["trained"] == "72,222,464"
    assert rows["held in training"] == "987,007,008"
    assert main(["info", "--adaptation", "lora", "--option", "preset=paper"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("72M / 987M")
    assert main(["info", "rsunivlm", "--adaptation", "moe", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["trained"], counts["active"]) == (792_895_488, 778_184_736)


@pytest.mark.full_size
def test_plan_says_what_fits(capsys) -> None:
    assert main(["plan", "--gpus", "4", "--memory", "48"]) == 0
    text = capsys.readouterr().out
    assert (
        text.count("recommended for 48 GB: ZeRO 2, deepspeed=scripts/zero2.json packing=true max_length=")
        == 2
    )
    assert "stage 2 (gmoe): 941,359,104 of 1,521,190,944 parameters trained" in text
    assert main(["plan", "--gpus", "1", "--memory", "24", "--stage", "2", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert [row["zero"] for row in plan["rows"]] == [0, 1, 2, 3]
    for row in plan["rows"]:
        working = max(row["buffers_gb"] + row["activations_gb"] + row["head_gb"], row["update_gb"])
        states = row["weights_gb"] + row["gradients_gb"] + row["optimizer_gb"]
        assert row["total_gb"] == pytest.approx(states + working + row["reserve_gb"], abs=0.03)
        assert row["fits"] == (row["total_gb"] <= 24)
    assert plan["recommended"]["offload"]
    assert plan["recommended"]["total_gb"] <= 0.9 * 24


def test_command_is_installed() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "rsunivlm.cli", "--version"], capture_output=True, text=True
    )
    assert result.stdout.startswith("rsunivlm ")
