"""The language model: Qwen2, each layer with granularity experts in the place of its feed-forward network.

In training only some positions of the last layer are read, those before a supervised token. Behind attention
no position depends on another, so the last layer's feed-forward network computes only these (`Kept`).

Shapes: B batch, L sequence, D hidden, M positions that are read.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Qwen2Model
from transformers import initialization as init
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm, Qwen2RotaryEmbedding

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig
from rsunivlm.models.rsunivlm.experts import ExpertDispatch
from rsunivlm.models.rsunivlm.feed_forward import Kept, init_feed_forward, make_feed_forward
from rsunivlm.models.rsunivlm.token_moe import TokenRouting


class RSUniVLMDecoderLayer(Qwen2DecoderLayer):
    """A Qwen2 layer whose feed-forward network is chosen per row (or, in one baseline, per token)."""

    def __init__(self, config: RSUniVLMTextConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.mlp = make_feed_forward(config)
        self.is_last = layer_idx == config.num_hidden_layers - 1

    def forward(
        self,
        hidden_states: Tensor,
        *,
        expert_dispatch: ExpertDispatch | TokenRouting,
        kept: Kept | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Attention, then the experts, each with its residual.

        Args:
            hidden_states: [B, L, D].
            expert_dispatch: How rows or tokens go to the experts.
            kept: What the last layer goes on with behind its attention; None for all positions.
            **kwargs: For attention.

        Returns:
            [B, L, D]; from the last layer with `kept` [1, M, D].
        """
        attended_BLD, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended_BLD
        if self.is_last and kept is not None:
            hidden_states, expert_dispatch = hidden_states.flatten(0, 1)[kept.positions][None], kept.dispatch
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states), expert_dispatch)


class RSUniVLMTextModel(Qwen2Model):
    """Qwen2 with granularity experts; takes `expert_dispatch` as an extra keyword."""

    config_class = RSUniVLMTextConfig
    _no_split_modules = ["RSUniVLMDecoderLayer"]

    def __init__(self, config: RSUniVLMTextConfig) -> None:
        # Not Qwen2Model's own constructor: it would build the stock layers first.
        super(Qwen2Model, self).__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            RSUniVLMDecoderLayer(config, index) for index in range(config.num_hidden_layers)
        )
        self.norm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = Qwen2RotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.has_sliding_layers = "sliding_attention" in config.layer_types
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_feed_forward(module, self.config)
        # CODEPATH: set for models trained from scratch (nano, quick); loaded checkpoints are not initialised.
        if isinstance(module, RSUniVLMDecoderLayer) and self.config.zero_init_residual:
            init.zeros_(module.self_attn.o_proj.weight)
