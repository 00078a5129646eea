"""Register the model families with transformers' Auto classes (no remote code involved)."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration, RSUniVLMModel
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


def register() -> None:
    """Make `Auto*.from_pretrained` know the families; calling it again changes nothing."""
    AutoConfig.register(RSUniVLMConfig.model_type, RSUniVLMConfig, exist_ok=True)
    AutoModel.register(RSUniVLMConfig, RSUniVLMModel, exist_ok=True)
    AutoModelForImageTextToText.register(RSUniVLMConfig, RSUniVLMForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(
        RSUniVLMConfig, image_processor_classes={"pil": RSUniVLMImageProcessor}, exist_ok=True
    )
    AutoProcessor.register(RSUniVLMConfig, RSUniVLMProcessor, exist_ok=True)
