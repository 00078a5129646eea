"""RS-MoE in training: stage 1 makes a captioner, stage 2 its experts.

Stage 1 trains Q-Former, its LayerNorm and projection, and the language model on whole captions: all of them,
or with `lora` low-rank changes of the two networks (A7 of docs/rs_moe.md). Stage 2 trains the experts'
adapters and the router's soft prompts, each expert on its part of a caption (A8). The vision tower is frozen
in both, so `feature_cache` serves both. From scratch, the recipe's `model` section describes the model::

    model:
      tokenizer: playground/checkpoints/nano      # folder or hub name
      qformer_tokenizer: google-bert/bert-base-uncased    # by default the same as the language model's
      vision: {timm_model: tf_efficientnet_lite0, ..., weights: timm}
      qformer: {hidden_size: 256, ...}            # fields of transformers' InstructBlipQFormerConfig, weights
      text: {model_type: qwen2, hidden_size: 256, ...}    # or any other causal language model; or its weights
      num_query_tokens: 16                        # and any other field of RSMoEConfig

A stage 1 with `experts` trains everything at once: the ablation of the two stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, InstructBlipQFormerConfig

from rsunivlm.data.expert_rows import ExpertCollator, ExpertLoader, ExpertSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
from rsunivlm.models.rs_moe.upcycling import add_experts, stage_two
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig
from rsunivlm.tasks import IMAGE_MARK
from rsunivlm.training.build import (
    check_checkpoint,
    check_fields,
    check_length,
    check_stage_one,
    load_tokenizer,
    load_vision_weights,
    token_ids,
)
from rsunivlm.training.family import Family
from rsunivlm.training.features import ImageEncoder
from rsunivlm.training.lora import LoraSettings, add_lora_to
from rsunivlm.training.metrics import TrainingFlops, module_flops
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.rs_moe_parts import WEIGHTS, load_parts, text_fields

# Sections of a recipe's `model` that are no fields of the configuration.
_SECTIONS = ("tokenizer", "qformer_tokenizer", "vision", "qformer", "text")


class RSMoEFamily(Family):
    """RS-MoE under one recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.packing:
            raise ValueError("packing is no setting of RS-MoE, whose rows are padded; leave it out")
        if recipe.stage == 2 and recipe.lora:
            raise ValueError("lora is a setting of stage 1; the experts of stage 2 have adapter_rank")
        if recipe.stage == 1 and recipe.also_train:
            raise ValueError("also_train is a setting of stage 2; stage 1 trains all but the vision tower")
        self.lora = LoraSettings.of(recipe.lora) if recipe.lora else None
        self.experts = expert_fields(recipe.experts)
        check_fields(self.experts, RSMoEConfig, "experts.")
        self.config: RSMoEConfig | None = None

    def read_start(self, folder: Path) -> RSMoEConfig:
        """See `Family.read_start`."""
        return check_checkpoint(folder, RSMoEConfig, RSMoEForConditionalGeneration)

    def load_processor(self) -> RSMoEProcessor:
        """See `Family.load_processor`."""
        recipe = self.recipe
        if recipe.start_dir is None:
            tokenizer = load_tokenizer(recipe.model)
            qformer = load_tokenizer(recipe.model, "qformer_tokenizer", default=tokenizer)
            experts = self.experts or {"experts": []}
            self.config = _described(recipe.model, tokenizer, qformer, experts)
        else:
            check_stage_one(recipe)
            start = self.read_start(recipe.start_dir)
            stored = RSMoEProcessor.from_pretrained(recipe.start_dir)
            tokenizer, qformer = stored.tokenizer, stored.qformer_tokenizer
            self.config = self._continued(start)
        check_length(recipe, self.config.text_config)
        return RSMoEProcessor.for_config(self.config, tokenizer, qformer)

    def plan(self, mixture: Mixture, processor: RSMoEProcessor, processes: int) -> ExpertSamples:
        """See `Family.plan`."""
        recipe = self.recipe
        silent = recipe.empty_parts == "silence"
        loader = ExpertLoader(mixture, processor, self._known_config, recipe.targets, silent=silent)
        global_batch = recipe.batch_size * recipe.gradient_accumulation * processes
        return ExpertSamples(
            loader,
            self.num_steps(len(mixture), global_batch) * global_batch,
            recipe.max_length,
            global_batch=recipe.batch_size * processes,
            length_window=recipe.length_window,
        )

    def load_model(self, processor: RSMoEProcessor) -> RSMoEForConditionalGeneration:
        """See `Family.load_model`."""
        recipe, config = self.recipe, self._known_config
        if recipe.start_dir is None:
            model = RSMoEForConditionalGeneration(config)
            load_vision_weights(model.vision_tower, recipe.model.get("vision", {}).get("weights", "none"))
            load_parts(model, recipe.model)
        else:
            model = RSMoEForConditionalGeneration.from_pretrained(
                recipe.start_dir, dtype=torch.float32, use_safetensors=True
            )
            if config.num_experts and not model.config.num_experts:
                add_experts(model, config)
        self._choose_what_is_trained(model)
        return model

    def collator(self, processor: RSMoEProcessor) -> Callable[[Any], dict[str, Any]]:
        """See `Family.collator`."""
        return ExpertCollator(processor)

    def encoder(self, model: RSMoEForConditionalGeneration) -> ImageEncoder:
        """The vision tower: what the Q-Former makes of it depends on the prompt."""
        vision = model.config.vision_config
        return ImageEncoder(
            parts={"vision tower": model.vision_tower},
            size=(vision.prefix_tokens + vision.tokens_per_side**2, vision.hidden_size),
            encode=model.get_vision_features,
        )

    def flops(self, model: RSMoEForConditionalGeneration) -> TrainingFlops:
        """Operations in training; adapters, a percent of the language model, are left out."""
        causal: Any = model.language_model
        return TrainingFlops(
            per_token=sum(module_flops(layer, gradient_passes=True) for layer in causal.base_model.layers),
            per_image=self.encoder(model).size[0] * module_flops(model.vision_tower),
            per_target=module_flops(causal.get_output_embeddings(), gradient_passes=True),
            per_sample=model.config.num_query_tokens * module_flops(model.bridge, gradient_passes=True),
        )

    def report(self, samples: Any) -> dict[str, Any]:
        """How many rows each expert learns from in an epoch."""
        return {"rows_per_epoch": samples.counts} if self._known_config.num_experts else {}

    @property
    def _known_config(self) -> RSMoEConfig:
        assert self.config is not None  # `load_processor` comes first
        return self.config

    def _continued(self, start: RSMoEConfig) -> RSMoEConfig:
        """The configuration of what the stage makes of a checkpoint.

        Raises:
            ValueError: The checkpoint has experts where it must not, or `experts` is wrong.
        """
        experts = self.experts
        if start.num_experts:
            if self.recipe.stage == 1 or experts:
                raise ValueError(
                    f"{self.recipe.start_dir} has the experts {', '.join(start.subtasks)} already; start "
                    "from a model of stage 1, or in stage 2 leave `experts` out to train them further"
                )
            return start
        if self.recipe.stage == 1 and not experts:
            return start
        try:
            return stage_two(start, **experts)
        except (StrictDataclassError, ValueError) as error:
            raise ValueError(f"experts: {' '.join(str(error).split())}") from error

    def _choose_what_is_trained(self, model: RSMoEForConditionalGeneration) -> None:
        """Freeze the rest.

        Raises:
            ValueError: Nothing is left to train.
        """
        if self.lora is not None:
            parts = {"bridge.qformer": model.bridge.qformer, "language_model": model.language_model}
            add_lora_to(model, parts, self.lora)
            for kept in (model.bridge.ln_vision, model.bridge.llm_proj):
                kept.requires_grad_(True)
        if self.recipe.stage == 2:
            also = tuple(map(str, self.recipe.also_train))
            names = [name for name, _ in model.named_parameters() if not name.startswith("vision_tower.")]
            for prefix in also:
                if not any(name.startswith(prefix) for name in names):
                    raise ValueError(
                        f"also_train: no parameter outside the vision tower begins with {prefix!r}; for "
                        "example, bridge.llm_proj is the projection"
                    )
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(".adapter_" in name or name.startswith(("router.", *also)))
        model.vision_tower.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                f"experts_as={model.config.experts_as} with router={model.config.router} leaves nothing to "
                "train in stage 2; such a model needs no training: see docs/rs_moe.md"
            )


