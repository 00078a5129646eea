"""Mixtures: the order of an epoch is computed, and every mistake in the file is named with its place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.tasks import Task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("five", 5), ("three", 3), ("none", 0)):
        turn = (Turn("[VQA] why?", "because"),)
        write_records(
            tmp_path / f"{name}.jsonl", (Record(f"{i}", ("a.png",), turn, Task.VQA) for i in range(count))
        )
    return tmp_path


def mixture(folder: Path, *datasets: dict[str, Any], seed: int = 0) -> Mixture:
    return Mixture.load({"seed": seed, "datasets": list(datasets)}, base=folder)


FIVE = {"name": "five", "records": "five.jsonl"}
THREE = {"name": "three", "records": "three.jsonl"}


def test_counts_are_whole_copies_and_a_remainder_without_repetition(folder: Path) -> None:
    mix = mixture(folder, {**FIVE, "samples": 13}, {**THREE, "fraction": 0.7})
    plan = mix.plan(epoch=0)
    assert plan.shape == (len(mix), 2) == (15, 2)
    counts = Counter(map(tuple, plan.tolist()))
    assert sorted(counts[0, i] for i in range(5)) == [2, 2, 3, 3, 3]  # 13 = 2 * 5 + 3
    assert sorted(counts[1, i] for i in range(3)) == [0, 1, 1]  # 0.7 * 3 rounds to 2


def test_without_a_count_every_record_is_taken_once(folder: Path) -> None:
    plan = mixture(folder, FIVE, THREE).plan(epoch=4)
    assert sorted(map(tuple, plan.tolist())) == [(0, i) for i in range(5)] + [(1, i) for i in range(3)]


def test_the_plan_is_a_function_of_seed_epoch_and_mixture(folder: Path) -> None:
    def plan(seed: int, epoch: int) -> np.ndarray:
        return mixture(folder, {**FIVE, "samples": 50}, THREE, seed=seed).plan(epoch)

    assert np.array_equal(plan(1, 2), plan(1, 2))
    assert not np.array_equal(plan(1, 2), plan(1, 3))
    assert not np.array_equal(plan(1, 2), plan(2, 2))


def test_a_neighbour_does_not_change_what_is_drawn_from_a_dataset(folder: Path) -> None:
    def drawn(*datasets: dict[str, Any]) -> list[int]:
        mix = mixture(folder, *datasets)
        place = [dataset.name for dataset in mix.datasets].index("five")
        return sorted(record for dataset, record in mix.plan(0).tolist() if dataset == place)

    two_of_five = {**FIVE, "samples": 2}
    assert drawn(two_of_five) == drawn(THREE, two_of_five)


def test_a_file_resolves_variables_and_paths_from_its_own_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICTURES", str(folder))
    monkeypatch.delenv("COUNT", raising=False)
    (folder / "mix.yaml").write_text(
        "seed: 3\n"
        "datasets:\n"
        "- {name: five, records: '${WHICH:-five}.jsonl', images: '${PICTURES}', samples: '${COUNT:-4}'}\n"
        "- {name: three, records: three.jsonl}\n"
    )
    mix = Mixture.load(folder / "mix.yaml")
    assert (mix.seed, [dataset.taken for dataset in mix.datasets]) == (3, [4, 3])
    assert [dataset.images for dataset in mix.datasets] == [folder, folder]
    assert mix.datasets[0].records[4].id == "4"


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({**FIVE, "sample": 3}, "unknown key 'sample'"),
        ({"records": "five.jsonl"}, "'name' must be"),
        ({"name": "x", "records": "absent.jsonl"}, r"\(x\): 'records' file .*absent\.jsonl does not exist"),
        ({"name": "x", "records": "none.jsonl"}, r"\(x\): 'records' file .* is empty"),
        ({**FIVE, "images": "nowhere"}, "'images' folder .*nowhere does not exist"),
        ({**FIVE, "samples": 0}, "'samples' must be a whole number of at least 1"),
        ({**FIVE, "samples": 2.5}, "'samples' must be a whole number"),
        ({**FIVE, "samples": True}, "'samples' must be a whole number"),
        ({**FIVE, "fraction": -0.5}, "'fraction' must be a number"),
        ({**FIVE, "fraction": float("nan")}, "'fraction' must be a number"),
        ({**FIVE, "fraction": 0.01}, "takes none"),
        ({**FIVE, "samples": 1, "fraction": 1}, "not both"),
        ({**FIVE, "images": "${NOT_SET_ANYWHERE}"}, "NOT_SET_ANYWHERE"),
        ("five.jsonl", "must be a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_dataset(folder: Path, dataset: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        mixture(folder, THREE, dataset)
    assert "mixture: dataset 1" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1", "at least one dataset"),
        ("datasets: []", "at least one dataset"),
        ("datasets: [", "not valid YAML"),
        ("sets: []", "unknown key 'sets'"),
        ("- 1", "must be a mapping"),
        ("seed: -1\ndatasets: [{name: five, records: five.jsonl}]", "'seed'"),
        ("datasets: [{name: a, records: five.jsonl}, {name: a, records: three.jsonl}]", "called 'a'"),
    ],
)
def test_a_mistake_is_named_with_its_file(folder: Path, text: str, words: str) -> None:
    (folder / "mix.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        Mixture.load(folder / "mix.yaml")
    assert "mix.yaml" in str(caught.value)
    with pytest.raises(ValueError, match=r"no such mixture file: .*other\.yaml"):
        Mixture.load(folder / "other.yaml")
