"""The parts that published RS-MoE sizes are made of, as fields of their configurations.

Language models as their model cards give them; EVA-CLIP ViT-g/14 as LAVIS has it: the output of block index
38 with its class token (timm's has a block more, which is left out).
"""

from __future__ import annotations

from typing import Any

SIGLIP: dict[str, Any] = {}  # the vision configuration's defaults: so400m/14 at 384 px, block 26 of 27

EVA_G: dict[str, Any] = {
    "timm_model": "eva_giant_patch14_clip_224",
    "feature_index": 38,
    "image_size": 224,
    "hidden_size": 1408,
    "tokens_per_side": 16,
    "prefix_tokens": 1,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}

QWEN2_05B: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
    "pad_token_id": 151643,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}

_LLAMA_32: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": True,
    "bos_token_id": 128000,
    "eos_token_id": 128009,
}

LLAMA_32_1B: dict[str, Any] = _LLAMA_32 | {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
}

LLAMA_32_3B: dict[str, Any] = _LLAMA_32 | {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "head_dim": 128,
}

VICUNA_7B: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
