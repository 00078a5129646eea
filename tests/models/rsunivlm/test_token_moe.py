"""Token-routed experts against a plain loop, their starts against the dense model, and the balance loss by
hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from rsunivlm.data.collation import Collator
from rsunivlm.data.loading import Sample
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.token_moe import TokenRouting, balance_loss
from rsunivlm.models.rsunivlm.upcycling import upcycle_token_routed


@pytest.fixture
def batch(tiny_processor):
    """Two conversations of different lengths, padded right, with their supervised positions."""
    samples = []
    for prompt, answer in (
        ("[VG] the red vehicle", "[1, 2, 3, 4]"),
        ("[CAP] describe", "a ship in the image"),
    ):
        ids, labels = tiny_processor.encode_conversation([(prompt, answer)], 1)
        samples.append(Sample(torch.tensor(ids), torch.tensor(labels), torch.rand(1, 3, 32, 32), 0))
    batch = Collator(0, 1)(samples)
    batch.pop("info", None)
    return batch


def test_each_token_runs_through_its_best_experts(make_tiny_model) -> None:
    model = upcycle_token_routed(make_tiny_model(), num_experts=5, top_k=2, width=32, start="random")
    layer = model.model.language_model.layers[0].mlp
    x_BLD = torch.randn(2, 7, 64)
    out_BLD = layer(x_BLD, TokenRouting(2, 1.0, None))
    for x_D, out_D in zip(x_BLD.flatten(0, 1), out_BLD.flatten(0, 1), strict=True):
        probabilities_E = (layer.gate.weight @ x_D).softmax(dim=0)
        expected = torch.zeros(64)
        best = probabilities_E.topk(2)
        for probability, expert in zip(best.values, best.indices, strict=True):
            gate_I, up_I = (layer.experts.gate_up_proj[expert] @ x_D).chunk(2)
            hidden_D = layer.experts.down_proj[expert] @ (F.silu(gate_I) * up_I)
            expected += probability / best.values.sum() * hidden_D
        assert_close(out_D, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("width", "num_experts", "top_k"),
    [(0, 4, 2), (0, 3, 1), (48, 2, 2)],  # copies; the two halves of the network, both used
)
def test_training_begins_at_the_dense_model(
    make_tiny_model, batch, width: int, num_experts: int, top_k: int
) -> None:
    model = make_tiny_model()
    with torch.no_grad():
        dense = model(batch["input_ids"], batch["pixel_values"]).logits
        upcycle_token_routed(model, num_experts=num_experts, top_k=top_k, width=width)
        if width:  # equal weights: the scaled halves then add up to the whole
            for layer in model.model.language_model.layers:
                layer.mlp.gate.weight.zero_()
        routed = model(batch["input_ids"], batch["pixel_values"]).logits
    assert_close(routed, dense, atol=1e-5, rtol=1e-4)


def test_slices_cover_every_neuron_and_wrap_around(make_tiny_model) -> None:
    model = make_tiny_model()
    gates = [layer.mlp.gate_up_proj[0, :96].clone() for layer in model.model.language_model.layers]
    upcycle_token_routed(model, num_experts=8, top_k=2, width=30)
    for gate_ID, layer in zip(gates, model.model.language_model.layers, strict=True):
        rows = layer.mlp.experts.gate_up_proj[:, :30].flatten(0, 1)
        found = {int((gate_ID == row).all(dim=1).nonzero()) for row in rows}
        assert found == set(range(96))
        assert torch.equal(layer.mlp.experts.gate_up_proj[7, 12:30], gate_ID[:18])  # 84 + 12 = 96 -> 0


def test_balance_loss_by_hand() -> None:
    even = torch.eye(4).repeat(3, 1) * 50.0  # each token sure of one expert, all equally often
    assert_close(balance_loss(TokenRouting(1, 1.0, None, [even])), torch.tensor(1.0))
    one = torch.tensor([[50.0, 0, 0, 0]]).repeat(6, 1)
    assert_close(balance_loss(TokenRouting(1, 1.0, None, [one])), torch.tensor(4.0))
    assert_close(balance_loss(TokenRouting(1, 1.0, None, [even, one])), torch.tensor(2.5))
    # Two of four experts for each token, probabilities 0.4, 0.3, 0.2, 0.1: 4 x (0.5 x 0.4 + 0.5 x 0.3) = 1.4.
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().repeat(5, 1)
    assert_close(balance_loss(TokenRouting(2, 1.0, None, [logits])), torch.tensor(1.4))
    # Padding does not count: of the six tokens only the even four are real.
    mixed = torch.cat([even[:4], one[:2]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert_close(balance_loss(TokenRouting(1, 1.0, mask, [mixed])), torch.tensor(1.0))


def test_the_balance_loss_joins_the_loss_in_training_only(make_tiny_model, batch) -> None:
    model = upcycle_token_routed(make_tiny_model(), num_experts=4, top_k=2, width=32, balance=0.5)
    items = int((batch["labels"] != -100).sum())
    evaluated = model.eval()(**batch).loss
    trained = model.train()(**batch).loss
    half = model(**batch, num_items_in_batch=2 * items).loss
    added = trained - evaluated
    assert 0.5 <= added < 2.0  # 0.5 x (1 .. 4)
    assert_close(half, (evaluated + added) / 2)  # half of the step's tokens, half of its balance loss
    plain = {key: value for key, value in batch.items() if key != "loss_positions"}
    assert_close(model(**plain).loss, trained)


def test_gradient_checkpointing_changes_no_gradient(make_tiny_model, batch) -> None:
    model = upcycle_token_routed(make_tiny_model(), num_experts=4, top_k=2, width=32, balance=0.5).train()
    gradients = []
    for enable in (False, True):
        if enable:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        model(**batch).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, msg=name)
    assert gradients[0]["model.language_model.layers.0.mlp.gate.weight"].any()


def test_save_and_load_is_bit_equal(make_tiny_model, tmp_path) -> None:
    model = upcycle_token_routed(make_tiny_model(), num_experts=4, top_k=1, width=32)
    model.save_pretrained(tmp_path)
    again = RSUniVLMForConditionalGeneration.from_pretrained(tmp_path)
    text = again.config.text_config
    assert (text.num_routed_experts, text.num_experts_per_tok, text.moe_intermediate_size) == (4, 1, 32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