def expert_fields(experts: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the configuration, those of a `preset` among them.

    Raises:
        ValueError: There is no such preset.
    """
    own = dict(experts)
    if (preset := own.pop("preset", None)) is None:
        return own
    lora = LoraSettings.of({"preset": preset})
    return {
        "adapter_rank": lora.rank,
        "adapter_alpha": float(lora.alpha),
        "adapter_targets": list(lora.targets),
        **own,
    }


def _described(
    section: Mapping[str, Any], tokenizer: Any, qformer_tokenizer: Any, experts: Mapping[str, Any]
) -> RSMoEConfig:
    """The configuration that a recipe's `model` section describes."""
    vision = {key: value for key, value in section.get("vision", {}).items() if key != "weights"}
    top = {key: value for key, value in section.items() if key not in _SECTIONS}
    check_fields(vision, RSUniVLMVisionConfig, "model.vision.")
    qformer = {key: value for key, value in section.get("qformer", {}).items() if key != WEIGHTS}
    check_fields(qformer, InstructBlipQFormerConfig, "model.qformer.")
    check_fields(top, RSMoEConfig, "model.")
    text = {"model_type": "qwen2", **text_fields(section.get("text", {}))}
    own = {key: value for key, value in section.get("text", {}).items() if key not in ("model_type", WEIGHTS)}
    if text["model_type"] in CONFIG_MAPPING:  # else the configuration refuses it
        check_fields(own, CONFIG_MAPPING[text["model_type"]], "model.text.")
    try:
        config = RSMoEConfig(
            vision_config=vision,
            qformer_config={"vocab_size": len(qformer_tokenizer), **qformer},
            text_config={**token_ids(tokenizer), **text},
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_MARK),
            **{**top, **experts},
        )
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ValueError(f"model: {' '.join(str(error).split())}") from error
    if len(tokenizer) > config.text_config.vocab_size:
        raise ValueError(
            f"model.tokenizer has {len(tokenizer)} tokens, the language model {config.text_config.vocab_size}"
        )
    return config
