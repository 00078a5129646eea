"""The paper's mixtures: counts, leaks, what is missing, and a file that training loads."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_tools import conversion
from data_tools.__main__ import main
from data_tools.converter import Settings
from data_tools.mix.shares import balanced, in_equal_parts, in_proportion
from data_tools.mix.tables import BY_GRANULARITY, GENERAL, REMOTE_SENSING, STAGES, Row
from data_tools.mix.writing import mix
from data_tools.registry import converters
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.records import Record, Turn, read_records, write_records
from rsunivlm.tasks import Granularity, Task

SLOTS = {
    "question": "is it?",
    "expression": "a dam",
    "classes": "a, b",
    "box": "[0, 0, 9, 9]",
    "label": "dam",
}
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fixtures import fixtures  # noqa: E402

Convert = Callable[..., Path]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Write the folder of a conversion: file name (without .jsonl) -> its images, one record each."""

    def make(name: str, files: Mapping[str, list[str]], **options: Any) -> Path:
        folder = tmp_path / "data" / name
        images = folder if options.pop("own_images", False) else tmp_path / "downloads" / name
        images.mkdir(parents=True, exist_ok=True)
        for file, paths in files.items():
            task = Task(Path(file).name.partition("_")[0])
            write_records(folder / f"{file}.jsonl", [record(task, *one) for one in enumerate(paths)])
        summary = {
            "dataset": options.pop("source", name),
            "converter": options.pop("converter", name),
            "licence": "none",
            "images": str(images.resolve()),
            "records": {f"{file}.jsonl": len(paths) for file, paths in files.items()},
            "options": {
                "limit": None,
                "turns": 1,
                "box_codec": BoxCodec().to_dict(),
                "mask_codec": MaskCodec().to_dict(),
                **options,
            },
        }
        (folder / "conversion.json").write_text(json.dumps(summary))
        return folder

    return make


def record(task: Task, number: int, image: str) -> Record:
    turn = Turn(f"{task.token} x", "yes")
    return Record(f"{task}-{number}", (image,) * task.num_images, (turn,), task)


def pictures(count: int) -> list[str]:
    return [f"x{number}.png" for number in range(count)]


def entries(out: Path) -> dict[str, int]:
    return {entry["name"]: entry["samples"] for entry in yaml.safe_load(out.read_text())["datasets"]}


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a stage, with counts that a test can write out."""
    vrsbench = Row(10, "VRSBench", "IF", "vrsbench", 10, (Task.CAP, Task.VG, Task.VQA))
    dior = Row(10, "DIOR-RSVG", "VG", "dior_rsvg", 30, (Task.VG,), val=True)
    monkeypatch.setitem(STAGES, "stage1", (vrsbench, dior))
    region = {"table": 12, "type": "VG", "tasks": (Task.VG,), "granularity": Granularity.REGION}
    monkeypatch.setitem(
        STAGES,
        "stage2",
        (
            Row(12, "VRSBench-Cap", "CAP", "vrsbench", 0, (Task.CAP,), granularity=Granularity.IMAGE),
            Row(title="VRSBench-Ref", converter="vrsbench", **region),
            Row(title="DIOR-RSVG", converter="dior_rsvg", val=True, **region),
        ),
    )


VRSBENCH = {
    "training/cap_train": pictures(4),
    "training/vg_train": pictures(6),
    "training/vqa_train": pictures(10),
    "training/reg_train": pictures(6),
    "cap_test": pictures(3),
}
DIOR = {"training/vg_train": pictures(5), "training/vg_val": pictures(2), "training/reg_train": pictures(5)}


def test_the_tables_are_the_papers() -> None:
    assert (sum(row.samples for row in REMOTE_SENSING), sum(row.samples for row in GENERAL)) == (
        985_000,
        547_000,
    )
    assert (len(REMOTE_SENSING), len(GENERAL), len(BY_GRANULARITY)) == (19, 7, 9 + 4 + 6)
    for row in BY_GRANULARITY:
        assert row.tasks[0].granularity == row.granularity
        assert not row.samples


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 300))
def test_in_proportion_is_within_one_of_the_exact_share(weights: list[int], total: int) -> None:
    shares = in_proportion(total, weights)
    whole = sum(weights)
    assert sum(shares) == (total if whole else 0)
    for share, weight in zip(shares, weights, strict=True):
        assert whole == 0 or abs(share - total * weight / whole) < 1
        assert total > whole or share <= weight


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 300))
def test_in_equal_parts_nobody_gets_more_while_another_could_take_it(limits: list[int], total: int) -> None:
    shares = in_equal_parts(total, limits)
    assert sum(shares) == min(total, sum(limits))
    for share, limit in zip(shares, limits, strict=True):
        assert 0 <= share <= limit
        assert share == limit or share >= max(shares) - 1


def test_balanced_cuts_all_groups_to_the_smallest_that_has_anything() -> None:
    limits = {"image": [100, 2, 50], "region": [3, 4], "pixel": [0]}
    wanted, taken = balanced(20, limits, repeat=False)
    assert wanted == {"image": [9, 2, 9], "region": [9, 11], "pixel": [0]}
    assert taken == {"image": [3, 2, 2], "region": [3, 4], "pixel": [0]}
    assert balanced(20, limits, repeat=True)[1] == wanted


@pytest.mark.usefixtures("small_tables")
def test_stage1_takes_the_papers_counts_split_over_the_rows_files(convert: Convert, tmp_path: Path) -> None:
    convert("vrsbench", VRSBENCH)
    convert("dior_rsvg", DIOR)
    out = tmp_path / "mixtures/stage1.yaml"
    mixed = mix("stage1", tmp_path / "data", out, seed=3)
    # 10 of 4 + 6 + 10 in proportion; of DIOR-RSVG all there is, val too, and nothing twice.
    assert entries(out) == {
        "vrsbench cap": 2,
        "vrsbench vg": 3,
        "vrsbench vqa": 5,
        "dior_rsvg vg": 5,
        "dior_rsvg vg val": 2,
    }
    assert [(row.wanted, row.available, sum(row.taken)) for row in mixed.rows] == [(10, 20, 10), (30, 7, 7)]
    mixture = Mixture.load(out)
    assert (len(mixture), mixture.seed) == (17, 3)
    assert all(dataset.images.is_dir() for dataset in mixture.datasets)
    first = out.read_bytes()
    mix("stage1", tmp_path / "data", out, seed=3)
    assert out.read_bytes() == first
    mix("stage1", tmp_path / "data", out, val=False, repeat=True)
    assert entries(out)["dior_rsvg vg"] == 30
    assert "dior_rsvg vg val" not in entries(out)


@pytest.mark.usefixtures("small_tables")
def test_stage2_gives_every_granularity_the_same_and_no_row_more_than_stage1(
    convert: Convert, tmp_path: Path
) -> None:
    convert("vrsbench", VRSBENCH)
    convert("dior_rsvg", DIOR)
    out = tmp_path / "stage2.yaml"
    # Stage 1 takes 2 captions and 3 boxes of VRSBench, so the image level has 2, the region level 3 + 7.
    mixed = mix("stage2", tmp_path / "data", out, per_granularity=9)
    assert entries(out) == {"vrsbench cap": 2, "vrsbench vg": 1, "dior_rsvg vg": 1}
    assert [row.wanted for row in mixed.rows] == [9, 3, 6]
    assert any("every granularity gets 2 samples instead of 9" in remark for remark in mixed.remarks)
    mix("stage2", tmp_path / "data", out, per_granularity=9, repeat=True)
    assert entries(out) == {"vrsbench cap": 9, "vrsbench vg": 3, "dior_rsvg vg": 4, "dior_rsvg vg val": 2}


@pytest.mark.usefixtures("small_tables")
def test_records_that_show_test_images_stay_out(
    convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert("vrsbench", {"training/vg_train": ["a/00011_0001.png", "a/00012_0000.png", "a/P0001_0002.png"]})
    convert("dior_rsvg", {"training/vg_train": ["b/00011.jpg"], "vg_test": ["b/00011.jpg", "b/00013.jpg"]})
    convert(
        "mine", {"vg_test": ["00012.jpg"]}, converter="dior_rsvg", source="mine"
    )  # only its name is alike
    arguments = ["mix", "stage1", "--data", str(tmp_path / "data")]
    assert main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "left out: 1 records of VRSBench that show test images of dior_rsvg" in text
    assert "left out: 1 records of DIOR-RSVG that show test images of dior_rsvg" in text
    assert "not guarded, since no test split is converted here: rsvqa_lr, rsvqa_hr, aid" in text
    out = tmp_path / "data/mixtures/stage1.yaml"
    (dataset,) = Mixture.load(out).datasets
    assert dataset.records.path.name == "vrsbench_vg_train.jsonl"
    assert [one.images[0] for one in read_records(dataset.records.path)] == [
        "a/00012_0000.png",
        "a/P0001_0002.png",
    ]
    assert main([*arguments, "--include-overlap"]) == 0
    assert entries(out) == {"vrsbench vg": 3, "dior_rsvg vg": 1}
    assert list((tmp_path / "data/mixtures").rglob("*.jsonl")) == []  # the filtered copy has served


@pytest.mark.usefixtures("small_tables")
def test_a_mixture_moves_with_its_data(convert: Convert, tmp_path: Path) -> None:
    convert("vrsbench", VRSBENCH, own_images=True)
    convert("dior_rsvg", DIOR)
    mix("stage1", tmp_path / "data", tmp_path / "data/mixtures/stage1.yaml")
    shutil.move(tmp_path / "data", tmp_path / "moved")
    mixture = Mixture.load(tmp_path / "moved/mixtures/stage1.yaml")
    assert mixture.datasets[0].images.resolve() == (tmp_path / "moved/vrsbench").resolve()
    assert mixture.datasets[-1].images == (tmp_path / "downloads/dior_rsvg").resolve()


@pytest.mark.usefixtures("small_tables")
def test_what_is_missing_is_named_with_the_commands_that_make_it(
    convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert("vrsbench", {"cap_test": pictures(1)})
    arguments = ["mix", "stage1", "--data", str(tmp_path / "data")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 2 datasets of stage1 are not ready below ")
    assert "vrsbench: its conversion holds no training records for cap/vg/vqa" in error
    assert "dior_rsvg: not converted" in error
    assert f"python -m data_tools convert dior_rsvg --root FOLDER --out {tmp_path}/data/dior_rsvg" in error
    assert main([*arguments, "--allow-missing"]) == 2
    assert "holds nothing for stage1" in capsys.readouterr().err
    convert("dior_rsvg", DIOR, limit=7, turns=2)
    assert main([*arguments, "--allow-missing"]) == 0
    notes = " ".join(capsys.readouterr().out.split())
    words = "its conversion holds no training records for cap/vg/vqa"
    assert f"note: rows left empty ({words}): vrsbench" in notes
    assert "dior_rsvg was converted with --limit 7: it is not whole" in notes
    assert "dior_rsvg was converted with --turns 2" in notes


@pytest.mark.usefixtures("small_tables")
def test_data_that_does_not_fit_together_is_refused(convert: Convert, tmp_path: Path) -> None:
    out = tmp_path / "m/stage1.yaml"

    def refused(words: str) -> None:
        with pytest.raises(ValueError, match=words):
            mix("stage1", tmp_path / "data", out)
        assert not out.parent.exists()

    refused("is no folder")
    convert("vrsbench", VRSBENCH)
    convert("dior_rsvg", DIOR, box_codec=BoxCodec(range=1000).to_dict())
    refused(r"vrsbench and dior_rsvg were converted with different settings of the box codec: .*1000")
    folder = convert("dior_rsvg", DIOR, converter="opt_rsvg")
    refused("holds opt_rsvg, not dior_rsvg")
    convert("dior_rsvg", DIOR)
    shutil.rmtree(tmp_path / "downloads/dior_rsvg")
    refused("are no longer at .*downloads/dior_rsvg; put them back")
    convert("dior_rsvg", DIOR | {"vg_test": ["00011.jpg"]})
    (folder / "training/vg_train.jsonl").write_text('{"id": 1, "image": "00011.jpg"}\n{"id": 2,')
    refused(r"vg_train\.jsonl:2: is no record")
    (folder / "training/vg_train.jsonl").unlink()
    refused(r"vg_train\.jsonl is missing, though conversion\.json names it")
    (folder / "conversion.json").write_text("{}")
    refused(r"conversion\.json is no summary of a conversion")


def test_options_of_the_other_stage_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["stage1", "--per-granularity", "5"], ["stage2", "--per-granularity", "0"]):
        assert main(["mix", *arguments, "--data", str(tmp_path)]) == 2
        assert capsys.readouterr().err.startswith("error: --per-granularity N goes with stage2")


@pytest.fixture(scope="module")
def converted_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All fixtures, converted with one mask language."""
    folder = tmp_path_factory.mktemp("fixtures")
    for name, fixture in fixtures().items():
        root, out = folder / "downloads" / name, folder / "data" / name
        root.mkdir(parents=True)
        fixture.make(root)
        settings = Settings(root, out=out, **{**fixture.options, "masks": MaskCodec(4)})
        conversion.convert(converters()[name], settings, out, max_bad=1.0)
    return folder / "data"


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_mix_on_the_fixtures_prints_the_rows_of_the_papers_tables(
    converted_fixtures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "mixture.yaml"
    assert main(["mix", stage, "--data", str(converted_fixtures), "--out", str(out)]) == 0
    cells = [line.strip("│┃").split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    printed = [[cell.strip() for cell in row] for row in cells if row[0].strip() != "all"]
    rows = STAGES[stage]
    assert [row[:2] for row in printed] == [[row.title, row.type] for row in rows]
    numbers = [[int(cell.replace(",", "")) for cell in row[2:]] for row in printed]
    for row, (wanted, available, taken, left_out) in zip(rows, numbers, strict=True):
        summary = json.loads((converted_fixtures / row.converter / "conversion.json").read_text())
        splits = ("train", "val") if row.val else ("train",)
        tasks = row.tasks or converters()[row.converter].manifest.tasks
        names = [f"training/{task}_{split}.jsonl" for task in tasks for split in splits]
        assert available + left_out == sum(summary["records"].get(name, 0) for name in names), row.title
        assert stage == "stage2" or (wanted, taken) == (row.samples, available)
        assert available or left_out, row.title
    assert len(Mixture.load(out)) == sum(taken for _, _, taken, _ in numbers)
    assert stage == "stage1" or len({sum_of(numbers, rows, level) for level in Granularity}) == 1


def sum_of(numbers: list[list[int]], rows: tuple[Row, ...], level: Granularity) -> int:
    return sum(taken for row, (_, _, taken, _) in zip(rows, numbers, strict=True) if row.granularity == level)
