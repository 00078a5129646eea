"""Recipes: everything that decides a training run, as one typed value.

A recipe file is YAML. Its top level holds settings for both stages, `stage1:` and `stage2:` hold what
differs, and the command line has the last word (``learning_rate=2e-5``, ``--learning_rate 2e-5``,
``model.text.hidden_size=128``)::

    batch_size: 4
    stage1: {init_from: checkpoints/base, mixture: {datasets: [...]}}
    stage2: {mixture: {datasets: [...]}, learning_rate: 2.0e-5}

A key that no field has is refused by name: a misspelt setting must not train for a day at its default.
Relative paths start at the working directory.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from rsunivlm.data.mixtures import expand_variables
from rsunivlm.yaml_files import read_yaml

Stage = Literal[1, 2]

_POSITIVE = (
    *("epochs", "batch_size", "gradient_accumulation", "max_length", "learning_rate"),
    *("log_every", "keep_checkpoints"),
)
_NOT_NEGATIVE = (
    *("seed", "max_steps", "max_images", "share_images", "length_window", "workers", "save_every"),
    *("feature_cache_gb", "weight_decay", "warmup_ratio", "max_grad_norm"),
    *("checkpoint_every", "max_bad_images"),
)
# Settings of RS-MoE alone, and their defaults.
_RS_MOE = {"lora": {}, "experts": {}, "also_train": [], "targets": {}, "empty_parts": "nothing"}
_KIND_NAMES = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage of one run. The defaults are the paper's settings (Table 9).

    Attributes:
        name: Name of the recipe; its results go to `runs/<name>` unless `output` says otherwise.
        stage: 1 trains vision tower, connector and language model; 2 the experts only.
        family: Which model the recipe trains; the scripts of a family take only its recipes.
        lora: RS-MoE, stage 1: train low-rank changes of Q-Former and language model only, e.g. `{rank: 16}`
            (see `rsunivlm.training.lora.LoraSettings`); empty trains both whole.
        experts: RS-MoE, stage 2: fields of `RSMoEConfig` that the stage sets, e.g. `{adapter_rank: 8}`;
            `{preset: repo}` sets rank, alpha and targets of the adapters as for `lora`.
        also_train: RS-MoE, stage 2: what is trained beside experts and router, by prefixes of parameter
            names, e.g. `[bridge.llm_proj]`.
        targets: RS-MoE, stage 2: what each expert learns, e.g. `{details: [objects, relations]}`, `caption`
            for the whole caption; an expert that is not named learns the part of its own name.
        empty_parts: RS-MoE, stage 2: what an expert learns from a caption without its part: `nothing`, or
            `silence`, to write nothing about such an image.
        mixture: What to train on: a mixture file (`${VARIABLES}` are expanded) or its content (see
            `rsunivlm.data.mixtures`). Content without a seed of its own takes the run's.
        adaptation: What stage 2 makes of the dense model: the paper's experts, or a system to compare them
            with (see `rsunivlm.training.adaptations`).
        adaptation_options: Settings of that system, e.g. `{rank: 64}`.
        init_from: Checkpoint folder to start from. Stage 2 starts from the recipe's stage 1 by default;
            stage 1 without it builds the model that `model` describes.
        model: A model to build from scratch (see `rsunivlm.training.build`).
        prepare: Data to make first: folder -> arguments of `python -m data_tools` that fill it, run by
            `scripts/launch.py` when the folder is not there. `${VARIABLES}` are expanded.
        output: Folder of the finished checkpoint.
        overwrite: Replace an earlier result in `output` instead of refusing.
        seed: Of initialisation and of the order of the samples.
        epochs: Passes over the mixture; fractions are fine.
        max_steps: Optimizer steps instead of `epochs` when above 0.
        batch_size: Samples per process and forward pass.
        gradient_accumulation: Forward passes per optimizer step. Global batch = batch_size x
            gradient_accumulation x processes.
        learning_rate: Peak of the schedule.
        learning_rates: Other peaks for parts of the model, by prefix of the parameter name, e.g.
            `{model.vision_tower: 1.0e-4}`; 0 freezes the part.
        weight_decay: Of AdamW; biases and norms are exempt.
        warmup_ratio: Share of the steps in which the learning rate rises from 0.
        schedule: Name of a transformers learning-rate schedule.
        max_grad_norm: Gradients are clipped to this norm.
        precision: `auto` is bf16 on accelerators that have it, else fp32.
        save_dtype: Type of the published weights.
        gradient_checkpointing: Recompute layers in the backward pass to save memory.
        max_length: Samples with more tokens, images included, are refused before training.
        packing: Put samples one behind the other into rows of `max_length` tokens; `batch_size` counts such
            rows. See `rsunivlm.data.packing`.
        max_images: Most images of a packed row; 0 sets no limit.
        share_images: With packing, most samples about the same images (and for the same expert) that are
            brought together, so that a row computes what they begin with once; 0 brings none together.
        fused_loss: `liger` computes the loss by Liger's kernel (GPUs only, not with ZeRO 3); `none` by torch.
        feature_cache: Folder for image embeddings, computed once before training where vision tower and
            connector are not trained; empty computes them in every step.
        feature_cache_gb: Largest size of the embeddings' file in gigabytes; images beyond it are computed in
            every step.
        measures: Folder where the lengths of records are kept, so that the next start need not tokenise them
            again; empty measures them at every start.
        length_window: Without packing, batches among which samples of like length are brought together, so
            that less is padded; 0 keeps the order of the plan.
        workers: Processes that load samples, per training process; 0 loads in the training process.
        deepspeed: DeepSpeed configuration (JSON), used when a launcher starts the processes.
        max_bad_images: Images that cannot be read, beyond which the run stops. Below, their samples are left
            out and listed in `<output>.bad_images.jsonl`; 0 stops at the first.
        log_every: Steps between two log entries.
        log_to: Where the log goes besides `training.json`: `tensorboard` writes to `logs` beside the output.
        save_every: Steps between two publications of the weights so far; 0 publishes the end only.
        checkpoint_every: Steps between two checkpoints to resume from, which are removed when the run has
            ended; 0 makes none.
        keep_checkpoints: How many of them are kept, the newest ones.
        resume: Continue a run that was interrupted from its newest checkpoint; false starts it afresh.
    """

    name: str
    stage: Stage
    mixture: dict[str, Any] | str
    family: Literal["rsunivlm", "rs_moe"] = "rsunivlm"
    lora: dict[str, Any] = field(default_factory=dict)
    experts: dict[str, Any] = field(default_factory=dict)
    also_train: list[Any] = field(default_factory=list)
    targets: dict[str, Any] = field(default_factory=dict)
    empty_parts: Literal["nothing", "silence"] = "nothing"
    adaptation: Literal["gmoe", "full", "lora", "moe", "ffn_only", "gmoe_random", "gmoe_shared_lora"] = "gmoe"
    adaptation_options: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    prepare: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    overwrite: bool = False
    seed: int = 0
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 4
    gradient_accumulation: int = 1
    learning_rate: float = 1e-5
    learning_rates: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    warmup_ratio: float = 0.03
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    save_dtype: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    max_length: int = 4096
    length_window: int = 0
    packing: bool = False
    max_images: int = 0
    share_images: int = 4
    fused_loss: Literal["none", "liger"] = "none"
    feature_cache: str = ""
    feature_cache_gb: float = 50.0
    measures: str = ""
    workers: int = 0
    deepspeed: str = ""
    max_bad_images: int = 0
    log_every: int = 10
    log_to: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    save_every: int = 0
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    resume: bool = True

    def __post_init__(self) -> None:
        for key in _POSITIVE:
            if getattr(self, key) <= 0:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)}")
        for key in _NOT_NEGATIVE:
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must not be negative, got {getattr(self, key)}")
        if self.warmup_ratio >= 1:
            raise ValueError(f"warmup_ratio is a share of the steps, below 1, got {self.warmup_ratio}")
        for key, unset in _RS_MOE.items():
            if self.family != "rs_moe" and getattr(self, key) != unset:
                raise ValueError(f"{key} is a setting of RS-MoE; it needs family: rs_moe")
        if self.family != "rsunivlm" and (self.adaptation != "gmoe" or self.adaptation_options):
            raise ValueError(f"adaptation {self.adaptation} is a setting of RSUniVLM, not of {self.family}")
        if self.stage == 1 and (self.adaptation != "gmoe" or self.adaptation_options):
            raise ValueError(f"adaptation {self.adaptation} is a setting of stage 2; put it under stage2:")

    @property
    def output_dir(self) -> Path:
        """Folder of the finished checkpoint."""
        return Path(self.output or f"runs/{self.name}/stage{self.stage}")

    @property
    def start_dir(self) -> Path | None:
        """Checkpoint the run starts from; None builds the model from scratch."""
        if self.init_from:
            return Path(self.init_from)
        return Path(f"runs/{self.name}/stage1") if self.stage == 2 else None


