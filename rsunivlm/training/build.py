"""From a recipe to a processor and a model: out of a checkpoint, or from scratch.

From scratch, the recipe's `model` section is the configuration of the model and where its parts come from::

    model:
      tokenizer: playground/checkpoints/nano      # folder or hub name
      vision: {timm_model: tf_efficientnet_lite0, ..., weights: timm}    # timm | file | none
      text: {hidden_size: 256, ...}
      number_embeddings: sine                      # sine | random: how 0..100 begin, see `_order_numbers`
      visual_position: sine2d                      # and any other field of RSUniVLMConfig

Vocabulary size and special ids are the tokenizer's. Checkpoints are checked from their headers, before
anything large is built.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from rsunivlm.models.rsunivlm.configuration_rsunivlm import (
    RSUniVLMConfig,
    RSUniVLMTextConfig,
    RSUniVLMVisionConfig,
)
from rsunivlm.models.rsunivlm.int8 import require_float_weights
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.models.vision import TimmVisionTower
from rsunivlm.tasks import IMAGE_MARK
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import check_dense


def load_processor(recipe: Recipe) -> RSUniVLMProcessor:
    """Load or make the processor of the model to be trained, and check where the model comes from.

    Raises:
        ValueError: The checkpoint is missing, incomplete or not what the stage starts from, the `model`
            section is wrong, or `max_length` is above the model's context; names what and the mend.
    """
    if recipe.start_dir is not None:
        check_stage_one(recipe)
        config = check_checkpoint(recipe.start_dir)
        check_length(recipe, config.text_config)
        if recipe.stage == 1:
            check_dense(config)
        return RSUniVLMProcessor.from_pretrained(recipe.start_dir)
    tokenizer = load_tokenizer(recipe.model)
    config = _config(recipe.model, tokenizer)
    check_length(recipe, config.text_config)
    return RSUniVLMProcessor.for_config(config, tokenizer)


def load_model(recipe: Recipe, processor: RSUniVLMProcessor) -> RSUniVLMForConditionalGeneration:
    """Load the checkpoint the recipe starts from, or build the model it describes, in float32.

    Float32 whatever the run's precision: mixed precision keeps master weights.

    Raises:
        ValueError: The vision weights are missing or do not fit the tower.
    """
    if recipe.start_dir is not None:
        return RSUniVLMForConditionalGeneration.from_pretrained(
            recipe.start_dir, dtype=torch.float32, use_safetensors=True
        )
    model = RSUniVLMForConditionalGeneration(_config(recipe.model, processor.tokenizer))
    load_vision_weights(model.model.vision_tower, recipe.model.get("vision", {}).get("weights", "none"))
    if recipe.model.get("number_embeddings", "random") == "sine":
        _order_numbers(model, processor.tokenizer)
    return model


def check_checkpoint(
    folder: Path, config_class: Any = RSUniVLMConfig, model_class: Any = RSUniVLMForConditionalGeneration
) -> Any:
    """Check that a folder holds a complete checkpoint of a family, reading only configuration and headers.

    Args:
        folder: The checkpoint.
        config_class: Configuration of the family.
        model_class: Its model.

    Returns:
        Its configuration.

    Raises:
        ValueError: No folder, no configuration, another architecture, no weights or missing weights.
    """
    if not folder.is_dir():
        raise ValueError(f"no checkpoint folder {folder}; set init_from")
    if not (folder / "config.json").is_file():
        raise ValueError(f"checkpoint {folder} has no config.json; set init_from to a folder that has")
    try:
        fields, _ = config_class.get_config_dict(folder)
    except OSError as error:
        raise ValueError(f"checkpoint {folder}: config.json is damaged; copy it again") from error
    if fields.get("model_type") != config_class.model_type:
        raise ValueError(
            f"checkpoint {folder} is of type {fields.get('model_type')!r}, not "
            f"{config_class.model_type!r}; set init_from to a checkpoint of this project and family"
        )
    stored: set[str] = set()
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as tensors:
                stored.update(tensors.keys())
        except SafetensorError as error:
            raise ValueError(
                f"checkpoint {folder}: {file.name} is damaged ({error}); copy it again"
            ) from error
    config = config_class.from_dict(fields)
    if isinstance(config, RSUniVLMConfig):
        require_float_weights(config, "training")
    with torch.device("meta"):
        model = model_class(config)
    missing = sorted(set(model.state_dict()) - stored - set(model.all_tied_weights_keys))
    if missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(f"checkpoint {folder} lacks {len(missing)} weight(s): {named}; copy it again")
    return config


def check_stage_one(recipe: Recipe) -> None:
    """Check that there is what stage 2 starts from.

    Raises:
        ValueError: There is not; names the folder and the mend.
    """
    if recipe.stage == 2 and recipe.start_dir is not None and not recipe.start_dir.exists():
        raise ValueError(f"no stage 1 result at {recipe.start_dir}; run stage 1 first, or set init_from")


def check_length(recipe: Recipe, text_config: Any) -> None:
    """Check that the language model has positions for the recipe's longest rows.

    Raises:
        ValueError: It has not; names both numbers.
    """
    context = text_config.max_position_embeddings
    if recipe.max_length > context:
        raise ValueError(
            f"max_length={recipe.max_length} is above the model's context of {context} tokens; "
            f"set max_length={context} or less"
        )


def load_tokenizer(
    section: Mapping[str, Any], key: str = "tokenizer", default: PreTrainedTokenizerBase | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer that a recipe's `model` section names.

    Args:
        section: The section.
        key: Which of its tokenizers.
        default: Where the section names none.

    Raises:
        ValueError: It names none and there is no default, or it cannot be loaded; names the key.
    """
    source = section.get(key)
    if not source and default is not None:
        return default
    if not source:
        raise ValueError(f"no model to start from: set init_from, or describe a model and its model.{key}")
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.{key}: cannot load {source!r}: {str(error).splitlines()[0]}") from error


