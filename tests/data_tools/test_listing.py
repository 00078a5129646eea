"""What is listed, and how a download is recognised."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_tools.__main__ import main
from data_tools.converter import Manifest
from data_tools.listing import Download, find_download
from data_tools.registry import converters
from rsunivlm.tasks import Task

TOY = Manifest(
    name="toy",
    title="Toy",
    tasks=(Task.VQA,),
    source="https://example.org/toy",
    licence="none",
    layout="Images/*.tif {train,test}.json",
    needs=("Images/*.tif", "train*.json"),
    folders=("Toy-1", "toy"),
)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("where", ["toy", "Toy-1", "archives/toy", "toy/Toy-1", "Toy-1/unpacked"])
def test_a_download_is_found_by_its_name_or_nested_below_it(tmp_path: Path, where: str) -> None:
    folder = fill(tmp_path / where, "Images/1.tif", "train_v2.json")
    assert find_download(TOY, tmp_path) == Download("found", folder)


def test_the_folder_given_may_be_the_download_itself(tmp_path: Path) -> None:
    folder = fill(tmp_path / "toy", "Images/1.tif", "train.json")
    assert find_download(TOY, folder) == Download("found", folder)


def test_an_incomplete_download_names_what_is_missing(tmp_path: Path) -> None:
    fill(tmp_path / "Toy-1", "notes.txt")
    fill(tmp_path / "toy", "Images/1.png", "train.json")
    assert find_download(TOY, tmp_path) == Download("incomplete", tmp_path / "toy", ("Images/*.tif",))
    # A folder of another name is another dataset, even if all that is needed lies in it.
    fill(tmp_path / "other", "Images/1.tif", "train.json")
    assert find_download(TOY, tmp_path).state == "incomplete"


def test_one_of_two_layouts_is_enough(tmp_path: Path) -> None:
    either = replace(TOY, needs=("Images/*.tif|cut/*.png", "train.json"))
    fill(tmp_path / "toy", "cut/1.jpg", "train.json")
    assert find_download(either, tmp_path).lacking == ("Images/*.tif|cut/*.png",)
    fill(tmp_path / "toy", "cut/1.png")
    assert find_download(either, tmp_path).state == "found"


def test_absent_and_own_data(tmp_path: Path) -> None:
    assert find_download(TOY, tmp_path) == Download("missing")
    own = Manifest("own", "Your own", (Task.SS,), "your own", "your own", "images/*", needs=("images/*",))
    assert find_download(own, tmp_path) == Download("own")
    with pytest.raises(ValueError, match="is no folder"):
        find_download(TOY, tmp_path / "gone")


def test_the_table_names_every_converter_within_100_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "RSICD", "RSICD_images/1.jpg")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("RSUNIVLM_DOWNLOADS", raising=False)
    assert main(["list"]) == 0
    plain = capsys.readouterr().out
    monkeypatch.setenv("RSUNIVLM_DOWNLOADS", str(tmp_path))
    assert main(["list"]) == 0
    stated = capsys.readouterr().out
    for text in (plain, stated):
        assert max(map(len, text.splitlines())) <= 100
        assert {row.split("│")[1].strip() for row in text.splitlines() if "│" in row} - {""} == {
            *converters()
        }
    assert "licence" in plain
    assert re.search(r"rsicd .*incomplete +│ RSICD; lacks", stated)


def test_json_and_details_hold_the_whole_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    fill(tmp_path / "RSICD", "RSICD_images/1.jpg")
    assert main(["list", "--json", "--root", str(tmp_path)]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(entries) == set(converters())
    manifest = converters()["rsicd"].manifest
    rsicd = entries["rsicd"]
    assert (rsicd["title"], rsicd["notes"], rsicd["source"]) == (
        manifest.title,
        manifest.notes,
        manifest.source,
    )
    assert (rsicd["state"], rsicd["lacking"]) == ("incomplete", ["dataset_rsicd.json"])
    assert main(["list", "rsicd"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in (manifest.source, manifest.layout, manifest.notes, *manifest.needs):
        assert " ".join(text.split()) in shown
    assert main(["list", "nope"]) == 2
    assert capsys.readouterr().err.startswith("error: no dataset 'nope'; known are ")
