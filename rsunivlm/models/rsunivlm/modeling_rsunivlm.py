"""RSUniVLM: vision tower, connector and Qwen2 with granularity experts, as a transformers model.

The model sees the route as data: `expert_ids` names the expert of each row, and one forward pass serves a
batch of mixed granularities. Everything else is the LLaVA road: image tokens take the places of `<image>`
placeholders, and the language model continues the text.

Shapes: B batch, L sequence, D hidden, V vocabulary, N images of the whole batch in order, S tokens an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling

from rsunivlm.models.causal import CausalOutput, ImageGenerationMixin, ImageTextPreTrainedModel
from rsunivlm.models.connector import Connector
from rsunivlm.models.losses import SupervisedLoss, supervised_cross_entropy
from rsunivlm.models.placeholders import place_images
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.feed_forward import Kept, plan_dispatch, plan_kept
from rsunivlm.models.rsunivlm.int8 import TIED_SCALES, make_int8
from rsunivlm.models.rsunivlm.language_model import RSUniVLMTextModel
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.models.rsunivlm.token_moe import TokenRouting, with_balance
from rsunivlm.models.vision import TimmVisionTower


@dataclass
class RSUniVLMModelOutputWithPast(BaseModelOutputWithPast):
    """Output of the model without its head.

    Attributes:
        last_hidden_state: Hidden states [B, L, D]; [1, M, D] where the last layer computed M positions only.
        image_hidden_states: Image embeddings [N, S, D] when images were encoded in this pass.
        balance_loss: Weighted balance loss of a token router; in training of such a model only.
    """

    image_hidden_states: Tensor | None = None
    balance_loss: Tensor | None = None


class RSUniVLMPreTrainedModel(ImageTextPreTrainedModel):
    """What all RSUniVLM models share with transformers."""

    config_class = RSUniVLMConfig
    base_model_prefix = "model"
    _no_split_modules = ["RSUniVLMDecoderLayer"]
    _supports_flex_attn = True
    _can_compile_fullgraph = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Connector):
            # Unit gain, so that features arrive at the language model at their own scale.
            for linear in (module.linear_1, module.linear_2):
                init.normal_(linear.weight, std=linear.in_features**-0.5)
        elif isinstance(module, RSUniVLMModel) and module.image_newline is not None:
            init.normal_(module.image_newline, std=self.config.text_config.hidden_size**-0.5)


class RSUniVLMModel(RSUniVLMPreTrainedModel):
    """Images and text to hidden states."""

    def __init__(self, config: RSUniVLMConfig) -> None:
        super().__init__(config)
        self.vision_tower = TimmVisionTower(config.vision_config)
        self.multi_modal_projector = Connector(config)
        self.image_newline: nn.Parameter | None = None
        # CODEPATH: the released checkpoint ends each image with this vector; models trained here have none.
        if config.image_newline:
            self.image_newline = nn.Parameter(torch.empty(config.text_config.hidden_size))
        self.language_model = RSUniVLMTextModel(config.text_config)
        # CODEPATH: the checkpoint holds int8 weights; trained ones are float.
        if config.int8_weights:
            make_int8(self, config, fill=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embedding."""
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embedding."""
        self.language_model.embed_tokens = value

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Encode and project images.

        Args:
            pixel_values: Normalised images [N, 3, H, W].

        Returns:
            Tower features [N, S', C] as `last_hidden_state`; the embeddings [N, S, D] that go into the
            sequence, with the newline vector where the model has one, as `pooler_output`.
        """
        features_NSC = self.vision_tower(pixel_values)
        image_NSD = self.multi_modal_projector(features_NSC)
        if self.image_newline is not None:
            newline_N1D = self.image_newline.expand(len(image_NSD), 1, -1).to(image_NSD.dtype)
            image_NSD = torch.cat([image_NSD, newline_N1D], dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=features_NSC, pooler_output=image_NSD)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        expert_ids: Tensor | None = None,
        expert_splits: Sequence[int] | None = None,
        segment_lengths: Sequence[int] | None = None,
        segment_prefixes: Sequence[int] | None = None,
        image_features: Tensor | None = None,
        image_order: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        kept: Kept | None = None,
        **kwargs: Any,
    ) -> RSUniVLMModelOutputWithPast:
        """Run vision tower and language model; arguments as in `RSUniVLMForConditionalGeneration.forward`.

        With `kept`, the last layer computes and returns these positions only.

        Raises:
            ValueError: Neither or both of `input_ids` and `inputs_embeds`; image placeholders and image
                tokens differ in number; a model with several experts got neither `expert_ids` nor
                `expert_splits`; a packed row meets another attention implementation.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None:
            if mm_encoder_outputs is not None:
                raise ValueError("give pixel_values or mm_encoder_outputs, not both")
            mm_encoder_outputs = {"image": self.get_image_features(pixel_values)}
        image_NSD = mm_encoder_outputs["image"].pooler_output if mm_encoder_outputs else None
        if image_features is not None:
            known_mSD = image_features.to(inputs_embeds.dtype)
            image_NSD = known_mSD if image_NSD is None else torch.cat([known_mSD, image_NSD])[image_order]
        if image_NSD is not None:
            if input_ids is None:
                raise ValueError("images go into the places of placeholder ids: give input_ids with them")
            tokens_TD = image_NSD.flatten(0, 1)
            inputs_embeds = place_images(input_ids, inputs_embeds, tokens_TD, self.config.image_token_id)
        if segment_lengths is not None:
            if self.config.text_config._attn_implementation != SEGMENTS:
                raise ValueError(f"a packed row needs the attention implementation {SEGMENTS!r}")
            # The segments say what a mask would; made for a long row, it would be the largest tensor of all.
            kwargs |= {"segment_lengths": segment_lengths, "segment_prefixes": segment_prefixes}
        if self.training:
            kwargs.setdefault("use_cache", False)  # the library would keep all keys and values otherwise
        dispatch = plan_dispatch(
            self.config.text_config,
            (inputs_embeds.shape[0], inputs_embeds.shape[1]),
            inputs_embeds.device,
            expert_ids=expert_ids,
            expert_splits=expert_splits,
            packed=segment_lengths is not None,
            attention_mask=attention_mask,
        )
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask if segment_lengths is None else {"full_attention": None},
            position_ids=position_ids,
            past_key_values=past_key_values,
            expert_dispatch=dispatch,
            kept=kept,
            **kwargs,
        )
        return RSUniVLMModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_NSD,
            balance_loss=dispatch.weighted_balance() if isinstance(dispatch, TokenRouting) else None,
        )


class RSUniVLMForConditionalGeneration(RSUniVLMPreTrainedModel, ImageGenerationMixin):
    """RSUniVLM with its language-model head.

    Dense (stage 1) and expert (stage 2) models are the same class; `config.num_experts` tells them apart.
    """

    prompt_inputs = ("pixel_values", "mm_encoder_outputs")
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: RSUniVLMConfig) -> None:
        super().__init__(config)
        self.model = RSUniVLMModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.supervised_loss: SupervisedLoss = supervised_cross_entropy  # training may set another
        if config.int8_weights:
            make_int8(self, config, fill=False)
            self._tied_weights_keys = self._tied_weights_keys | TIED_SCALES
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embedding."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language-model head."""
        return self.lm_head

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See `RSUniVLMModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        expert_ids: Tensor | None = None,
        expert_splits: Sequence[int] | None = None,
        segment_lengths: Sequence[int] | None = None,
        segment_prefixes: Sequence[int] | None = None,
        labels: Tensor | None = None,
        loss_positions: Tensor | None = None,
        loss_splits: Sequence[int] | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> CausalOutput:
        """Score the next token at each position, and the loss where labels are given.

        Args:
            input_ids: Token ids [B, L]; each image takes `config.num_image_tokens` placeholder positions.
            pixel_values: Normalised images of all rows in order [N, 3, H, W].
            attention_mask: 1 for real positions [B, L].
            position_ids: Positions [B, L].
            past_key_values: Cache of the positions before.
            inputs_embeds: Embeddings [B, L, D] instead of `input_ids`.
            expert_ids: Expert of each row [B]; ignored by a dense model.
            expert_splits: Rows per expert when the rows are sorted by expert already; spares the model
                reading `expert_ids` from the device.
            segment_lengths: Tokens of each segment of one packed row (B = 1), in order: a sample, or a part
                of one; needs the attention implementation "segments", `position_ids` that restart, and
                `expert_splits` in tokens.
            segment_prefixes: For each segment the index of an earlier one that it continues, -1 for none: a
                beginning that several samples share is computed once. Its positions go on behind that one's.
            labels: Targets [B, L], -100 where no loss falls.
            loss_positions: Positions of the flattened batch whose *next* token is supervised [M]. Given with
                `labels`, only these go through the head, and no logits are returned.
            loss_splits: Of `loss_positions`, sorted by expert, how many belong to each expert. With it, only
                these go through the last layer's feed-forward network, too.
            logits_to_keep: Compute logits for the last so many positions only; 0 for all.
            image_features: Embeddings [m, S, D] of images computed before, instead of their pixels.
            image_order: Where some images come as pixels and others as features: for each image of the
                batch, its place among the features followed by the pixels [N].
            mm_encoder_outputs: `{"image": get_image_features(...)}` computed before, instead of pixels.
            **kwargs: For the language model and the loss, e.g. `use_cache`, `num_items_in_batch`.

        Returns:
            Logits, loss, cache.

        Raises:
            ValueError: See `RSUniVLMModel.forward`.
        """
        kept: Kept | None = None
        if labels is not None:
            kept = plan_kept(self.config.text_config, loss_positions, loss_splits)
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            expert_ids=expert_ids,
            expert_splits=expert_splits,
            segment_lengths=segment_lengths,
            segment_prefixes=segment_prefixes,
            mm_encoder_outputs=mm_encoder_outputs,
            kept=kept,
            **kwargs,
        )
        num_items = kwargs.get("num_items_in_batch")
        if labels is not None and loss_positions is not None:
            hidden_MD = outputs.last_hidden_state.flatten(0, 1)
            loss, token_losses = self.supervised_loss(
                self.lm_head,
                hidden_MD if kept is not None else hidden_MD[loss_positions],
                labels.flatten()[loss_positions + 1],
                num_items,
            )
            return CausalOutput(
                loss=with_balance(loss, outputs.balance_loss, labels, num_items),
                image_hidden_states=outputs.image_hidden_states,
                token_losses=token_losses,
            )
        wanted = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, wanted, :])
        plain_loss = None
        if labels is not None:
            plain_loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
            plain_loss = with_balance(plain_loss, outputs.balance_loss, labels, num_items)
        return CausalOutput(
            loss=plain_loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )
