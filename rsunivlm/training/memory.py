"""Memory of one GPU in training, computed from the sizes of a model: what `rsunivlm plan` prints.

Per parameter, with a = 2 bytes in bf16 and 4 in fp32, P parameters of which T are trained, N GPUs
(Rajbhandari et al., "ZeRO", 2020, section 3; buffers as DeepSpeed 0.19 allocates them with the limits that
`scripts/zero*.json` set: buckets of b = 2e8 elements, 3e8 gathered parameters):

| ZeRO | weights | gradients | AdamW | buffers |
|---|---|---|---|---|
| 0: no DeepSpeed | 4 P, and 2 P copies for autocast in bf16 | 4 T | 8 T | DDP's buckets, 4 T where N > 1 |
| 1 | a P | a T | 12 T / N | a b |
| 2 | a P | a T / N | 12 T / N | 2 a b |
| 3 | a P / N, and a min(P, 3e8) gathered | a T / N | 12 T / N | a b |

AdamW's 12 bytes are master weight and two moments; offloaded (ZeRO 2, 3) they and the gradients lie in host
memory. The update itself needs another 8 T / N for a moment, after activations and buffers are gone.

Activations are what autograd keeps for the backward pass (the counting of Korthikanti et al., "Reducing
activation recomputation in large transformer models", 2022), per position and layer of the language model,
hidden D, feed-forward I, attention A, where only what a trained weight needs is kept:

    norms                8 D, and 2 a D for their weights
    inputs               a D for the projections of attention, a D for those of the feed-forward network
    attention            4 a A: query, key and value (repeated to all heads), result
    feed-forward         3 a I, and a I for its last weight

and per image token and block of the tower, where it is trained: 8 a C + 2 a M. Recomputing layers
("checkpointing") keeps one input a D (a C) per layer and one whole layer. Without DeepSpeed the stream
between layers is fp32.

The head scores at most `losses.CHUNK` positions at once: (a + 8) bytes per score, and a V D for its gradient.
`RESERVE` stands for CUDA, NCCL, library workspaces and fragmentation; it is an allowance, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from rsunivlm.models.losses import CHUNK
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.training.lora import lora_config

GB = 10**9
RESERVE = 2 * GB
# As in scripts/zero*.json. DeepSpeed's own, 5e8 and 1e9, are as large as this whole model; these still hold
# its largest weight (the word embedding, 1.4e8) in one piece.
BUCKET = 200_000_000  # elements; reduce_bucket_size
LIVE = 300_000_000  # parameters; stage3_max_live_parameters
LONGEST_PACK = 16_384  # longer rows make nothing faster
PACK_STEP = 1024
HEADROOM = 0.9  # of a card's memory: recommendations leave a tenth to what the formula does not know


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a run is laid out.

    Attributes:
        gpus: GPUs of the run.
        zero: ZeRO stage; 0 is training without DeepSpeed.
        offload: Optimizer states in host memory.
        precision: Of the products.
        pack_length: Tokens of a packed row, one row per GPU and pass.
        max_images: Most images of a row; 0 for as many as fit.
        checkpointing: Recompute layers in the backward pass.
    """

    gpus: int = 1
    zero: int = 2
    offload: bool = False
    precision: Literal["bf16", "fp32"] = "bf16"
    pack_length: int = 4096
    max_images: int = 0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.pack_length < 1:
            raise ValueError("the number of GPUs and the pack length must be above 0")
        if self.max_images < 0:
            raise ValueError(f"max_images must not be negative, got {self.max_images}")
        if self.zero not in range(4):
            raise ValueError(f"ZeRO has stages 0 to 3, not {self.zero}")
        if self.offload and self.zero < 2:
            raise ValueError(f"offloading needs ZeRO 2 or 3, not {self.zero}")

    @property
    def deepspeed(self) -> str:
        """The bundled DeepSpeed configuration; empty without DeepSpeed."""
        return f"scripts/zero{self.zero}{'_offload' if self.offload else ''}.json" if self.zero else ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU at the peak, and in host memory per process."""

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    activations: float
    head: float
    update: float
    host: float

    @property
    def total(self) -> float:
        """The peak: of the backward pass, or of the update after it."""
        working = max(self.buffers + self.activations + self.head, self.update)
        return self.weights + self.gradients + self.optimizer + working + RESERVE

    def fits(self, gigabytes: float) -> bool:
        """Whether a card of so many GB (10^9 bytes) holds it."""
        return self.total <= gigabytes * GB


def memory(model: RSUniVLMForConditionalGeneration, setup: Setup) -> Memory:
    """Memory of a run.

    Args:
        model: Ready to be trained, on any device (see `adaptations.prepared_on_meta`).
        setup: The run.

    Raises:
        ValueError: The vision tower is trained and is no timm ViT, whose activations are known here.
    """
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = model.config.text_config
    a, share = (2 if setup.precision == "bf16" else 4), 1 / setup.gpus
    if setup.zero == 0:
        weights = total * (4 + (2 if setup.precision == "bf16" else 0))
        gradients, optimizer, update = 4 * trained, 8 * trained, 4.0 * trained
        buffers = 4 * trained if setup.gpus > 1 else 0
    else:
        weights = a * total if setup.zero < 3 else a * (total * share + min(total, LIVE))
        gradients = a * trained * (share if setup.zero > 1 else 1)
        optimizer, update = 12 * trained * share, 8 * trained * share
        buffers = a * BUCKET * (2 if setup.zero == 2 else 1)
    host = 0.0
    if setup.offload:
        host = optimizer + 4 * trained * share
        gradients = optimizer = update = 0
    scored = min(setup.pack_length, CHUNK)
    head_gradient = a * text.vocab_size * text.hidden_size if model.lm_head.weight.requires_grad else 0
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        buffers=buffers,
        activations=activations(model, setup),
        head=scored * text.vocab_size * (a + 8) + head_gradient,
        update=update,
        host=host,
    )


def longest_pack(model: RSUniVLMForConditionalGeneration, setup: Setup, gigabytes: float) -> int:
    """The longest row, in steps of `PACK_STEP` up to `LONGEST_PACK`, that fits a card; 0 where none does."""
    for length in range(LONGEST_PACK, 0, -PACK_STEP):
        if memory(model, replace(setup, pack_length=length)).fits(gigabytes):
            return length
    return 0


def recommend(model: RSUniVLMForConditionalGeneration, setup: Setup, gigabytes: float) -> Setup | None:
    """The setup to use on such cards: the least sharding that leaves room for long rows.

    Tried in this order, with ZeRO 2 and then 3 and the longest row that fits: as it is, with recomputing (a
    third more arithmetic), with the optimizer offloaded (every update waits for host memory), with both.
    Without recomputing a row must hold 4096 tokens, else recomputing is worth its price. `HEADROOM` is left
    free.

    Args:
        model: See `memory`.
        setup: GPUs, precision and images; the rest is chosen.
        gigabytes: Memory of a card in GB.

    Returns:
        The setup, or None where nothing fits.
    """
    least = 4 * PACK_STEP
    for offload, checkpointing in ((False, False), (False, True), (True, False), (True, True)):
        for zero in (2, 3):
            found = replace(setup, zero=zero, offload=offload, checkpointing=checkpointing)
            length = longest_pack(model, found, HEADROOM * gigabytes)
            if length >= (PACK_STEP if checkpointing else least):
                return replace(found, pack_length=length)
    return None


def images_of(model: RSUniVLMForConditionalGeneration, setup: Setup) -> int:
    """Most images of a row."""
    fitting = setup.pack_length // model.config.num_image_tokens
    return min(fitting, setup.max_images) if setup.max_images else fitting


def activations(model: RSUniVLMForConditionalGeneration, setup: Setup) -> float:
    """Bytes that autograd keeps of one row, in vision tower, connector and language model."""
    a = 2 if setup.precision == "bf16" else 4
    stream = 4 if setup.zero == 0 else a
    text, vision = model.config.text_config, model.config.vision_config
    image_tokens = images_of(model, setup) * vision.tokens_per_side**2
    per_layer = setup.pack_length * _language_layer(model, a, stream)
    layers: float = text.num_hidden_layers * per_layer
    largest = per_layer
    if setup.checkpointing:
        layers = text.num_hidden_layers * setup.pack_length * stream * text.hidden_size
    tower = 0.0
    if _learns(model.model.vision_tower):
        depth, width, mlp = _tower_sizes(model)
        per_block = image_tokens * ((6 * a + 2 * stream) * width + 2 * a * mlp)
        tower = depth * per_block
        if setup.checkpointing:
            tower, largest = depth * image_tokens * stream * width, max(largest, per_block)
    connector = 0
    if _learns(model.model.multi_modal_projector):
        connector = image_tokens * a * (vision.hidden_size + 2 * text.hidden_size)
    return layers + tower + connector + (largest if setup.checkpointing else 0)


def _language_layer(model: RSUniVLMForConditionalGeneration, a: int, stream: int) -> float:
    """Bytes kept per position and layer."""
    text = model.config.text_config
    D, I = text.hidden_size, text.intermediate_size  # noqa: E741
    A = text.num_attention_heads * getattr(text, "head_dim", D // text.num_attention_heads)
    layer: Any = model.model.language_model.layers[0]
    # Autocast makes a copy of the fp32 stream for each projection that reads it; else they share one.
    readers_attention, readers_network = (3, 2) if stream > a else (1, 1)
    kept = 2 * 4 * D + 4 * a * A
    if layer.input_layernorm.weight.requires_grad:
        kept += 2 * stream * D
    lora = lora_config(model)
    if lora is not None:
        inputs = {"q_proj": D, "k_proj": D, "v_proj": D, "o_proj": A}
        if hasattr(layer.mlp, "gate_proj"):
            inputs |= {"gate_proj": D, "up_proj": D, "down_proj": I}
        # With drop-out each change keeps its own input and a mask of one byte; without it they share inputs.
        own = sum(inputs.values()) * (a + 1)
        if not lora.lora_dropout:
            own = a * sum(inputs.values()) if stream > a else a * (2 * D + A + I)
        return kept + own + len(inputs) * a * lora.r + 3 * a * I
    if layer.self_attn.q_proj.weight.requires_grad:
        kept += readers_attention * a * D
    if text.num_routed_experts:
        k, width = text.num_experts_per_tok, text.moe_intermediate_size
        # Grouped products do not take part in autocast: they run at the weights' precision, the stream's.
        return kept + stream * D + 2 * k * stream * D + 4 * k * stream * width
    kept += 3 * a * I
    if _learns(layer.mlp):
        kept += readers_network * a * D + a * I + 3 * a * text.expert_rank
    return kept


def _tower_sizes(model: RSUniVLMForConditionalGeneration) -> tuple[int, int, int]:
    """Blocks, width and width of the feed-forward network of a ViT."""
    vision = model.config.vision_config
    blocks: Any = getattr(model.model.vision_tower.backbone, "blocks", [])
    mlp: Any = getattr(blocks[0], "mlp", None) if len(blocks) else None
    if not hasattr(mlp, "fc1"):
        raise ValueError(
            f"the activations of {vision.timm_model} are not known; a plan can be made for ViT towers, or "
            "for stages that do not train the tower"
        )
    return len(blocks), vision.hidden_size, mlp.fc1.out_features


def _learns(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
