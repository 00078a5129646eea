"""One expert for llama.cpp: the language model and, in a second file, vision tower and connector.

    model.gguf     architecture qwen2, with tokenizer and chat template
    mmproj.gguf    architecture clip, projector mlp, which is llama.cpp's LLaVA

llama.cpp computes what we do, with two exceptions. Its LLaVA has the tanh form of GELU in the connector, the
model the erf form (at most 0.0005 apart), and it looks GELUs up in half precision. And it prepares pictures
in its own way, which differs from version to version: give it squares of the model's size, which it leaves
alone. Matrices keep their type; vectors, positions and the patch kernel are float32, as llama.cpp wants.

Sources: the `gguf` package, which knows names and fields; llama.cpp's `tools/mtmd/clip.cpp` and
`tools/mtmd/models/llava.cpp` for what its LLaVA computes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaConfig, PreTrainedTokenizerBase

from rsunivlm.models.checkpoints.parts import Part, projector_parts, qwen2_parts, siglip_parts
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.targets.llava_hf import llava_config, llava_processor
from rsunivlm.models.checkpoints.targets.qwen2 import splits_text_as_qwen2
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

_OTHERWISE = "export it with format llava-hf"
# Where llama.cpp's LLaVA looks for the connector's two layers.
_CONNECTOR = ("mm.0", "mm.2")


def write_gguf(view: DenseView, processor: RSUniVLMProcessor, folder: Path) -> None:
    """Write `model.gguf` and `mmproj.gguf` into a folder.

    Raises:
        ValueError: The package `gguf` is missing, or llama.cpp cannot express the model.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise ValueError("format gguf needs the package gguf: pip install 'rsunivlm[gguf]'") from error
    config = llava_config(view.config)
    vision = config.vision_config
    if (config.projector_hidden_act, vision.hidden_act) != ("gelu", "gelu_pytorch_tanh"):
        raise ValueError(
            f"llama.cpp has no LLaVA with the activations {vision.hidden_act} in the tower and "
            f"{config.projector_hidden_act} in the connector; {_OTHERWISE}"
        )
    if not splits_text_as_qwen2(processor.tokenizer):
        raise ValueError(
            "llama.cpp splits text only by rules it knows, and this tokenizer's are not Qwen2's; "
            f"{_OTHERWISE}"
        )
    llava_processor(processor, vision.patch_size)  # refuses what only our own image processor does
    text_names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.text_config.num_hidden_layers)
    vision_names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, vision.num_hidden_layers)

    writer = gguf.GGUFWriter(folder / "model.gguf", "qwen2")
    _describe_text(writer, config, processor)
    _write(writer, view, [(part, _renamed(text_names, part)) for part in qwen2_parts("model.", view.config)])

    writer = gguf.GGUFWriter(folder / "mmproj.gguf", "clip")
    _describe_vision(writer, config, processor)
    tower = siglip_parts("vision_tower.vision_model.", view.config, post_layernorm=False)
    names = [(part, _renamed(vision_names, part)) for part in tower]
    _write(writer, view, names + [(part, part.foreign) for part in projector_parts(*_CONNECTOR)])


def _describe_text(writer: Any, config: LlavaConfig, processor: RSUniVLMProcessor) -> None:
    text = config.text_config
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    tokenizer = processor.tokenizer
    tokens, types = _vocabulary(tokenizer, text.vocab_size)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]])
    writer.add_eos_token_id(processor.end_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(processor.chat_template)


def _vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> tuple[list[str], list[int]]:
    """Text and type of each row of the embedding; rows beyond the tokenizer are padding."""
    from gguf import TokenType

    tokens, types = [f"[PAD{row}]" for row in range(rows)], [int(TokenType.UNUSED)] * rows
    for token, index in tokenizer.get_vocab().items():
        tokens[index], types[index] = token, int(TokenType.NORMAL)
    for index, added in tokenizer.added_tokens_decoder.items():
        types[index] = int(TokenType.CONTROL if added.special else TokenType.USER_DEFINED)
    return tokens, types


def _describe_vision(writer: Any, config: LlavaConfig, processor: RSUniVLMProcessor) -> None:
    vision, images = config.vision_config, processor.image_processor
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(vision.num_hidden_layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_projection_dim(config.text_config.hidden_size)
    writer.add_vision_image_mean(images.image_mean)
    writer.add_vision_image_std(images.image_std)
    writer.add_vision_use_gelu(True)  # the tanh form
    # Without it llama.cpp would leave out the last block, as LLaVA 1.5 does.
    writer.add_array("clip.vision.feature_layer", [vision.num_hidden_layers])


def _renamed(names: Any, part: Part) -> str:
    return str(names.get_name(part.foreign, try_suffixes=(".weight", ".bias")))


def _write(writer: Any, view: DenseView, names: Sequence[tuple[Part, str]]) -> None:
    """Write the tensors one after another, behind a header that describes them all."""
    stored = set(view.names())
    chosen = [(part, name) for part, name in names if not part.optional or part.ours in stored]
    for part, name in chosen:
        array, raw_type = _as_array(view.meta(part.ours, part.index), name)
        writer.add_tensor_info(name, array.shape, array.dtype, array.nbytes, raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for part, name in chosen:
        writer.write_tensor_data(_as_array(view.load(part.ours, part.index), name)[0])
    writer.close()


def _as_array(tensor: Tensor, name: str) -> tuple[np.ndarray[Any, Any], Any]:
    """A tensor in the type that llama.cpp reads, and GGUF's name of that type where numpy has none.

    Of a tensor on the meta device the array has type and shape only.
    """
    from gguf import GGMLQuantizationType

    if tensor.ndim != 2 or name == "v.position_embd.weight":
        tensor = tensor.float()
    raw_type = GGMLQuantizationType.BF16 if tensor.dtype == torch.bfloat16 else None
    if raw_type is not None:
        tensor = tensor.view(torch.uint8)
    if tensor.is_meta:
        tensor = torch.empty(1, dtype=tensor.dtype).expand(tensor.shape)
    return tensor.numpy(), raw_type
