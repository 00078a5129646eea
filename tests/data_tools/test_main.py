"""The command line: exit codes, one clear line for a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_tools.__main__ import main
from rsunivlm.codecs import MaskCodec
from rsunivlm.data.records import RecordFile


@pytest.fixture
def folder(tmp_path: Path, save_image: Callable[..., Path]) -> Path:
    save_image("images/a.png")
    save_image("masks/a.png", values=np.tile(np.uint8([[0] * 16 + [255] * 16]), (32, 1)))
    (tmp_path / "val.txt").write_text("a\n")
    return tmp_path


def test_convert_writes_records_with_the_chosen_codec(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"convert index_masks --root {folder} --out {folder}/out --classes 0=background,255=road"
    assert main([*command.split(), "--mask-grid", "4", "--mask-dialect", "text4seg", "--source", "mine"]) == 0
    (record,) = RecordFile(folder / "out/ss_val.jsonl")
    assert record.source == "mine"
    assert record.turns[0].answer == MaskCodec(4, "text4seg").encode(
        np.tile([0, 0, 1, 1], (4, 1)), ["others", "road"]
    )
    assert "training/ss_val.jsonl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("convert index_masks --root {0} --out {0}/out", "classes.json does not exist"),
        ("convert index_masks --root {0} --out {0}/out --classes 0=others", "must hold distinct names"),
        ("convert rsicd --root {0} --out {0}/out", "has no RSICD_images; expected layout"),
        ("convert rsicd --root {0} --out {0}/out --classes 0=a", "--classes does not apply to rsicd"),
        ("convert rsicd --root {0} --out {0}/out --mask-grid 9999", "grid must be"),
    ],
)
def test_a_mistake_gives_one_line_and_code_2_and_no_files(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    assert main(arguments.format(folder).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "convert nothing --root . --out x",
        "convert rsicd --root . --out x --turns 0",
        "convert rsicd --root .",
    ],
)
def test_a_wrong_call_is_refused_by_the_parser(arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
