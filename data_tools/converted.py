"""What `convert` left in a folder: the road from a converted dataset to mixtures and exports.

``conversion.json`` names the record files; their names say what is in them (see `data_tools.conversion`)::

    training/vqa_train.jsonl    training form, task vqa, split train
    vqa_test.jsonl              evaluation form, task vqa, split test
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.files import read_json
from rsunivlm.tasks import Task

SUMMARY = "conversion.json"
# Options of a conversion that matter to those who use its records.
_OPTIONS = ("limit", "turns", "box_codec", "mask_codec")


@dataclass(frozen=True)
class ConvertedFile:
    """One record file.

    Attributes:
        name: path below the conversion's folder, e.g. "training/vqa_train.jsonl".
        path: where it lies.
        task: of all its records.
        split: of the dataset.
        training: training form, not evaluation form.
        records: how many it holds.
    """

    name: str
    path: Path
    task: Task
    split: str
    training: bool
    records: int


@dataclass(frozen=True)
class Converted:
    """A converted dataset.

    Attributes:
        folder: where its record files lie.
        dataset: the `source` of its records: the converter's name unless the user chose another.
        converter: name of the converter.
        licence: of the dataset.
        images: the folder that image paths are relative to.
        files: its record files that hold anything, in the order of the conversion.
        options: how it was converted: limit, turns, box_codec, mask_codec (see `data_tools.conversion`).
    """

    folder: Path
    dataset: str
    converter: str
    licence: str
    images: Path
    files: tuple[ConvertedFile, ...]
    options: Mapping[str, Any]


def read_converted(folder: Path) -> Converted:
    """Read the summary of a converted dataset.

    Raises:
        ValueError: it is missing, damaged, or names files that are not there.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise ValueError(f"{folder} has no {SUMMARY}; name a folder that `data_tools convert --out` made")
    content = read_json(path)
    try:
        files = tuple(
            converted_file(folder, name, count) for name, count in content["records"].items() if count
        )
        for file in files:
            if not file.path.is_file():
                raise ValueError(f"{file.path} is missing, though {SUMMARY} names it; convert again")
        return Converted(
            folder=folder,
            dataset=content["dataset"],
            converter=content["converter"],
            licence=content["licence"],
            images=Path(content["images"]),
            files=files,
            options={name: content["options"][name] for name in _OPTIONS},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no summary of a conversion ({error!r}); convert again") from error


def find_converted(data: Path) -> list[Converted]:
    """Read all converted datasets directly below a folder, in the order of their names.

    Raises:
        ValueError: the folder is missing, or a summary is damaged.
    """
    if not data.is_dir():
        raise ValueError(f"{data} is no folder; name the one that holds the outputs of `data_tools convert`")
    return [read_converted(path.parent) for path in sorted(data.glob(f"*/{SUMMARY}"))]


def converted_file(folder: Path, name: str, records: int) -> ConvertedFile:
    """Read what the name of a record file tells; whether the file is there is another question.

    Raises:
        ValueError: the name is not of `convert`'s making.
    """
    task, separator, split = PurePosixPath(name).stem.partition("_")
    if not separator or task not in {known.value for known in Task}:
        raise ValueError(f"{folder / SUMMARY}: {name} is not named TASK_SPLIT.jsonl; convert again")
    return ConvertedFile(name, folder / name, Task(task), split, name.startswith("training/"), records)
