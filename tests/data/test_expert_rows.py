"""RS-MoE's training rows: who learns what, what makes no row, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from rsunivlm.data.expert_rows import ExpertCollator, ExpertLoader, ExpertSamples, check_targets
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.models.chat import IGNORED
from rsunivlm.models.rs_moe.experts import NO_EXPERT
from rsunivlm.tasks import Task

PARTS = {"theme": "a road .", "objects": "", "relations": "trees beside it ."}


def record(number: int, answer: str = "a road . trees beside it .", targets=PARTS, images: int = 1) -> Record:
    prompt = "[CAP] What does this image show?"
    return Record(f"r{number}", ("a.png",) * images, (Turn(prompt, answer),), Task.CAP, targets=targets)


@pytest.fixture
def mixture_of(tmp_path: Path):
    Image.new("RGB", (40, 40), (90, 140, 60)).save(tmp_path / "a.png")

    def make(*records: Record) -> Mixture:
        write_records(tmp_path / "cap.jsonl", records)
        return Mixture.load({"datasets": [{"name": "toy", "records": str(tmp_path / "cap.jsonl")}]})

    return make


def told(processor, row) -> str:
    return processor.tokenizer.decode([token for token in row.labels if token != IGNORED])


def test_stage_one_is_a_row_without_an_expert(make_tiny_rs_moe, mixture_of) -> None:
    model, processor = make_tiny_rs_moe(experts=[])
    mixture = mixture_of(record(0, targets=None))
    sample = ExpertLoader(mixture, processor, model.config, {}).load(0, 0)
    (row,) = sample.rows
    assert (row.expert_id, sample.names) == (NO_EXPERT, ("toy r0",))
    expected = processor.encode_row(
        "What does this image show?", "a road . trees beside it .", instruction="What does this image show?"
    )
    assert row == expected


def test_each_expert_learns_its_part_and_an_empty_part_makes_no_row(make_tiny_rs_moe, mixture_of) -> None:
    model, processor = make_tiny_rs_moe()
    sample = ExpertLoader(mixture_of(record(0)), processor, model.config, {}).load(0, 0)
    assert sample.names == ("toy r0 theme", "toy r0 relations")
    assert [row.expert_id for row in sample.rows] == [0, 2]
    assert [told(processor, row) for row in sample.rows] == [
        "a road .<|im_end|>",
        "trees beside it .<|im_end|>",
    ]
    prompts = model.config.subtasks
    assert sample.rows[1] == processor.encode_row(
        prompts["relations"], PARTS["relations"], instruction="What does this image show?", expert=2
    )
    # Router `none` asks all of them what the user asked.
    model.config.router = "none"
    row = ExpertLoader(mixture_of(record(0)), processor, model.config, {}).load(0, 0).rows[0]
    assert "What does this image show?" in processor.tokenizer.decode(row.input_ids)


def test_a_silent_expert_learns_to_end_at_once(make_tiny_rs_moe, mixture_of) -> None:
    model, processor = make_tiny_rs_moe()
    sample = ExpertLoader(mixture_of(record(0)), processor, model.config, {}, silent=True).load(0, 0)
    assert sample.names == ("toy r0 theme", "toy r0 objects", "toy r0 relations")
    assert told(processor, sample.rows[1]) == "<|im_end|>"


def test_targets_may_join_parts_or_take_the_caption(make_tiny_rs_moe, mixture_of) -> None:
    model, processor = make_tiny_rs_moe()
    targets = {"theme": ["relations", "theme"], "objects": "caption"}
    loader = ExpertLoader(mixture_of(record(0)), processor, model.config, targets)
    rows = loader.load(0, 0).rows
    assert [told(processor, row).removesuffix("<|im_end|>") for row in rows] == [
        "a road . trees beside it .",
        "a road . trees beside it .",
        "trees beside it .",
    ]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"details": ["objects"]}, "there is no expert details; the model has theme, objects, relations"),
        ({"theme": ["themes"]}, "expert theme cannot learn 'themes'"),
        ({"theme": ["caption", "theme"]}, "expert theme cannot learn 'caption'"),
    ],
)
def test_impossible_targets_are_refused(targets, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_targets({"theme": "", "objects": "", "relations": ""}, targets)
    with pytest.raises(
        ValueError, match="expert whole cannot learn 'whole'; give it caption, or one or more"
    ):
        check_targets({"whole": ""}, {})


def test_rows_are_counted_and_records_without_one_are_left_out(make_tiny_rs_moe, mixture_of) -> None:
    model, processor = make_tiny_rs_moe(experts=["objects", "relations"])
    nothing = record(1, "fields .", {"theme": "fields .", "objects": "", "relations": ""})
    loader = ExpertLoader(mixture_of(record(0), nothing, record(2)), processor, model.config, {})
    samples = ExpertSamples(loader, 5, 500)
    assert samples.counts == {"objects": 0, "relations": 2, "none": 1}
    assert len(samples) == 5
    assert set(samples.plan[:, 1].tolist()) == {0, 2}
    assert [samples.rows(n).tolist() for n in range(5)] == [[row] for row in samples.plan.tolist()]
    with pytest.raises(ValueError, match="no expert learns from any record"):
        ExpertSamples(ExpertLoader(mixture_of(nothing), processor, model.config, {}), 1, 500)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            record(0, targets=None),
            "record r0: 'targets' has no theme, objects, relations; split the captions",
        ),
        (record(0, images=2), r"record r0: 2 image\(s\) and 1 turn\(s\); RS-MoE learns from one of each"),
        (
            record(0, "a road " * 200, PARTS | {"theme": "a road " * 200}),
            "record r0 is longer than max_length=99",
        ),
    ],
)
def test_records_that_serve_no_expert_are_refused(make_tiny_rs_moe, mixture_of, wrong, message: str) -> None:
    model, processor = make_tiny_rs_moe()
    with pytest.raises(ValueError, match=message):
        ExpertSamples(ExpertLoader(mixture_of(wrong), processor, model.config, {}), 1, 99)


def test_the_batch_loss_is_the_mean_over_all_rows_and_images_are_seen_once(
    make_tiny_rs_moe, mixture_of
) -> None:
    model, processor = make_tiny_rs_moe()
    loader = ExpertLoader(mixture_of(record(0), record(1)), processor, model.config, {})
    samples = [loader.load(0, 0), loader.load(0, 1)]
    batch = ExpertCollator(processor)(samples)
    info = batch.pop("info")
    assert info.names == ("toy r0 theme", "toy r0 relations", "toy r1 theme", "toy r1 relations")
    assert info.tasks == ("cap",) * 4
    assert len(batch["pixel_values"]) == 2
    assert batch["image_index"].tolist() == [0, 0, 1, 1]
    assert batch["input_ids"].shape[1] % 32 == 0
    with torch.no_grad():
        out = model(**batch)
        single = []
        for sample in samples:
            for row in sample.rows:
                ids = torch.tensor([row.input_ids])
                alone = model(
                    input_ids=ids,
                    pixel_values=sample.pixel_values,
                    labels=torch.tensor([row.labels]),
                    **processor.batch_texts([row]),
                )
                single.append(alone.loss * sum(label != IGNORED for label in row.labels))
    assert sum(info.supervised) == len(out.token_losses)
    torch.testing.assert_close(out.loss * sum(info.supervised), sum(single), rtol=1e-4, atol=1e-4)


def test_an_unreadable_image_trains_nothing(make_tiny_rs_moe, mixture_of, tmp_path: Path) -> None:
    model, processor = make_tiny_rs_moe()
    loader = ExpertLoader(mixture_of(record(0)), processor, model.config, {})
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="dataset toy, record r0"):
        loader.load(0, 0)
    loader.leave_out = True
    sample = loader.load(0, 0)
    batch = ExpertCollator(processor)([sample])
    assert batch["info"].bad == (sample.bad,)
    assert batch["info"].supervised == (0, 0)
    assert len(batch["loss_positions"]) == 0
