"""RSUniVLM in training: dense in stage 1, in stage 2 with experts or as a rival; packed or padded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.training.adaptations import adaptation_of
from rsunivlm.training.build import check_checkpoint, load_model, load_processor
from rsunivlm.training.family import Family
from rsunivlm.training.features import ImageEncoder
from rsunivlm.training.metrics import TrainingFlops
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import prepare_stage


class RSUniVLMFamily(Family):
    """RSUniVLM under one recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.adaptation = adaptation_of(recipe)
        self.num_experts = 1

    def read_start(self, folder: Path) -> RSUniVLMConfig:
        """See `Family.read_start`."""
        return check_checkpoint(folder)

    def load_processor(self) -> RSUniVLMProcessor:
        """See `Family.load_processor`."""
        processor = load_processor(self.recipe)
        if self.recipe.stage == 2:
            config = RSUniVLMConfig.from_pretrained(self.recipe.start_dir)
            self.adaptation.check(config)
            self.num_experts = self.adaptation.sample_experts(config)
            processor.random_experts_seed = self.adaptation.random_experts_seed(config)
        return processor

    def plan(
        self, mixture: Mixture, processor: RSUniVLMProcessor, processes: int
    ) -> TrainingSamples | PackedSamples:
        """See `Family.plan`."""
        recipe = self.recipe
        global_batch = recipe.batch_size * recipe.gradient_accumulation * processes
        measures = Path(recipe.measures) if recipe.measures else None
        if recipe.packing:
            return PackedSamples(
                mixture,
                processor,
                recipe.max_length,
                epochs=recipe.epochs,
                num_packs=recipe.max_steps * global_batch,
                multiple=global_batch,
                max_images=recipe.max_images,
                share_images=recipe.share_images,
                num_experts=self.num_experts,
                measures_folder=measures,
            )
        return TrainingSamples(
            mixture,
            processor,
            self.num_steps(len(mixture), global_batch) * global_batch,
            recipe.max_length,
            global_batch=recipe.batch_size * processes,
            length_window=recipe.length_window,
            measures_folder=measures,
        )

    def load_model(self, processor: RSUniVLMProcessor) -> RSUniVLMForConditionalGeneration:
        """See `Family.load_model`."""
        model = prepare_stage(load_model(self.recipe, processor), self.recipe.stage, self.adaptation)
        if self.recipe.packing:
            model.set_attn_implementation({"text_config": SEGMENTS})
        return model

    def collator(self, processor: RSUniVLMProcessor) -> Collator | PackCollator:
        """See `Family.collator`."""
        pad = processor.tokenizer.pad_token_id
        if self.recipe.packing:
            return PackCollator(pad, self.num_experts, share_images=self.recipe.share_images > 0)
        return Collator(pad, self.num_experts)

    def encoder(self, model: RSUniVLMForConditionalGeneration) -> ImageEncoder:
        """Vision tower and connector."""
        return image_encoder(model)

    def flops(self, model: RSUniVLMForConditionalGeneration) -> TrainingFlops:
        """See `TrainingFlops.of`."""
        return TrainingFlops.of(model)


def image_encoder(model: RSUniVLMForConditionalGeneration) -> ImageEncoder:
    """Vision tower and connector of a model."""
    core: Any = model.model
    return ImageEncoder(
        parts={"vision tower": core.vision_tower, "connector": core.multi_modal_projector},
        size=(model.config.num_image_tokens, model.config.text_config.hidden_size),
        encode=lambda pixels_NCHW: core.get_image_features(pixels_NCHW).pooler_output,
    )
