"""Export: each granularity expert of a checkpoint as a dense model that other code reads.

The router runs on the prompt and one expert answers a whole request, so a model with three experts is three
dense models that share all but the feed-forward networks. Stock engines serve each of them without our code;
what remains to do beside them is to send a request to the folder that `routes.json` names for its task token.

Tensors pass through one at a time. An export appears at its place whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from rsunivlm.models.checkpoints.files import StoredTensor, read_tensors
from rsunivlm.models.checkpoints.reading import first_line, read_config
from rsunivlm.models.checkpoints.targets.dense import write_dense
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.targets.gguf import write_gguf
from rsunivlm.models.checkpoints.targets.llava_hf import write_llava
from rsunivlm.models.checkpoints.targets.qwen2 import write_qwen2
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.int8 import require_float_weights
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.tasks import Granularity

ROUTES = "routes.json"
FORMATS: dict[str, Callable[[DenseView, RSUniVLMProcessor, Path], None]] = {
    "llava-hf": write_llava,
    "safetensors": write_dense,
    "qwen2": write_qwen2,
    "gguf": write_gguf,
}


def export_checkpoint(
    model_folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    granularity: str = "all",
    format: str = "llava-hf",
) -> list[Path]:
    """Write experts of a checkpoint as dense models.

    Args:
        model_folder: A checkpoint of ours.
        target: Folder to make; it may exist if it is empty.
        granularity: `image`, `region` or `pixel` writes that expert into `target`. `all` writes each into a
            folder of its name below `target`, and `routes.json` (task token -> folder); a dense model, which
            has no experts, goes into `target` itself.
        format: One of `FORMATS`.

    Returns:
        The folders with a model.

    Raises:
        ValueError: No such checkpoint, expert or format; the target holds something; or the format cannot
            express the model.
    """
    folder, goal = Path(model_folder), Path(target)
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    if not folder.is_dir():
        raise ValueError(f"no checkpoint folder {folder}")
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise ValueError(f"{goal} exists and is not an empty folder; export to a new one")
    config = read_config(folder)
    require_float_weights(config, "export")
    experts = _chosen_experts(config, granularity)
    try:
        processor = RSUniVLMProcessor.from_pretrained(folder)
    except OSError as error:
        raise ValueError(f"cannot load the processor of {folder}: {first_line(error)}") from error
    tensors = read_tensors(folder)
    _compare(folder, tensors, config)
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{goal.name}-", dir=goal.parent) as scratch:
        whole = Path(scratch) / "export"
        for name, expert in experts.items():
            (whole / name).mkdir(parents=True)
            FORMATS[format](DenseView(tensors, config, expert), processor, whole / name)
        if "" not in experts:
            routes = {token: _name(expert) for token, expert in (config.task_granularity or {}).items()}
            (whole / ROUTES).write_text(json.dumps(routes, indent=2) + "\n", encoding="utf-8")
        os.replace(whole, goal)
    return [goal / name for name in experts]


def _compare(folder: Path, tensors: Mapping[str, StoredTensor], config: RSUniVLMConfig) -> None:
    """Refuse weights that are not those of the configuration."""
    with torch.device("meta"):
        state = RSUniVLMForConditionalGeneration(config).state_dict()
    wanted = {(name, tuple(tensor.shape)) for name, tensor in state.items()}
    if config.tie_word_embeddings:
        wanted.discard(("lm_head.weight", tuple(state["lm_head.weight"].shape)))
    if odd := sorted(name for name, _ in wanted ^ {(name, item.shape) for name, item in tensors.items()}):
        raise ValueError(
            f"the weights in {folder} are not those of its config.json: {odd[0]} and {len(odd) - 1} other "
            "tensors are missing, unknown or of another shape; copy the checkpoint again"
        )


def _chosen_experts(config: RSUniVLMConfig, granularity: str) -> dict[str, int]:
    """Subfolder -> expert; the empty name is the export's own folder."""
    text = config.text_config
    if granularity not in {"all", *(_name(level) for level in Granularity)}:
        names = ", ".join(_name(level) for level in Granularity)
        raise ValueError(f"unknown granularity {granularity!r}; there are {names} and all")
    if text.num_routed_experts:
        raise ValueError(
            "this model chooses experts per token, so none of them is a dense model; only granularity "
            "experts can be exported"
        )
    if text.is_dense:
        if granularity != "all":
            raise ValueError(
                f"this model is dense and has no {granularity} expert; export it with granularity all"
            )
        return {"": 0}
    if text.num_experts != len(Granularity):
        raise ValueError(f"this model has {text.num_experts} experts; exports name {len(Granularity)}")
    if granularity == "all":
        return {_name(level): int(level) for level in Granularity}
    return {"": int(Granularity[granularity.upper()])}


def _name(expert: int) -> str:
    return Granularity(expert).name.lower()
