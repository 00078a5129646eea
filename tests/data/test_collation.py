from dataclasses import replace

import pytest
import torch

from rsunivlm.data import collation
from rsunivlm.data.collation import BatchInfo, Collator, PackCollator
from rsunivlm.data.loading import BadImage, Sample


def sample(ids: list[int], answer: int, expert: int, images: int = 1) -> Sample:
    """A sample whose last `answer` tokens are supervised and whose pixels all hold the first id."""
    labels = [-100] * (len(ids) - answer) + ids[len(ids) - answer :]
    pixels = torch.full((images, 3, 2, 2), float(ids[0]))
    return Sample(torch.tensor(ids), torch.tensor(labels), pixels, expert)


def test_rows_are_sorted_by_expert_and_padded_on_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collation, "LENGTH_STEP", 2)
    samples = [
        sample([7, 8], 1, 2),
        sample([5, 6, 9], 2, 0, images=2),
        sample([3], 1, 2),
        sample([4, 1], 1, 0),
    ]
    batch = Collator(pad_token_id=99, num_experts=3)(samples)
    assert batch["input_ids"].tolist() == [[5, 6, 9, 99], [4, 1, 99, 99], [7, 8, 99, 99], [3, 99, 99, 99]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    ignored = -100
    assert batch["labels"].tolist() == [
        [ignored, 6, 9, ignored],
        [ignored, 1, ignored, ignored],
        [ignored, 8, ignored, ignored],
        [3, ignored, ignored, ignored],
    ]
    assert batch["expert_ids"].tolist() == [0, 0, 2, 2]
    assert batch["expert_splits"] == (2, 0, 2)
    # Both images of the pair, in row order.
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == [5, 5, 4, 7, 3]


def test_a_dense_model_keeps_the_order() -> None:
    batch = Collator(pad_token_id=0, num_experts=1)([sample([7, 8], 1, 2), sample([5], 1, 0)])
    assert batch["input_ids"][:, :2].tolist() == [[7, 8], [5, 0]]
    assert batch["input_ids"].shape == (2, collation.LENGTH_STEP)
    assert batch["attention_mask"].sum(dim=1).tolist() == [2, 1]
    assert batch["expert_ids"].tolist() == [0, 0]
    assert batch["expert_splits"] == (2,)


@pytest.mark.parametrize("packed", [False, True])
def test_info_follows_the_order_of_the_batch_and_bad_samples_are_left_out(packed: bool) -> None:
    samples = [
        replace(sample([7, 8, 1], 1, 2), name="a 1", task="ss"),
        replace(sample([5, 6, 9, 2], 2, 0), name="a 2", task="vqa", bad=BadImage("a", "2", "x.png", "torn")),
        replace(sample([4, 1], 1, 0), name="a 3", task="sc"),
    ]
    batch = PackCollator(0, 3)([samples[:1], samples[1:]]) if packed else Collator(0, 3)(samples)
    assert batch["info"] == BatchInfo(
        names=("a 3", "a 1"),
        tasks=("sc", "ss"),
        lengths=(2, 3),
        supervised=(1, 1),
        bad=(BadImage("a", "2", "x.png", "torn"),),
    )
    assert len(batch["loss_positions"]) == 2
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == [4, 7]


def test_a_batch_of_bad_samples_keeps_one_that_every_part_of_the_model_can_run() -> None:
    labels = torch.full((3,), -100)
    bad = replace(sample([7, 8, 1], 1, 2), labels=labels, bad=BadImage("a", "2", "x.png", "torn"))
    batch = Collator(0, 3)([bad, bad])
    assert batch["info"].bad == (bad.bad, bad.bad)
    assert batch["info"].supervised == (0,)
    assert len(batch["loss_positions"]) == 0
    assert batch["pixel_values"].shape[0] == batch["input_ids"].shape[0] == 1


def test_samples_about_one_image_share_it_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix 1 2, two images; what follows it differs. Expert 1 has one sample about the same image."""
    monkeypatch.setattr(collation, "LENGTH_STEP", 8)

    def about(image: str, rest: list[int], answer: int, expert: int, prefix: int = 2) -> Sample:
        made = sample([1, 2, 9][:prefix] + rest, answer, expert)
        pixels = torch.full((1, 3, 2, 2), float(ord(image)))
        return replace(made, pixel_values=pixels, images=(("root", image),), prefix=prefix, name=image)

    pack = [
        about("a", [3, 4, 5], 1, 0),
        about("b", [6, 7], 1, 0),
        about("a", [8, 5], 1, 1),
        about("a", [6, 4, 3, 2], 2, 0),
    ]
    batch = PackCollator(pad_token_id=0, num_experts=2, share_images=True)([pack])
    o = -100
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 4, 3, 2, 1, 2, 6, 7, 1, 2, 8, 5] + [0] * 7]
    assert batch["position_ids"].tolist() == [
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6]
    ]
    assert batch["labels"].tolist() == [[o, o, o, o, 5, o, o, 3, 2, o, o, o, 7, o, o, o, 5] + [o] * 7]
    assert batch["segment_lengths"] == (2, 3, 4, 4, 4, 7)
    assert batch["segment_prefixes"] == (-1, 0, 0, -1, -1, -1)
    assert batch["expert_splits"] == (13, 4 + 7)
    # The positions before 5, 3, 2, 7 and 5.
    assert batch["loss_positions"].tolist() == [3, 6, 7, 11, 15]
    assert batch["loss_splits"] == (4, 1)
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == [ord("a"), ord("b"), ord("a")]
    assert batch["info"].names == ("a", "a", "b", "a")
    assert batch["info"].supervised == (1, 2, 1, 1)
    assert batch["info"].lengths == (5, 4, 4, 4)  # the prefix counts for the first that has it
    dense = PackCollator(pad_token_id=0, num_experts=1, share_images=True)([pack])
    assert dense["segment_prefixes"] == (-1, 0, 0, 0, -1, -1)
    assert dense["info"].lengths == (5, 2, 4, 4)
    alone = PackCollator(pad_token_id=0, num_experts=2)([pack])
    assert set(alone["segment_prefixes"]) == {-1}
    assert alone["info"].lengths == (5, 4, 6, 4)


def test_a_bad_sample_leaves_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = replace(sample([1, 2, 3, 4], 1, 0), images=(("root", "a"),), prefix=2)
    bad = replace(shared, bad=BadImage("d", "1", "a", "torn"), labels=torch.full((4,), -100))
    batch = PackCollator(0, 1, share_images=True)([[bad, shared]])
    assert batch["segment_lengths"] == (4, collation.LENGTH_STEP - 4)
    assert batch["info"].bad == (bad.bad,)
