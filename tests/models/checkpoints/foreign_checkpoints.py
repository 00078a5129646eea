"""Tiny random checkpoints in the foreign layouts, and what stock classes make of the same weights.

The names come from the lists in docs/checkpoints.md, not from the code under test; the reference is put
together from stock SigLIP, two linear layers and stock Qwen2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

C, D, LAYERS, BLOCKS = 48, 64, 2, 3  # vision width, hidden size; 30 px = 2 x 14 + 2
VISION = {
    "hidden_size": C,
    "intermediate_size": 100,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "image_size": 30,
    "patch_size": 14,
}
TEXT = {
    "hidden_size": D,
    "intermediate_size": 80,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}


@dataclass
class Parts:
    """Random weights by the names of stock classes, without prefixes; `networks` per expert."""

    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    projector: dict[str, Tensor]
    newline: Tensor
    networks: list[dict[str, Tensor]] = field(default_factory=list)

    def qwen2(self, expert: int | None = None) -> dict[str, Tensor]:
        """Weights of the language model with one expert's networks."""
        return self.text | (self.networks[expert] if expert is not None else {})


def random_parts(rows: int, experts: int = 0, blocks: int = BLOCKS, dtype=torch.float32) -> Parts:
    torch.manual_seed(0)
    vision = SiglipVisionModel(SiglipVisionConfig(**VISION | {"num_hidden_layers": blocks})).state_dict()
    vision = {name.removeprefix("vision_model."): tensor for name, tensor in vision.items()}
    text = Qwen2ForCausalLM(Qwen2Config(**TEXT, vocab_size=rows)).model.state_dict()
    shapes = {"0.weight": (D, C), "0.bias": (D,), "2.weight": (D, D), "2.bias": (D,)}

    def drawn(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.randn(tensor.shape).mul(0.3).to(dtype) for name, tensor in tensors.items()}

    mlp = {name: tensor for name, tensor in text.items() if ".mlp." in name}
    return Parts(
        drawn(vision),
        drawn(text),
        drawn({name: torch.empty(shape) for name, shape in shapes.items()}),
        torch.randn(D).to(dtype),
        [drawn(mlp) for _ in range(experts)],
    )


def official(parts: Parts, *, newline: bool = True) -> dict[str, Tensor]:
    tower = {name: tensor for name, tensor in parts.vision.items() if not name.startswith("head.")}
    tensors = {f"model.vision_tower.vision_tower.vision_model.{name}": t for name, t in tower.items()}
    tensors |= {f"model.mm_projector.{name}": tensor for name, tensor in parts.projector.items()}
    for name, tensor in parts.text.items():
        if parts.networks and ".mlp." in name:
            for expert, network in enumerate(parts.networks):
                tensors[f"model.{name.replace('.mlp.', f'.mlp.{expert}.')}"] = network[name]
        else:
            tensors[f"model.{name}"] = tensor
    return tensors | ({"model.image_newline": parts.newline} if newline else {})


def onevision(parts: Parts, names: str = "legacy") -> dict[str, Tensor]:
    """`names`: legacy files, those of transformers 5, or the modules of the running model."""
    tower = "vision_tower.vision_model." if names == "legacy" else "vision_tower."
    tensors = {f"{tower}{n}": t for n, t in parts.vision.items() if not n.startswith("head.")}
    for name, tensor in parts.projector.items():
        linear = {"0": "linear_1", "2": "linear_2"}[name[0]]
        tensors[f"multi_modal_projector.{linear}{name[1:]}"] = tensor
    running = names == "modules"
    text = "language_model." if running else "language_model.model."
    tensors |= {f"{text}{name}": tensor for name, tensor in parts.text.items()} | {
        "image_newline": parts.newline
    }
    return {f"model.{name}": tensor for name, tensor in tensors.items()} if running else tensors


