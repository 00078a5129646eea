"""Adapters against peft's own, on a stock language model."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from rsunivlm.models.rs_moe.experts import adapter_state, add_adapters, load_adapter_state

NAMES = ("theme", "objects")


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, initializer_range=0.2)).eval()


@pytest.mark.parametrize("targets", ["all", ["gate_proj", "up_proj", "down_proj"]])
@torch.no_grad()
def test_rows_equal_peft_switched_to_their_adapter(targets: str | list[str], tmp_path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear" if targets == "all" else targets,
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    theirs = peft.get_peft_model(small_llama(), config, adapter_name=NAMES[0])
    theirs.add_adapter(NAMES[1], config)
    ours = small_llama()
    rows = add_adapters(ours, NAMES, rank=4, alpha=8, targets=targets)
    for name in NAMES:
        theirs.set_adapter(name)
        load_adapter_state(ours, name, peft.get_peft_model_state_dict(theirs, adapter_name=name))
    ids_BL = torch.randint(0, 99, (3, 7))
    rows.ids_B = torch.tensor([1, -1, 0])
    mixed = ours(input_ids=ids_BL).logits
    for row, name in ((0, NAMES[1]), (2, NAMES[0])):
        theirs.set_adapter(name)
        assert_close(mixed[row], theirs(input_ids=ids_BL[row : row + 1]).logits[0], atol=1e-5, rtol=1e-5)
        named = peft.get_peft_model_state_dict(theirs, adapter_name=name)
        assert adapter_state(ours, name).keys() == named.keys()
    with theirs.disable_adapter():
        assert_close(mixed[1], theirs(input_ids=ids_BL[1:2]).logits[0])


def test_an_adapter_of_another_size_is_refused() -> None:
    model = small_llama()
    add_adapters(model, NAMES, rank=4, alpha=8, targets="all")
    state = adapter_state(model, "theme")
    lacking = dict(list(state.items())[1:])
    with pytest.raises(ValueError, match=r"does not fit expert 'objects': see .*layers\.0.*q_proj\.lora_A"):
        load_adapter_state(model, "objects", lacking)