def token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The fields of a language model's configuration that are its tokenizer's."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _config(section: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> RSUniVLMConfig:
    vision = {key: value for key, value in section.get("vision", {}).items() if key != "weights"}
    text = section.get("text", {})
    not_fields = ("tokenizer", "vision", "text", "number_embeddings")
    top = {key: value for key, value in section.items() if key not in not_fields}
    if section.get("number_embeddings", "random") not in ("random", "sine"):
        raise ValueError(f"model.number_embeddings is sine or random, not {section['number_embeddings']!r}")
    check_fields(vision, RSUniVLMVisionConfig, "model.vision.")
    check_fields(text, RSUniVLMTextConfig, "model.text.")
    check_fields(top, RSUniVLMConfig, "model.")
    try:
        return RSUniVLMConfig(
            vision_config=vision,
            text_config={**token_ids(tokenizer), **text},
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_MARK),
            **top,
        )
    except StrictDataclassError as error:
        raise ValueError(f"model: {' '.join(str(error).split())}") from error


def check_fields(settings: Any, config_class: type[PreTrainedConfig], prefix: str) -> None:
    """Check that every setting is a field of a configuration.

    Args:
        settings: What a recipe says.
        config_class: Whose fields they must be.
        prefix: Of the settings' names in messages, e.g. `model.text.`.

    Raises:
        ValueError: One is not, or the settings are no mapping; names it.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{prefix.rstrip('.')} must be a mapping of settings")
    known = {field.name for field in dataclasses.fields(config_class)}
    for key in settings:
        if key not in known:
            raise ValueError(f"unknown setting {prefix}{key}; {config_class.__name__} has no such field")


def load_vision_weights(tower: TimmVisionTower, weights: str) -> None:
    """Fill a vision tower.

    Args:
        tower: In memory.
        weights: `timm` for its published weights, the path of a file, or `none`.

    Raises:
        ValueError: There is no such file, or it lacks weights of the tower.
    """
    config: Any = tower.config
    if weights == "none":
        return
    if weights == "timm":
        import timm  # imports torchvision, which only this needs

        source = timm.create_model(config.timm_model, pretrained=True, num_classes=0, **config.timm_args)
        state = source.state_dict()
    elif not Path(weights).is_file():
        raise ValueError(f"model.vision.weights: no such file: {weights} (or say timm, or none)")
    elif weights.endswith(".safetensors"):
        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    # The file may hold more than the tower: blocks behind `feature_index` and the classifier.
    missing, _ = tower.backbone.load_state_dict(state, strict=False)
    if missing:
        raise ValueError(f"model.vision.weights: {weights} lacks {', '.join(missing[:5])}")


@torch.no_grad()
def _order_numbers(model: RSUniVLMForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
    """Start the embeddings of the tokens 0..100 on a smooth curve: neighbours alike, distant ones apart.

    Drawn at random, 101 coordinates are 101 unrelated words, and a small model spends most of its samples on
    finding out that 41 lies next to 42. Half of the channels hold sines and cosines of the number, in the
    manner of position encodings; the others stay as they were drawn.

    Raises:
        ValueError: The tokenizer writes one of the numbers with several tokens.
    """
    weight_VD: torch.Tensor = model.lm_head.weight  # tied to the input embedding
    quarter = weight_VD.shape[1] // 4
    rates = torch.logspace(0, -2, quarter)  # radians per unit: from 6 units a turn to 600
    for number in range(101):
        ids = tokenizer.encode(str(number), add_special_tokens=False)
        if len(ids) != 1:
            raise ValueError(f"number_embeddings: the tokenizer has no single token for {number}")
        curve = torch.cat([(number * rates).sin(), (number * rates).cos()])
        # Sines have mean square 1/2; scaled to the spread of the other embeddings.
        weight_VD[ids[0], : 2 * quarter] = curve * 2**0.5 * model.config.text_config.initializer_range
