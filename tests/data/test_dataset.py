from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from rsunivlm.data import loading
from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.tasks import Task


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    records = []
    for index in range(5):
        Image.new("RGB", (20, 10), (50 * index, 0, 0)).save(tmp_path / f"{index}.png")
        turns = (Turn(f"[VG] thing {index}", f"[{index}, 2, 30, 100]"), Turn("[REF] what is it?", "a thing"))
        records.append(Record(str(index), (f"{index}.png",), turns, Task.VG))
    Image.new("RGB", (8, 8)).save(tmp_path / "after.png")
    records.append(
        Record("pair", ("0.png", "after.png"), (Turn("[CCD] What changed?", "nothing ."),), Task.CC)
    )
    write_records(tmp_path / "train.jsonl", records)
    return Mixture.load({"seed": 3, "datasets": [{"name": "toy", "records": str(tmp_path / "train.jsonl")}]})


def test_loss_falls_on_answers_and_their_ends_only(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=500)
    position = mixture.plan(0)[:, 1].tolist().index(2)
    sample = samples[position]
    supervised = sample.labels[sample.labels != -100].tolist()
    decoded = tiny_processor.tokenizer.decode(supervised)
    assert decoded == "[2, 2, 30, 100]<|im_end|>a thing<|im_end|>"
    where = (sample.labels != -100).nonzero().flatten().tolist()
    assert sample.input_ids[where].tolist() == supervised
    text = tiny_processor.tokenizer.decode(sample.input_ids)
    assert text.endswith("<|im_start|>assistant\na thing<|im_end|>")
    assert (sample.input_ids == tiny_processor.image_token_id).sum() == 4
    assert sample.pixel_values.shape == (1, 3, 32, 32)
    assert sample.expert_id == 1


def test_positions_follow_the_plan_epoch_after_epoch(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(mixture, tiny_processor, num_samples=15, max_length=500)
    assert len(samples) == 15
    planned = [index for epoch in range(3) for index in mixture.plan(epoch)[:, 1].tolist()][:15]
    pair = len(mixture.datasets[0].records) - 1
    assert [len(samples[p].pixel_values) == 2 for p in range(15)] == [index == pair for index in planned]


def test_loader_workers_change_nothing(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(
        mixture, tiny_processor, num_samples=12, max_length=500, global_batch=4, length_window=2
    )
    loaders = [
        DataLoader(samples, batch_size=4, num_workers=workers, collate_fn=Collator(0, 3))
        for workers in (0, 2)
    ]
    for alone, shared in zip(*loaders, strict=True):
        assert alone["input_ids"].equal(shared["input_ids"])
        assert alone["pixel_values"].equal(shared["pixel_values"])


def test_a_bad_image_is_named_with_its_sample(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=500)
    (mixture.datasets[0].images / "3.png").write_bytes(b"")
    position = mixture.plan(0)[:, 1].tolist().index(3)
    with pytest.raises(ValueError, match=r"dataset toy, record 3: image file is empty .*3\.png"):
        samples[position]


def test_a_bad_image_can_be_left_out_and_stays_out(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=500)
    samples.loader.leave_out = True
    image = mixture.datasets[0].images / "3.png"
    content = image.read_bytes()
    position = mixture.plan(0)[:, 1].tolist().index(3)
    whole = samples[position]
    image.write_bytes(b"")
    left_out = samples[position]
    assert left_out.input_ids.equal(whole.input_ids)
    assert left_out.pixel_values.shape == whole.pixel_values.shape
    assert (left_out.labels == -100).all()
    assert (left_out.bad.dataset, left_out.bad.record, left_out.bad.image) == ("toy", "3", "3.png")
    image.write_bytes(content)
    assert samples[position].bad is None
    samples.loader.bad_images[str(mixture.datasets[0].images), "3.png"] = "it was torn"
    assert samples[position].bad.reason == "it was torn"


def test_over_long_samples_are_refused_by_name_and_never_cut(mixture: Mixture, tiny_processor) -> None:
    samples = TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=500)
    lengths = sorted(len(samples[p].input_ids) for p in range(6))
    TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=lengths[-1])
    with pytest.raises(ValueError, match=rf"toy \w+ \({lengths[-1]} tokens\).*raise max_length"):
        TrainingSamples(mixture, tiny_processor, num_samples=6, max_length=lengths[-1] - 1)