def load_recipe(path: str | Path, stage: Stage, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read one stage of a recipe file and apply the command line's overrides.

    Args:
        path: The YAML file; its stem is the recipe's name unless it has a `name`.
        stage: Which stage's settings to take.
        overrides: Key -> text as written on the command line; dots reach into mappings.

    Raises:
        ValueError: No such file, no valid YAML, an unknown key or a value of the wrong kind; names it.
    """
    path = Path(path)
    content = read_yaml(path, "recipe")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a recipe is a mapping of settings")
    stages = {key: content.pop(key, None) or {} for key in ("stage1", "stage2")}
    for key, part in stages.items():
        if not isinstance(part, dict):
            raise ValueError(f"{path}: {key} must be a mapping of settings")
        _check_keys(part, f"{path}: {key}")  # both, so that a mistake in stage 2 shows before stage 1 has run
    _check_keys(content, str(path))
    settings: dict[str, Any] = {"name": path.stem, **content, **stages[f"stage{stage}"]}
    for key, text in (overrides or {}).items():
        _override(settings, key, text)
    if "mixture" not in settings:
        raise ValueError(f"{path}: stage{stage} names no mixture to train on")
    if isinstance(settings["mixture"], str):
        settings["mixture"] = expand_variables(settings["mixture"], f"{path}: 'mixture'")
    hints = typing.get_type_hints(Recipe)
    values = {key: convert_setting(value, hints[key], key) for key, value in settings.items()}
    return Recipe(stage=stage, **values)


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Read `key=value`, `--key=value` and `--key value`; dashes inside a `--key` may stand for underscores.

    Raises:
        ValueError: An argument is none of these; names it.
    """
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument.partition("=")
        if key.startswith("--"):
            key = key[2:].replace("-", "_")
            if not equals:
                if not rest:
                    raise ValueError(f"{argument} needs a value")
                value = rest.pop(0)
        elif not equals:
            raise ValueError(f"cannot read argument {argument!r}; write key=value or --key value")
        overrides[key] = value
    return overrides


def _check_keys(settings: Mapping[str, Any], where: str) -> None:
    known = {f.name for f in dataclasses.fields(Recipe)} - {"stage"}
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where}: unknown setting {key!r}{hint}")