def siglip_to_timm(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """SigLIP weights of transformers under timm's names, `depth` blocks of them."""
    plain = {key.removeprefix("vision_model."): value for key, value in state.items()}
    out = {
        "patch_embed.proj.weight": plain["embeddings.patch_embedding.weight"],
        "patch_embed.proj.bias": plain["embeddings.patch_embedding.bias"],
        "pos_embed": plain["embeddings.position_embedding.weight"][None],
        "norm.weight": plain["post_layernorm.weight"],
        "norm.bias": plain["post_layernorm.bias"],
    }
    for index in range(depth):
        source, target = f"encoder.layers.{index}.", f"blocks.{index}."
        for kind in ("weight", "bias"):
            qkv = [plain[f"{source}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            out[f"{target}attn.qkv.{kind}"] = torch.cat(qkv)
            out[f"{target}attn.proj.{kind}"] = plain[f"{source}self_attn.out_proj.{kind}"]
            for ours, theirs in (
                ("norm1", "layer_norm1"),
                ("norm2", "layer_norm2"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
            ):
                out[f"{target}{ours}.{kind}"] = plain[f"{source}{theirs}.{kind}"]
    return out


def write(folder: Path, tensors: dict[str, Tensor], config: dict, *, shards: int = 1) -> Path:
    """A checkpoint folder, without tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        here = names[shard::shards]  # neighbours in different files
        save_file({name: tensors[name] for name in here}, folder / file)
        weight_map |= dict.fromkeys(here, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def write_vocabulary(folder: Path, tokenizer: Path) -> int:
    """A tokenizer as Qwen2's first releases have it: vocab.json and merges.txt, no `<image>`; its size."""
    folder.mkdir(exist_ok=True)
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    plain = [token for token in model["vocab"] if token not in [*special, "<image>"]]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(plain)}))
    (folder / "merges.txt").write_text("\n".join(" ".join(merge) for merge in model["merges"]))
    added = {
        str(len(plain) + place): {"content": token, "special": True} for place, token in enumerate(special)
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added})
    )
    return len(plain) + len(special)


@torch.no_grad()
def reference_logits(
    parts: Parts,
    input_ids: Tensor,
    pixels: Tensor,
    *,
    image_token_id: int,
    blocks: int,
    newline: bool,
    expert: int | None = None,
    head: Tensor | None = None,
) -> Tensor:
    """Logits [1, L, rows] of stock SigLIP, linear - GELU - linear, and stock Qwen2.

    Args:
        parts: Weights.
        input_ids: One placeholder per image [1, L'].
        pixels: Images [N, 3, 30, 30].
        image_token_id: Of the placeholder.
        blocks: Of the tower up to the features.
        newline: Append the vector to each image.
        expert: Whose networks; None for those of the dense model.
        head: Weight of an untied head.
    """
    vision = SiglipVisionModel(SiglipVisionConfig(**VISION)).eval()
    names = {name.removeprefix("vision_model."): name for name in vision.state_dict()}
    vision.load_state_dict({names[name]: tensor for name, tensor in parts.vision.items()})
    text = Qwen2ForCausalLM(Qwen2Config(**TEXT, vocab_size=len(parts.text["embed_tokens.weight"]))).eval()
    text.model.load_state_dict(parts.qwen2(expert))
    features = vision(pixels, output_hidden_states=True).hidden_states[blocks]
    p = parts.projector
    images = F.linear(F.gelu(F.linear(features, p["0.weight"], p["0.bias"])), p["2.weight"], p["2.bias"])
    if newline:
        images = torch.cat([images, parts.newline.expand(len(images), 1, -1)], dim=1)
    pieces, following = [], iter(images)
    for token in input_ids[0]:
        known = token != image_token_id
        pieces.append(text.model.embed_tokens(token)[None] if known else next(following))
    hidden = text.model(inputs_embeds=torch.cat(pieces)[None]).last_hidden_state
    return F.linear(hidden, text.model.embed_tokens.weight if head is None else head)