def packed(mixture: Mixture, processor, **settings) -> PackedSamples:
    return PackedSamples(mixture, processor, 400, **{"epochs": 2, "share_images": 3, **settings})


@pytest.fixture
def questions(tmp_path: Path) -> Mixture:
    """Six images with five records each, for two experts, and a pair made of two of them."""
    records = []
    for index in range(6):
        Image.new("RGB", (20, 10), (40 * index, 0, 0)).save(tmp_path / f"q{index}.png")
        for number in range(5):
            task, prompt = [(Task.VQA, f"[VQA] {number}?"), (Task.VG, f"[VG] ship {number}")][number % 2]
            turns = (Turn(prompt, "yes"),)
            records.append(Record(f"{index}-{number}", (f"q{index}.png",), turns, task))
    for number in range(3):
        turns = (Turn(f"[CCD] What changed? {number}", "nothing ."),)
        records.append(Record(f"pair-{number}", ("q0.png", "q1.png"), turns, Task.CC))
    write_records(tmp_path / "q.jsonl", records)
    return Mixture.load({"seed": 3, "datasets": [{"name": "toy", "records": str(tmp_path / "q.jsonl")}]})


@pytest.mark.parametrize("num_experts", [1, 3])
def test_a_pack_computes_what_was_planned_and_an_epoch_holds_every_sample_once(
    questions: Mixture, tiny_processor, num_experts: int
) -> None:
    samples = packed(questions, tiny_processor, epochs=1, num_experts=num_experts)
    assert sorted(samples.plan[:, 1].tolist()) == list(range(33))
    collate = PackCollator(0, num_experts, share_images=True)
    batches = [collate([samples[position]]) for position in range(len(samples))]
    assert all(sum(batch["info"].lengths) <= 400 for batch in batches)
    computed = sum(sum(batch["info"].lengths) for batch in batches)
    images = sum(len(batch["pixel_values"]) for batch in batches)
    alone = packed(questions, tiny_processor, epochs=1, share_images=0)
    every = [sample for position in range(len(alone)) for sample in alone[position]]
    assert computed < sum(len(sample.input_ids) for sample in every)
    # At most three records a group: of five about an image, two groups; of three and two, one each.
    assert images <= 6 * 2 + 2
    assert images < len(every)


def test_shared_packs_follow_from_the_seed_and_differ_between_epochs(
    questions: Mixture, tiny_processor
) -> None:
    samples, again = (packed(questions, tiny_processor) for _ in range(2))
    assert np.array_equal(samples.plan, again.plan)
    assert len(samples.plan) == 66
    assert not np.array_equal(samples.plan[:33], samples.plan[33:])
    collate = PackCollator(0, 3, share_images=True)
    for shared, single in zip(
        *(DataLoader(samples, num_workers=workers, collate_fn=collate) for workers in (0, 2)), strict=True
    ):
        assert shared["input_ids"].equal(single["input_ids"])
        assert shared["segment_prefixes"] == single["segment_prefixes"]
        assert shared["pixel_values"].equal(single["pixel_values"])


def test_an_image_is_read_once_for_all_samples_of_a_pack(
    questions: Mixture, tiny_processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = loading.open_image
    monkeypatch.setattr(loading, "open_image", lambda path: opened.append(path) or read(path))
    samples = packed(questions, tiny_processor, epochs=1)
    pack = samples[0]
    assert len(opened) == sum(len(images) for images in {sample.images for sample in pack}) < len(pack)


def test_samples_about_one_image_begin_alike(questions: Mixture, tiny_processor) -> None:
    samples = packed(questions, tiny_processor, epochs=1)
    beginnings: dict[tuple, set[tuple[int, ...]]] = {}
    for position in range(len(samples)):
        for sample in samples[position]:
            beginnings.setdefault(sample.images, set()).add(tuple(sample.input_ids[: sample.prefix].tolist()))
            assert sample.input_ids[sample.prefix - 1] == tiny_processor.image_token_id
            assert tiny_processor.image_token_id not in sample.input_ids[sample.prefix :]
    assert {len(found) for found in beginnings.values()} == {1}
    assert len(beginnings) == 7
