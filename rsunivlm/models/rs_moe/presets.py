"""RS-MoE sizes by name: the paper's three, and a light one that runs on small machines.

The paper's names count one expert's language model: `rs_moe-1b` has a vision tower of one billion parameters
beside it.
"""

from __future__ import annotations

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.sizes import EVA_G, LLAMA_32_1B, LLAMA_32_3B, QWEN2_05B, SIGLIP, VICUNA_7B

PRESETS = {
    "rs_moe-7b": (EVA_G, VICUNA_7B),
    "rs_moe-3b": (EVA_G, LLAMA_32_3B),
    "rs_moe-1b": (EVA_G, LLAMA_32_1B),
    "rs_moe-light": (SIGLIP, QWEN2_05B),
}


def preset(name: str) -> RSMoEConfig:
    """The configuration of a size of `PRESETS`, with three adapters."""
    vision, text = PRESETS[name]
    return RSMoEConfig(vision_config=vision, text_config=text)
