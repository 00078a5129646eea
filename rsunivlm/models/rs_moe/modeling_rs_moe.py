"""RS-MoE (re-implementation; unspecified parts are ours): vision tower, Q-Former, router, language experts.

One image and N prompts become N rows, each with its expert's adapter; all rows go through one pass. A row of
no expert (`NO_EXPERT`) is the model of stage I. What is called N times and put together again is called in
`rsunivlm.inference.rs_moe`; here is what one pass computes, in training and in use.

Shapes: B rows, L sequence, D language hidden, V vocabulary, N images, S vision tokens an image, C vision
channels, Q queries, K soft tokens, M supervised positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache

from rsunivlm.models.causal import CausalOutput, ImageGenerationMixin, ImageTextPreTrainedModel
from rsunivlm.models.losses import SupervisedLoss, supervised_cross_entropy
from rsunivlm.models.placeholders import place_images
from rsunivlm.models.rs_moe.bridge import QFormerBridge
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.experts import NO_EXPERT, ExpertRows, add_adapters
from rsunivlm.models.rs_moe.router import SoftPrompts
from rsunivlm.models.vision import TimmVisionTower


class RSMoEPreTrainedModel(ImageTextPreTrainedModel):
    """What RS-MoE shares with transformers."""

    config_class = RSMoEConfig
    base_model_prefix = "model"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, QFormerBridge):
            init.normal_(module.query_tokens, std=self.config.qformer_config.initializer_range)
            # Unit gain, as the connector of the other family.
            init.normal_(module.llm_proj.weight, std=module.llm_proj.in_features**-0.5)
        elif isinstance(module, SoftPrompts):
            module.reset_parameters()


class RSMoEForConditionalGeneration(RSMoEPreTrainedModel, ImageGenerationMixin):
    """RS-MoE. Without experts (`config.num_experts == 0`) it is the model of stage I.

    Attributes:
        vision_tower: Frozen in both stages.
        bridge: LayerNorm, Q-Former and projection.
        router: Makes soft tokens; None where the prompts are words alone.
        language_model: A causal language model, with the experts' adapters in it; None where they are copies.
        language_models: The copies by name of the expert; None where there are none.
    """

    prompt_inputs = (
        "pixel_values",
        "image_features",
        "image_order",
        "image_index",
        "qformer_input_ids",
        "qformer_attention_mask",
        "instruction_input_ids",
        "instruction_attention_mask",
    )

    def __init__(self, config: RSMoEConfig) -> None:
        super().__init__(config)
        self.vision_tower = TimmVisionTower(config.vision_config)
        self.bridge = QFormerBridge(config)
        self.router: SoftPrompts | None = None
        self.language_model: PreTrainedModel | None = None
        self.language_models: nn.ModuleDict | None = None
        self.expert_rows = ExpertRows()
        # CODEPATH: made by `as_copies`; all others have one language model.
        if config.experts_as == "copies" and config.num_experts:
            self.language_models = nn.ModuleDict({name: _causal_model(config) for name in config.subtasks})
        else:
            self.language_model = _causal_model(config)
        self.attach_experts(config)
        self.supervised_loss: SupervisedLoss = supervised_cross_entropy  # training may set another
        self.post_init()

    def attach_experts(self, config: RSMoEConfig) -> None:
        """Build the router and the adapters that a configuration names; of stage I it names none."""
        # CODEPATH: stage II with the default router; `none`, `template` and `generate` have no weights.
        if config.has_soft_tokens:
            self.router = SoftPrompts(config)
        # CODEPATH: stage II by default; copies, and the control whose experts are prompts, have no adapters.
        if config.experts_as == "adapters" and config.num_experts:
            self.expert_rows = add_adapters(
                self._causal(None),
                list(config.subtasks),
                rank=config.adapter_rank,
                alpha=config.adapter_alpha,
                targets=config.adapter_targets,
            )

    def get_input_embeddings(self) -> nn.Module:
        """The word embedding of the language model; of copies, the first one's."""
        return self._causal(None).get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embedding of the language model."""
        self._causal(None).set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The head of the language model; of copies, the first one's."""
        return self._causal(None).get_output_embeddings()

    def get_vision_features(self, pixel_values: Tensor) -> Tensor:
        """What the tower sees [N, S, C]; the same for all experts, so it is computed once an image."""
        features: Tensor = self.vision_tower(pixel_values)
        return features

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        expert_ids: Tensor | None = None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        instruction_input_ids: Tensor | None = None,
        instruction_attention_mask: Tensor | None = None,
        image_features: Tensor | None = None,
        image_order: Tensor | None = None,
        image_index: Tensor | None = None,
        labels: Tensor | None = None,
        loss_positions: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalOutput:
        """Score the next token at each position, and the loss where labels are given.

        Args:
            input_ids: Token ids [B, L]; the image of a row takes Q placeholder positions, and with soft
                tokens K more in the rows of experts.
            pixel_values: Normalised images [N, 3, H, W].
            attention_mask: 1 for real positions [B, L].
            position_ids: Positions [B, L].
            past_key_values: Cache of the positions before.
            expert_ids: Expert of each row [B], `NO_EXPERT` for the language model of stage I; None for no
                expert in any row.
            qformer_input_ids: What the Q-Former reads, in its vocabulary [B, T].
            qformer_attention_mask: 1 for its real tokens.
            instruction_input_ids: The user's instruction in the language model's vocabulary [B, U]; the
                router's soft tokens are made of it.
            instruction_attention_mask: 1 for its real tokens.
            image_features: `get_vision_features` of images [n, S, C] computed before, instead of pixels.
            image_order: Where some images come as pixels and others as features: for each image of the
                batch, its place among the features followed by the pixels [N].
            image_index: Which image each row looks at [B]; by default row i at image i.
            labels: Targets [B, L], -100 where no loss falls.
            loss_positions: Positions of the flattened batch whose *next* token is supervised [M]. Given with
                `labels`, only these go through the head, and no logits are returned.
            logits_to_keep: Compute logits for the last so many positions only; 0 for all.
            **kwargs: For the language model and the loss, e.g. `use_cache`, `num_items_in_batch`.

        Returns:
            Logits, loss, cache.

        Raises:
            ValueError: Rows, images and placeholders do not match; the Q-Former or the router lacks its text;
                rows of several copies in one pass.
        """
        causal = self._causal(expert_ids)
        embeds_BLD = causal.get_input_embeddings()(input_ids)
        features_NSC = self._features(pixel_values, image_features, image_order)
        image_BQD = None
        if features_NSC is not None:
            if input_ids is None:
                raise ValueError("images go into the places of placeholder ids: give input_ids with them")
            if qformer_input_ids is None:
                raise ValueError("the Q-Former reads the prompt, too: give qformer_input_ids with the images")
            if image_index is not None:
                features_NSC = features_NSC[image_index]
            if len(features_NSC) != len(embeds_BLD):
                raise ValueError(
                    f"{len(embeds_BLD)} rows look at {len(features_NSC)} images; a row looks at one image"
                )
            seen_BQH, image_BQD = self.bridge(features_NSC, qformer_input_ids, qformer_attention_mask)
            tokens_TD = image_BQD.flatten(0, 1)
            if self.router is not None and expert_ids is not None:
                if instruction_input_ids is None:
                    raise ValueError("the router reads the instruction: give instruction_input_ids")
                mask_BU = instruction_attention_mask
                if mask_BU is None:
                    mask_BU = torch.ones_like(instruction_input_ids)
                words_BUD = causal.get_input_embeddings()(instruction_input_ids)
                soft_BKD = self.router(seen_BQH, words_BUD, mask_BU, expert_ids.clamp(min=0))
                tokens_TD = _with_soft_tokens(image_BQD, soft_BKD, expert_ids != NO_EXPERT)
            embeds_BLD = place_images(input_ids, embeds_BLD, tokens_TD, self.config.image_token_id)
        if self.training:
            kwargs.setdefault("use_cache", False)  # the library would keep all keys and values otherwise
        num_items = kwargs.pop("num_items_in_batch", None)
        self.expert_rows.ids_B = expert_ids
        outputs = causal.base_model(
            inputs_embeds=embeds_BLD,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden_BLD, head = outputs.last_hidden_state, causal.get_output_embeddings()
        if labels is not None and loss_positions is not None:
            hidden_MD = hidden_BLD.flatten(0, 1)[loss_positions]
            targets_M = labels.flatten()[loss_positions + 1]
            loss, token_losses = self.supervised_loss(head, hidden_MD, targets_M, num_items)
            return CausalOutput(loss=loss, image_hidden_states=image_BQD, token_losses=token_losses)
        wanted = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = head(hidden_BLD[:, wanted, :])
        plain_loss = None
        if labels is not None:
            plain_loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.text_config.vocab_size,
                num_items_in_batch=num_items,
            )
        return CausalOutput(
            loss=plain_loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            image_hidden_states=image_BQD,
        )

    def _features(
        self, pixel_values: Tensor | None, known_nSC: Tensor | None, image_order: Tensor | None
    ) -> Tensor | None:
        """Vision features of the batch's images in order; None where there are no images."""
        if pixel_values is None:
            return None if known_nSC is None else known_nSC.to(self.bridge.query_tokens.dtype)
        features_NSC = self.get_vision_features(pixel_values)
        if known_nSC is None:
            return features_NSC
        return torch.cat([known_nSC.to(features_NSC.dtype), features_NSC])[image_order]

    def _causal(self, expert_ids: Tensor | None) -> PreTrainedModel:
        """The causal language model that the rows run through."""
        if self.language_model is not None:
            return self.language_model
        copies = list(self.language_models.values()) if self.language_models is not None else []
        if expert_ids is None:  # asked for its embeddings
            return copies[0]
        experts = set(expert_ids.tolist())
        if len(experts) != 1 or experts == {NO_EXPERT}:
            raise ValueError(
                f"experts that are copies share nothing: a pass has rows of one, got {sorted(experts)}"
            )
        return copies[experts.pop()]


def _causal_model(config: RSMoEConfig) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(config.text_config)


def _with_soft_tokens(image_BQD: Tensor, soft_BKD: Tensor, has_expert_B: Tensor) -> Tensor:
    """Image tokens of all rows in order, those of experts followed by their soft tokens [T, D]."""
    both_BXD = torch.cat([image_BQD, soft_BKD.to(image_BQD.dtype)], dim=1)
    kept_BX = torch.ones(both_BXD.shape[:2], dtype=torch.bool, device=both_BXD.device)
    kept_BX[:, image_BQD.shape[1] :] = has_expert_B[:, None]
    return both_BXD[kept_BX]
