import pytest
import torch

from rsunivlm.data import collation
from rsunivlm.data.collation import Collator
from rsunivlm.data.dataset import Sample


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
