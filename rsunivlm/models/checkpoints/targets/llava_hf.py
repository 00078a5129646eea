"""Stock LLaVA of transformers with a SigLIP tower and Qwen2: a layout that transformers and vLLM both read.

The published pattern is `llava-hf/llava-interleave-qwen-0.5b-hf`. Two traps lie in it. transformers 5 itself
saves other names of the tower (`vision_tower.embeddings`), which vLLM does not find; the older names used
here load in both. And features are the last block's output before the final norm: that takes a tower
configured with just the blocks that are kept, and `vision_feature_layer` -1.

Sources: `LlavaConfig`, `SiglipVisionConfig` and `LlavaProcessor` of transformers; vLLM's
`model_executor/models/llava.py`.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn
from transformers import LlavaConfig, LlavaProcessor, SiglipVisionConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from rsunivlm.models.checkpoints.parts import VISION, Part, projector_parts, qwen2_parts, siglip_parts
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.targets.qwen2 import generation_config, qwen2_config
from rsunivlm.models.checkpoints.targets.weights import write_parts
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.models.vision import TimmVisionTower

_OTHERWISE = "export it with format safetensors (for our own classes) or qwen2 (its language model alone)"
_LAYER_NORM_EPS = 1e-6


def write_llava(view: DenseView, processor: RSUniVLMProcessor, folder: Path) -> None:
    """Write weights, configuration, processor and generation settings into a folder.

    Raises:
        ValueError: Stock LLaVA cannot express the model.
    """
    config = llava_config(view.config)  # first: it refuses
    dtype = write_parts(view, llava_parts(view.config), folder)
    for part in (config, config.text_config, config.vision_config):
        part.dtype = dtype
    config.save_pretrained(folder)
    llava_processor(processor, config.vision_config.patch_size).save_pretrained(folder)
    generation_config(processor).save_pretrained(folder)


def llava_parts(config: RSUniVLMConfig) -> list[Part]:
    """The tensors of a dense model in stock LLaVA, under names that vLLM finds, too."""
    connector = "multi_modal_projector"
    return [
        *siglip_parts("vision_tower.vision_model.", config),
        *projector_parts(f"{connector}.linear_1", f"{connector}.linear_2"),
        *qwen2_parts("language_model.model.", config, lm_head="language_model.lm_head.weight"),
    ]


def llava_config(config: RSUniVLMConfig) -> LlavaConfig:
    """The stock configuration of a dense model of ours.

    Raises:
        ValueError: Stock LLaVA cannot express the model.
    """
    if config.image_newline:
        raise ValueError(
            f"this model puts a learned vector behind each image ({config.num_image_tokens} tokens an "
            f"image), which stock LLaVA does not have; {_OTHERWISE}"
        )
    if config.visual_position != "none":
        raise ValueError(
            f"this model adds {config.visual_position} positions to its image tokens, which stock LLaVA does "
            f"not; {_OTHERWISE}"
        )
    text_config = qwen2_config(config)
    text_config.architectures = ["Qwen2ForCausalLM"]
    return LlavaConfig(
        vision_config=siglip_config(config),
        text_config=text_config,
        architectures=["LlavaForConditionalGeneration"],
        image_token_index=config.image_token_id,
        image_seq_length=config.num_image_tokens,
        projector_hidden_act=config.projector_hidden_act,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=config.tie_word_embeddings,
    )


def siglip_config(config: RSUniVLMConfig) -> SiglipVisionConfig:
    """The stock configuration of our vision tower, read off the tower itself.

    Raises:
        ValueError: It is not SigLIP's architecture.
    """
    vision = config.vision_config
    with torch.device("meta"):
        backbone = TimmVisionTower(vision).backbone
    wanted = {part.ours for part in siglip_parts("", config)}
    found = {f"{VISION}.{name}" for name in backbone.state_dict()}
    if wanted != found:
        odd = sorted(name.removeprefix(f"{VISION}.") for name in wanted ^ found)
        raise ValueError(
            f"the vision tower {vision.timm_model} is no SigLIP tower (they differ in {', '.join(odd[:3])}"
            f"{', ...' if len(odd) > 3 else ''}); {_OTHERWISE}"
        )
    block = backbone.blocks[0]
    activation = _activation(block.mlp.act)
    if activation is None or block.norm1.eps != _LAYER_NORM_EPS:
        raise ValueError(
            f"the vision tower has the activation {block.mlp.act} and the norm {block.norm1}, which SigLIP "
            f"does not; {_OTHERWISE}"
        )
    return SiglipVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=block.mlp.fc1.out_features,
        num_hidden_layers=vision.feature_index + 1,
        num_attention_heads=block.attn.num_heads,
        image_size=vision.image_size,
        patch_size=backbone.patch_embed.patch_size[0],
        hidden_act=activation,
        layer_norm_eps=_LAYER_NORM_EPS,
        vision_use_head=False,
    )


def llava_processor(processor: RSUniVLMProcessor, patch_size: int) -> LlavaProcessor:
    """The stock processor that gives our prompts' tokens and, with PIL as its backend, our pixels.

    Raises:
        ValueError: The model pads its pictures, which the stock processor of SigLIP does not.
    """
    images = processor.image_processor
    if images.resize_mode != "squash":
        raise ValueError(
            f"this model prepares pictures by {images.resize_mode!r}, the stock processor of SigLIP only "
            f"resizes; {_OTHERWISE}"
        )
    side = {"height": images.image_size, "width": images.image_size}
    image_processor = SiglipImageProcessorPil(
        size=side,
        crop_size=side,  # nothing is cropped; transformers counts an image's tokens by it
        resample=3,  # bicubic
        image_mean=images.image_mean,
        image_std=images.image_std,
    )
    tokenizer = copy.deepcopy(processor.tokenizer)
    # Rows end where answers begin. Only what a tokenizer was made with is saved.
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=processor.chat_template,
    )


def _activation(module: nn.Module) -> str | None:
    """The name that transformers has for an activation of timm."""
    from timm.layers import GELUTanh  # here, not above: timm imports torchvision

    if isinstance(module, GELUTanh) or getattr(module, "approximate", "") == "tanh":
        return "gelu_pytorch_tanh"
    return "gelu" if isinstance(module, nn.GELU) else None
