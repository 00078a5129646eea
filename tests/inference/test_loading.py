"""Checkpoints with int8 weights, and weights made int8 while loading."""

from __future__ import annotations

import pytest
import torch

from rsunivlm.inference.answer import Request
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.models.checksum import weights_checksum
from rsunivlm.models.rsunivlm.int8 import quantise
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration

pytestmark = pytest.mark.usefixtures("int8_processor")


def logits(model, experts: list[int]) -> torch.Tensor:
    ids = torch.randint(10, 300, (len(experts), 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, expert_ids=torch.tensor(experts)).logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(
    make_tiny_model, tiny_processor, tmp_path, tied: bool, dtype: torch.dtype
) -> None:
    model = make_tiny_model(3, tie_word_embeddings=tied)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    quantise(model)
    model.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    loaded, _ = load_checkpoint(tmp_path, device="cpu", dtype=dtype)
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) is tied
    assert (loaded.lm_head.scale is loaded.get_input_embeddings().scale) is tied
    assert weights_checksum(loaded) == weights_checksum(model)
    assert torch.equal(logits(loaded, [2, 0, 1, 1]), logits(model, [2, 0, 1, 1]))
    alone, _ = load_checkpoint(tmp_path, device="cpu", dtype="auto")
    assert alone.dtype == dtype


def test_made_while_loading_it_equals_the_stored_one(tiny_checkpoint, tiny_processor, tmp_path) -> None:
    model, _ = load_checkpoint(tiny_checkpoint, device="cpu", int8=True)
    model.save_pretrained(tmp_path / "int8")
    tiny_processor.save_pretrained(tmp_path / "int8")
    stored = RSUniVLMForConditionalGeneration.from_pretrained(tmp_path / "int8")
    assert weights_checksum(stored) == weights_checksum(model)
    again, _ = load_checkpoint(tmp_path / "int8", device="cpu", int8=True)
    assert weights_checksum(again) == weights_checksum(model)
    narrow, _ = load_checkpoint(tiny_checkpoint, device="cpu", int8=True, dtype=torch.bfloat16)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow.lm_head.weight, model.lm_head.weight)
    assert narrow.model.language_model.rotary_emb.inv_freq.dtype == torch.float32


def test_answers_keep_their_grammar_and_batched_equals_single(
    make_tiny_model, tiny_processor, pictures
) -> None:
    model = make_tiny_model(3)
    quantise(model)
    predictor = RSUniVLM(model, tiny_processor)
    requests = [
        request
        for picture in pictures
        for request in (
            Request([picture], "[SEG] all", labels=["building", "road"]),
            Request([picture], "[VG] the car"),
            Request([picture], "[VQA] Is there a ship?", choices=["yes", "no"]),
            Request([picture], "[CAP] What is this?", max_new_tokens=8),
        )
    ]
    answers = predictor.answer_batch(requests, batch_size=7)
    for request, answer in zip(requests, answers, strict=True):
        predictor.forget()
        assert predictor.answer_batch([request])[0].text == answer.text
        assert answer.report is None or answer.report.clean
        assert not request.choices or answer.text in request.choices
    assert {answer.route.granularity for answer in answers} == {0, 1, 2}


def test_where_int8_cannot_be_computed_with_it_is_refused(tiny_checkpoint, monkeypatch) -> None:
    with pytest.raises(ValueError, match="for the CPU, not for meta"):
        load_checkpoint(tiny_checkpoint, device="meta", int8=True)
    with pytest.raises(ValueError, match="not with float16"):
        load_checkpoint(tiny_checkpoint, device="cpu", dtype=torch.float16, int8=True)
    # As the sums of products come out of a processor that cuts them at 16 bits.
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(max=2**15 - 1))
    with pytest.raises(ValueError, match="cannot add int8 products exactly"):
        load_checkpoint(tiny_checkpoint, device="cpu", int8=True)
