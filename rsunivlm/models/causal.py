"""What the families' causal models have in common: what they return, and how they go on decoding.

Shapes: B batch, L sequence, V vocabulary, N images, S tokens an image, D hidden, M supervised positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import ModelOutput

from rsunivlm.models.vision import TimmVisionTower


@dataclass
class CausalOutput(ModelOutput):
    """Output of a generation model.

    Attributes:
        loss: Mean (or, with `num_items_in_batch`, normalised sum of) cross-entropy over supervised tokens.
        logits: Scores [B, L or logits_to_keep, V].
        past_key_values: Key-value cache; valid only for the experts it was filled with.
        hidden_states: Hidden states of all layers, on request.
        attentions: Attention weights of all layers, on request.
        image_hidden_states: Image embeddings [N, S, D] when images were encoded in this pass.
        token_losses: Cross-entropy of each supervised token [M] where `loss_positions` were given, without
            gradient.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    image_hidden_states: Tensor | None = None
    token_losses: Tensor | None = None


class ImageTextPreTrainedModel(PreTrainedModel):
    """What the models of all families share with transformers."""

    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        super()._set_gradient_checkpointing(enable, *args, **kwargs)
        for module in self.modules():
            if isinstance(module, TimmVisionTower):
                module.set_gradient_checkpointing(enable)


class ImageGenerationMixin(GenerationMixin):
    """Generation whose prompt has images.

    transformers knows models that generate by the end of this class's name.

    Attributes:
        prompt_inputs: Names of the inputs that only the pass which reads the prompt takes.
    """

    prompt_inputs: ClassVar[tuple[str, ...]] = ()

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *args: Any, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Inputs of one decoding step; images and what belongs to them only take part in the first."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, *args, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in self.prompt_inputs:
                inputs.pop(name, None)
        return inputs
