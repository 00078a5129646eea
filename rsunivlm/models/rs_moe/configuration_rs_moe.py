"""Configuration of RS-MoE (re-implementation; unspecified parts are ours).

The paper (arXiv 2411.01595) leaves open how its router makes prompts, how drafts become a caption, what
answers a question, and more; its public code holds none of it. Each point that the model has to decide is a
field here, numbered as in the table of docs/rs_moe.md, and its default is our choice. The defaults of the
sizes are `rs_moe-light`: SigLIP so400m/14, a Q-Former, Qwen2-0.5B and three adapters.
"""

from typing import Any, Literal

# No postponed annotations here: `@strict` reads the types of the fields.
from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, InstructBlipQFormerConfig, PreTrainedConfig

from rsunivlm.models.rs_moe.prompts import check_slots, load_wording
from rsunivlm.models.rs_moe.sizes import QWEN2_05B
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig

_BERT_VOCABULARY = 30523  # BERT's and the [DEC] that BLIP added


@strict
class RSMoEConfig(PreTrainedConfig):
    """Vision tower, Q-Former, language model, router, experts, aggregation.

    Attributes:
        vision_config: `RSUniVLMVisionConfig` or its fields.
        qformer_config: `InstructBlipQFormerConfig` or its fields.
        text_config: Of any causal language model of transformers, or its fields with `model_type`.
        image_token_id: Vocabulary id of the `<image>` placeholder.
        num_query_tokens: Queries of the Q-Former; an image takes as many positions.
        experts: Names of the experts, in the order of their ids and of the caption; empty for the model of
            stage I, which has none. None takes those that have prompts.
        prompts: Name of each expert -> prompt of its sub-task (A2). None takes `prompts.yaml`.
        experts_as: `adapters` are low-rank changes of one language model; `copies` are language models of
            their own (and then there is none without an expert); `prompts` have no weights, so that only the
            prompts differ (a control).
        adapter_rank: Rank of the adapters (A9).
        adapter_alpha: Their scale times the rank.
        adapter_targets: `all` linear layers of the language model but its head, or the last parts of the
            names of those meant, e.g. `gate_proj` (A9).
        router: How the experts' prompts are made (A1): `none` gives all the user's instruction; `template`
            the sub-task's prompt; `template_soft` adds soft tokens made of image and instruction; `generate`
            lets the language model of stage I write them.
        num_soft_tokens: Soft tokens of `template_soft`.
        soft_hidden_size: Width of the network that makes them.
        qformer_text: What the Q-Former reads beside the image: the expert's `prompt`, hence features of its
            own for each expert, or the user's `instruction` (A11).
        aggregation: How drafts become a caption (A5): `concat` strings them together without repeated
            sentences; `fuse` lets the language model of stage I merge them; `best` takes the one with the
            highest mean log-probability.
        vqa: Who answers a question (A6): the language model of `stage1`, the expert that is surest (`best`),
            or the `vote` of all experts.
        generate_prompt: Asks for a prompt where `router` is `generate`.
        fuse_prompt: Asks to merge drafts where `aggregation` is `fuse`.

    Raises:
        ValueError: The experts and prompts do not match, or settings exclude one another.
    """

    model_type = "rs_moe"
    sub_configs = {
        "vision_config": RSUniVLMVisionConfig,
        "qformer_config": InstructBlipQFormerConfig,
        "text_config": AutoConfig,
    }

    # Given as fields or as configurations; configurations once constructed.
    vision_config: Any = None
    qformer_config: Any = None
    text_config: Any = None
    image_token_id: int = 151646
    num_query_tokens: int = 32
    experts: list[str] | None = None
    prompts: dict[str, str] | None = None
    experts_as: Literal["adapters", "copies", "prompts"] = "adapters"
    adapter_rank: int = 16
    adapter_alpha: float = 32.0
    adapter_targets: Literal["all"] | list[str] = "all"
    router: Literal["none", "template", "template_soft", "generate"] = "template_soft"
    num_soft_tokens: int = 8
    soft_hidden_size: int = 256
    qformer_text: Literal["prompt", "instruction"] = "prompt"
    aggregation: Literal["concat", "fuse", "best"] = "concat"
    vqa: Literal["stage1", "best", "vote"] = "stage1"
    generate_prompt: str | None = None
    fuse_prompt: str | None = None
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = _config(self.vision_config, RSUniVLMVisionConfig)
        self.text_config = _text_config(self.text_config)
        channels = self.vision_config.hidden_size
        if not isinstance(self.qformer_config, PreTrainedConfig):
            fields = {"vocab_size": _BERT_VOCABULARY, "encoder_hidden_size": channels}
            self.qformer_config = {**fields, **(self.qformer_config or {})}
        self.qformer_config = _config(self.qformer_config, InstructBlipQFormerConfig)
        if self.qformer_config.encoder_hidden_size != channels:
            raise ValueError(
                f"the Q-Former reads features of {self.qformer_config.encoder_hidden_size} channels "
                f"(encoder_hidden_size), the vision tower gives {channels} (hidden_size)"
            )
        wording = load_wording()
        if self.prompts is None:
            names = wording.experts if self.experts is None else self.experts
            self.prompts = {name: wording.experts[name] for name in names if name in wording.experts}
        self.experts = list(self.prompts) if self.experts is None else self.experts
        self.generate_prompt = self.generate_prompt or wording.generate
        self.fuse_prompt = self.fuse_prompt or wording.fuse
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        experts, prompts = self.experts or [], self.prompts or {}
        if sorted(experts) != sorted(prompts):
            raise ValueError(
                f"{len(experts)} experts ({', '.join(experts) or 'none'}) but {len(prompts)} prompts "
                f"({', '.join(prompts) or 'none'}); give each expert one prompt"
            )
        for name in experts:
            if not name.isidentifier():
                raise ValueError(f"the name of an expert is a word like 'theme', not {name!r}")
        check_slots(self.generate_prompt, "generate", "generate_prompt")
        check_slots(self.fuse_prompt, "fuse", "fuse_prompt")
        if self.experts_as == "copies" and experts:
            for field, value in (("router", "generate"), ("aggregation", "fuse"), ("vqa", "stage1")):
                if getattr(self, field) == value:
                    raise ValueError(
                        f"{field}={value} needs the language model of stage I, which experts_as=copies does "
                        "not keep; set another, or use adapters"
                    )

    @property
    def has_soft_tokens(self) -> bool:
        """Whether soft tokens of the router follow an image in the rows of experts."""
        return self.router == "template_soft" and self.num_experts > 0

    @property
    def num_image_tokens(self) -> int:
        """Positions that one image takes in a row, soft tokens not counted."""
        return self.num_query_tokens

    @property
    def subtasks(self) -> dict[str, str]:
        """Name of each expert -> its prompt, in the order of their ids."""
        prompts = self.prompts or {}
        return {name: prompts[name] for name in self.experts or []}

    @property
    def num_experts(self) -> int:
        """Experts; 0 in the model of stage I."""
        return len(self.experts or [])


def _config(value: Any, config_class: type[PreTrainedConfig]) -> PreTrainedConfig:
    if isinstance(value, config_class):
        return value
    return config_class(**{key: item for key, item in (value or {}).items() if key != "model_type"})


def _text_config(value: Any) -> PreTrainedConfig:
    if isinstance(value, PreTrainedConfig):
        return value
    fields = dict(QWEN2_05B if value is None else value)
    model_type = fields.pop("model_type", QWEN2_05B["model_type"])
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"transformers knows no language model of type {model_type!r}")
    return CONFIG_MAPPING[model_type](**fields)
