"""Measures of records: right, made once, kept where asked, and never taken for those of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from rsunivlm.data.measures import Measures, RecordMeasures
from rsunivlm.data.mixtures import Mixture, MixtureDataset
from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.tasks import Task


@pytest.fixture
def dataset(tmp_path: Path) -> MixtureDataset:
    records = [
        Record("a", ("x.png",), (Turn("[VQA] a ship?", "yes"),), Task.VQA),
        Record("b", ("x.png",), (Turn("[VG] the red vehicle", "[1, 2, 3, 4]"),), Task.VG),
        Record("c", ("x.png", "y.png"), (Turn("[CCD] changed?", "no"),), Task.CC),
        Record("d", ("y.png", "x.png"), (Turn("[CCD] changed?", "no"),), Task.CC),
    ]
    write_records(tmp_path / "train.jsonl", records)
    (dataset,) = Mixture.load(
        {"datasets": [{"name": "toy", "records": str(tmp_path / "train.jsonl")}]}
    ).datasets
    return dataset


def count_encodings(processor: RSUniVLMProcessor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Notes how many turns are tokenised: one a record, two for the file's name."""
    made: list[int] = []
    encode = processor.encode_conversation

    def counted(turns: list, images: int) -> tuple[list[int], list[int]]:
        if len(turns) == 1:
            made.append(images)
        return encode(turns, images)

    monkeypatch.setattr(processor, "encode_conversation", counted)
    return made


def test_measures_are_those_of_the_samples(dataset: MixtureDataset, tiny_processor) -> None:
    measures = Measures.of(RecordMeasures(dataset, tiny_processor).of(np.array([2, 0, 1, 3, 0])))
    record = dataset.records[1]
    ids, _ = tiny_processor.encode_conversation([(record.turns[0].prompt, record.turns[0].answer)], 1)
    assert measures.lengths[2] == len(ids)
    assert measures.images.tolist() == [2, 1, 1, 2, 1]
    assert measures.experts.tolist() == [0, 0, 1, 0, 0]
    shown = measures.shown.tolist()
    assert shown[1] == shown[2] == shown[4]
    assert (
        len(set(shown)) == 3
    )  # a pair is another thing than its image, and than the pair the other way round


def test_each_record_is_measured_once_and_kept(
    dataset: MixtureDataset, tiny_processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_encodings(tiny_processor, monkeypatch)
    folder = tmp_path / "kept"
    measures = RecordMeasures(dataset, tiny_processor, folder)
    first = measures.of(np.array([0, 1, 0]))
    measures.of(np.array([1, 0]))
    assert len(made) == 2
    (file,) = folder.iterdir()
    again = RecordMeasures(dataset, tiny_processor, folder)
    assert again.of(np.array([0, 1, 0])).tolist() == first.tolist()
    assert len(made) == 2
    again.of(np.arange(4))
    assert len(made) == 4
    assert list(folder.iterdir()) == [file]

    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged; delete it"):
        RecordMeasures(dataset, tiny_processor, folder)


def test_other_records_tokens_or_experts_are_measured_anew(
    dataset: MixtureDataset, tiny_processor, tiny_tokenizer_dir: Path, tmp_path: Path
) -> None:
    folder, rows = tmp_path / "kept", np.arange(2)

    def files_after(processor: RSUniVLMProcessor) -> int:
        RecordMeasures(dataset, processor, folder).of(rows)
        return len(list(folder.iterdir()))

    def make(**settings: object) -> RSUniVLMProcessor:
        tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer_dir)
        return RSUniVLMProcessor(tiny_processor.image_processor, tokenizer, **settings)

    assert files_after(make(num_image_tokens=4)) == 1
    assert files_after(make(num_image_tokens=4)) == 1
    assert files_after(make(num_image_tokens=9)) == 2
    assert files_after(make(num_image_tokens=4, random_experts_seed=1)) == 3
    changed = make(num_image_tokens=4)
    changed.tokenizer.add_tokens(["vehicle"])
    assert files_after(changed) == 4
    with dataset.records.path.open("a") as file:
        file.write("\n")
    assert files_after(make(num_image_tokens=4)) == 5
