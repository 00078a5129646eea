"""Which converted record files belong to which row of the paper's tables, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.converted import Converted, ConvertedFile, find_converted
from data_tools.mix.tables import STAGES, Row, Stage
from rsunivlm.tasks import Granularity

# Language of the answers -> the experts that speak it.
_CODECS = {"box_codec": Granularity.REGION, "mask_codec": Granularity.PIXEL}


@dataclass(frozen=True)
class Part:
    """A record file of a row.

    Attributes:
        dataset: the conversion it comes from.
        file: the file.
        leaks: its lines that show test images -> the benchmark that tests on them.
    """

    dataset: Converted
    file: ConvertedFile
    leaks: dict[int, str] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """Records that may be trained on."""
        return self.file.records - len(self.leaks)


def read_data(data: Path) -> dict[str, Converted]:
    """Find the converted datasets below a folder, each in a folder of its converter's name.

    Returns:
        Name of the folder -> conversion, those of a user's own included.

    Raises:
        ValueError: the folder is missing, a summary is damaged, or images have moved away.
    """
    found = {converted.folder.name: converted for converted in find_converted(data)}
    for converted in found.values():
        if not converted.images.is_dir():
            raise ValueError(
                f"the images of {converted.folder} are no longer at {converted.images}; put them back or "
                "convert again with their new --root"
            )
    return found


def parts_of(row: Row, data: dict[str, Converted], *, val: bool) -> list[Part]:
    """The training files of a row.

    Args:
        row: of a table.
        data: see `read_data`.
        val: also take val where the paper does.

    Raises:
        ValueError: the folder of that name holds another dataset.
    """
    converted = data.get(row.converter)
    if converted is None:
        return []
    if converted.converter != row.converter:
        raise ValueError(
            f"{converted.folder} holds {converted.converter}, not {row.converter}; give it another name"
        )
    return [
        Part(converted, file)
        for file in converted.files
        if file.training
        and (not row.tasks or file.task in row.tasks)
        and (file.split.startswith("train") or (val and row.val))
    ]


def unready(rows: Iterable[Row], data: dict[str, Converted], *, val: bool = True) -> dict[str, str]:
    """Name the datasets whose rows have nothing to take from, with the reason; see `parts_of`.

    Returns:
        Converter -> what is wrong.
    """
    found: dict[str, str] = {}
    for row in rows:
        if row.converter not in data:
            found[row.converter] = "not converted"
        elif not parts_of(row, data, val=val):
            tasks = "/".join(row.tasks) or "any task"
            found[row.converter] = f"its conversion holds no training records for {tasks}"
    return found


def find_unready(stage: Stage, data: Path) -> dict[str, str]:
    """What a stage lacks below a folder, which need not be there; see `unready`.

    Raises:
        ValueError: a summary there is damaged.
    """
    return unready(STAGES[stage], read_data(data) if data.is_dir() else {})


def how_to_make(names: Iterable[str], data: Path) -> list[str]:
    """The commands that convert datasets to where a mixture looks for them."""
    return [f"python -m data_tools convert {name} --root FOLDER --out {data / name}" for name in names]


def check_language(parts: Iterable[Part]) -> None:
    """Check that all boxes and all masks were written in one language: a model can learn but one.

    Raises:
        ValueError: two datasets differ; names both and the settings.
    """
    seen: dict[str, tuple[str, str]] = {}
    for part in parts:
        for codec, granularity in _CODECS.items():
            if part.file.task.granularity == granularity:
                language = json.dumps(part.dataset.options[codec], sort_keys=True)
                other, first = seen.setdefault(codec, (part.dataset.dataset, language))
                if language != first:
                    raise ValueError(
                        f"{other} and {part.dataset.dataset} were converted with different settings of the "
                        f"{codec.replace('_', ' ')}: {first} and {language}; convert one of them again"
                    )


def remarks(parts: Iterable[Part]) -> list[str]:
    """What a user should know about how the datasets were converted."""
    found = []
    for name, options in {part.dataset.dataset: part.dataset.options for part in parts}.items():
        if options["limit"]:
            found.append(f"{name} was converted with --limit {options['limit']}: it is not whole")
        if options["turns"] > 1:
            found.append(f"{name} was converted with --turns {options['turns']}: one sample is up to so many")
    return found
