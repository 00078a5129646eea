"""Rows of RS-MoE to text: one greedy `generate` for all rows, with the likelihood of what was written.

Shapes: B rows, S vision tokens, C vision channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import ExpertRow, RSMoEProcessor


@dataclass(frozen=True)
class Draft:
    """What one row has written.

    Attributes:
        text: The words.
        finished: It came to its end; else it was cut at a limit.
        mean_log_prob: Mean log-probability of its tokens, the end token among them.
    """

    text: str
    finished: bool
    mean_log_prob: float


@torch.inference_mode()
def write_drafts(
    model: RSMoEForConditionalGeneration,
    processor: RSMoEProcessor,
    rows: Sequence[ExpertRow],
    features_BSC: Tensor,
    limits: Sequence[int],
    max_seconds: float | None = None,
) -> list[Draft]:
    """Let the model go on with rows.

    Args:
        model: Decodes all rows together; experts that are copies one after the other.
        processor: Of the same checkpoint.
        rows: Without answers.
        features_BSC: Vision features of each row's image.
        limits: Most tokens of each draft.
        max_seconds: Time for decoding; then what is unfinished is cut.

    Returns:
        Drafts in the order of the rows.
    """
    if model.language_models is not None:
        order = sorted(range(len(rows)), key=lambda row: rows[row].expert_id)
        groups = [list(group) for _, group in groupby(order, key=lambda row: rows[row].expert_id)]
    else:
        groups = [list(range(len(rows)))]
    drafts: dict[int, Draft] = {}
    for group in groups:
        written = _generate(
            model,
            processor,
            [rows[row] for row in group],
            features_BSC[group],
            [limits[row] for row in group],
            max_seconds,
        )
        drafts |= dict(zip(group, written, strict=True))
    return [drafts[row] for row in range(len(rows))]


def _generate(
    model: RSMoEForConditionalGeneration,
    processor: RSMoEProcessor,
    rows: Sequence[ExpertRow],
    features_BSC: Tensor,
    limits: Sequence[int],
    max_seconds: float | None,
) -> list[Draft]:
    batch = {name: tensor.to(model.device) for name, tensor in processor.batch_rows(rows).items()}
    likelihood = _GreedyLikelihood()
    written = model.generate(
        **batch,
        image_features=features_BSC,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(limits),
        max_time=max_seconds,
        eos_token_id=processor.end_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
        logits_processor=LogitsProcessorList([likelihood]),
    )
    answers = written[:, batch["input_ids"].shape[1] :].tolist()
    log_probs = torch.stack(likelihood.steps, dim=1).tolist()
    drafts = []
    for answer, scores, limit in zip(answers, log_probs, limits, strict=True):
        finished = processor.end_token_id in answer[: limit + 1]
        tokens = answer[: answer.index(processor.end_token_id)] if finished else answer[:limit]
        read = scores[: len(tokens) + finished]
        drafts.append(Draft(processor.text_of(tokens).strip(), finished, sum(read) / max(1, len(read))))
    return drafts


class _GreedyLikelihood(LogitsProcessor):
    """Notes the log-probability of the likeliest token at each step; changes nothing."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] in and out."""
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores
