"""Configuration of RSUniVLM; the defaults are the published size (SigLIP so400m/14-384 + Qwen2-0.5B).

A checkpoint carries its own language: besides the sizes the configuration stores the number of experts, the
map from task token to expert, the text form of boxes and masks and the form of two image marks. The released
model stores none of these, which is why its answers can be decoded only by code that happens to agree.
"""

import copy
from typing import Any, Literal, Self

# No postponed annotations here: `@strict` reads the types of the fields.
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, Qwen2Config

from rsunivlm.tasks import TOKEN_GRANULARITY


@strict
class RSUniVLMVisionConfig(PreTrainedConfig):
    """Any timm backbone as a vision tower.

    Attributes:
        timm_model: Name of the timm architecture.
        timm_args: Extra keyword arguments of `timm.create_model`, e.g. `act_layer` or `img_size`.
        feature_index: Index of the block (ViT) or stage (CNN) whose output is taken, as
            `forward_intermediates` counts; later blocks are dropped. SigLIP so400m: 25, i.e. block 26 of 27.
        image_size: Side of the square input in pixels.
        hidden_size: Channels of the features.
        tokens_per_side: Features per side; the tower gives `tokens_per_side ** 2` of them, row by row.
        prefix_tokens: Class (and register) tokens of the backbone that stand in front of these; 0 leaves them
            out, as LLaVA-style models do.
        image_mean: Per-channel mean subtracted from values in [0, 1].
        image_std: Per-channel standard deviation.
        resize_mode: `squash` resizes straight to the square; `pad` first pads to a square with grey (127).
    """

    model_type = "rsunivlm_vision"
    base_config_key = "vision_config"

    timm_model: str = "vit_so400m_patch14_siglip_384"
    timm_args: dict[str, Any] | None = None
    feature_index: int = 25
    image_size: int = 384
    hidden_size: int = 1152
    tokens_per_side: int = 27
    prefix_tokens: int = 0
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    resize_mode: Literal["squash", "pad"] = "squash"

    def __post_init__(self, **kwargs: Any) -> None:
        if self.timm_args is None:
            # timm's SigLIP entry defaults to the erf GELU; the weights were trained with the tanh form.
            siglip = self.timm_model == "vit_so400m_patch14_siglip_384"
            self.timm_args = {"act_layer": "gelu_tanh"} if siglip else {}
        super().__post_init__(**kwargs)


@strict
class RSUniVLMTextConfig(Qwen2Config):
    """Qwen2 whose feed-forward networks come in `num_experts` copies; the defaults are Qwen2-0.5B.

    Attributes:
        num_experts: 1 is the dense model of stage 1; 3 are the experts image, region, pixel of stage 2.
        expert_rank: Above 0 the experts are low-rank changes, of this rank, of one shared network.
        num_routed_experts: Above 0 a learned router chooses among so many experts per token instead.
        num_experts_per_tok: Experts that the learned router gives a token.
        moe_intermediate_size: Width of a routed expert.
        router_aux_loss_coef: Weight of the router's balance loss in training.
        zero_init_residual: Start the last projection of each residual branch at zero. For small models
            trained from scratch, where it makes grounding begin earlier; no effect on loaded weights.
    """

    model_type = "rsunivlm_text"
    base_config_key = "text_config"

    hidden_size: int = 896
    intermediate_size: int = 4864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int | None = 2
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 151643
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151645
    rope_parameters: Any = None
    num_experts: int = 1
    expert_rank: int = 0
    num_routed_experts: int = 0
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 0
    router_aux_loss_coef: float = 0.01
    zero_init_residual: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.rope_parameters is None and "rope_theta" not in kwargs:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 1_000_000.0}
        super().__post_init__(**kwargs)

    @property
    def is_dense(self) -> bool:
        """Whether each layer has one plain feed-forward network, as after stage 1."""
        return self.num_experts == 1 and not self.num_routed_experts

    def dense(self) -> Self:
        """A copy of this configuration as it was before any experts."""
        text_config = copy.deepcopy(self)
        text_config.num_experts, text_config.expert_rank, text_config.num_routed_experts = 1, 0, 0
        return text_config


@strict
class RSUniVLMConfig(PreTrainedConfig):
    """Vision tower, connector, language model, and the language the checkpoint speaks.

    Attributes:
        vision_config: `RSUniVLMVisionConfig` or its fields.
        text_config: `RSUniVLMTextConfig` or its fields.
        image_token_id: Vocabulary id of the `<image>` placeholder.
        image_newline: Append one learned vector after each image, as the released checkpoint does (730
            tokens an image). Off by default: only models without it export exactly to stock LLaVA classes.
        projector_hidden_act: Activation of the connector.
        visual_position: `sine2d` adds fixed two-dimensional sine positions to the connector's output, for
            towers that do not carry positions themselves (CNNs).
        image_separator: Text between two image marks: empty in the paper, a space in the public demo.
        task_granularity: Task token -> index of the expert.
        random_experts_seed: Set in a control model whose samples went to experts drawn at random with this
            seed instead of by granularity; see `RSUniVLMProcessor.expert_of`.
        box_codec: Fields of `rsunivlm.codecs.BoxCodec`; empty for its defaults.
        mask_codec: Fields of `rsunivlm.codecs.MaskCodec`; empty for its defaults.
        int8_weights: The checkpoint's matrices are int8, for answering on a CPU; see `int8.py`.
    """

    model_type = "rsunivlm"
    sub_configs = {"vision_config": RSUniVLMVisionConfig, "text_config": RSUniVLMTextConfig}

    # Given as fields or as configurations; configurations once constructed.
    vision_config: Any = None
    text_config: Any = None
    image_token_id: int = 151646
    image_newline: bool = False
    projector_hidden_act: str = "gelu"
    visual_position: Literal["none", "sine2d"] = "none"
    image_separator: str = ""
    task_granularity: dict[str, int] | None = None
    random_experts_seed: int | None = None
    box_codec: dict[str, Any] | None = None
    mask_codec: dict[str, Any] | None = None
    int8_weights: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = _sub_config(self.vision_config, RSUniVLMVisionConfig)
        self.text_config = _sub_config(self.text_config, RSUniVLMTextConfig)
        if self.task_granularity is None:
            self.task_granularity = {token: int(level) for token, level in TOKEN_GRANULARITY.items()}
        self.box_codec = self.box_codec or {}
        self.mask_codec = self.mask_codec or {}
        super().__post_init__(**kwargs)

    @property
    def num_experts(self) -> int:
        """Copies of each feed-forward network: 1 dense, 3 after upcycling."""
        return int(self.text_config.num_experts)

    @property
    def num_image_tokens(self) -> int:
        """Positions that one image takes in the sequence."""
        return int(self.vision_config.tokens_per_side**2) + int(self.image_newline)


def _sub_config(
    value: dict[str, Any] | PreTrainedConfig | None, config_class: type[PreTrainedConfig]
) -> PreTrainedConfig:
    if isinstance(value, config_class):
        return value
    if isinstance(value, PreTrainedConfig):
        raise ValueError(f"expected a {config_class.__name__}, got a {type(value).__name__}")
    fields = {key: item for key, item in (value or {}).items() if key != "model_type"}
    return config_class(**fields)