def read_value(key: str, text: str) -> Any:
    """The value that a text on the command line spells in YAML.

    Raises:
        ValueError: It is no YAML; names the key.
    """
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError as error:
        raise ValueError(f"command line: {key}: cannot read value {text!r}") from error


def _override(settings: dict[str, Any], key: str, text: str) -> None:
    """Set `a.b.c` to the value that `text` spells in YAML."""
    first, *others = key.split(".")
    _check_keys({first: None}, "command line")
    value = read_value(key, text)
    target, name = settings, first
    for part in others:
        inner = target.get(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"command line: {key}: {name!r} has no parts")
        target[name] = dict(inner)
        target, name = target[name], part
    target[name] = value


def convert_setting(value: Any, hint: Any, key: str) -> Any:
    """Check a YAML value against a field's type. YAML 1.1 reads ``1e-5`` as text, so numbers may be text.

    Raises:
        ValueError: The value does not fit; names the key.
    """
    options: tuple[Any, ...] = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        if value not in options:
            raise ValueError(f"{key} must be one of {', '.join(map(str, options))}, got {value!r}")
        return value
    kinds = options if isinstance(hint, types.UnionType) else (hint,)
    for kind in (typing.get_origin(kind) or kind for kind in kinds):
        if type(value) is kind:
            return value
        if kind in (int, float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if kind is float or number.is_integer():
                return kind(number)
    wanted = " or ".join(_KIND_NAMES[typing.get_origin(kind) or kind] for kind in kinds)
    raise ValueError(f"{key} must be {wanted}, got {value!r}")
