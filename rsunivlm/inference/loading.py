"""Checkpoint folders to model and processor, with errors that name what is missing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError

if TYPE_CHECKING:
    from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
    from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
    from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

_ADAPTER = re.compile(r"\.adapter_[ab]_(\w+)$")
BUNDLED_CHECKPOINT = "playground/checkpoints/nano"


def bundled_checkpoint() -> Path:
    """Folder of the checkpoint that ships with the source tree.

    Raises:
        ValueError: The package runs from somewhere else than its source tree.
    """
    folder = Path(__file__).resolve().parents[2] / BUNDLED_CHECKPOINT
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"the bundled checkpoint is not here ({folder}); it comes with the source tree "
            "(`pip install -e .` in a clone). Name another checkpoint with --model"
        )
    return folder


def weights_checksum(model: torch.nn.Module) -> str:
    """`rsunivlm.models.checksum.weights_checksum`, for those who know models only through this module."""
    from rsunivlm.models import checksum  # its package imports transformers

    return checksum.weights_checksum(model)


def load_frontend(checkpoint: str | os.PathLike[str]) -> tuple[RSUniVLMConfig, RSUniVLMProcessor]:
    """Load configuration and processor of a checkpoint; its weights may be absent.

    Raises:
        ValueError: No such folder, no configuration or tokenizer, another architecture.
    """
    from rsunivlm.models.checkpoints.reading import read_config
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

    name = os.fspath(checkpoint)
    return read_config(name), _load_processor(name, RSUniVLMProcessor)


def load_checkpoint(
    checkpoint: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | Literal["auto"] | None = None,
    int8: bool = False,
) -> tuple[RSUniVLMForConditionalGeneration, RSUniVLMProcessor]:
    """Load model and processor of one checkpoint; see `RSUniVLM.from_pretrained`.

    A `dtype` of "auto" is the one the checkpoint is stored in.

    Raises:
        ValueError: No such folder, no configuration, another architecture, missing or misshapen weights; int8
            weights on anything but a CPU that can add their products exactly, or low-rank or routed experts.
    """
    from rsunivlm.models.rsunivlm.int8 import quantise, require_int8_processor
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration

    config, processor = load_frontend(checkpoint)
    place = choose_device(device)
    dtype = dtype or usual_dtype(place)
    if int8 or config.int8_weights:
        require_int8_processor(place, dtype)
    to_quantise = int8 and not config.int8_weights
    # Made int8 from the stored numbers, and without a wider copy.
    read_as = "auto" if to_quantise else dtype
    model = _load(os.fspath(checkpoint), config, RSUniVLMForConditionalGeneration, place, read_as)
    if to_quantise:
        quantise(model)
        # What a checkpoint stores, as `from_pretrained` would; the frequencies of the positions stay float32.
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    return model, processor


def load_rs_moe(
    checkpoint: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[RSMoEForConditionalGeneration, RSMoEProcessor]:
    """Load model and processor of a checkpoint of the other family.

    Raises:
        ValueError: As of `load_checkpoint`; an expert that the configuration names has no adapter.
    """
    from rsunivlm.models.checkpoints.reading import read_rs_moe_config
    from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
    from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor

    name = os.fspath(checkpoint)
    config = read_rs_moe_config(name)
    place = choose_device(device)
    model = _load(name, config, RSMoEForConditionalGeneration, place, dtype or usual_dtype(place))
    return model, _load_processor(name, RSMoEProcessor)


def choose_device(device: str | torch.device | None) -> torch.device:
    """The given device; else a GPU where there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def usual_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU; float32 on the CPU, where batched answers then equal single ones."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _load_processor(name: str, processor_class: Any) -> Any:
    from rsunivlm.models.checkpoints.reading import first_line

    try:
        return processor_class.from_pretrained(name)
    except OSError as error:
        raise ValueError(f"cannot load checkpoint {name}: {first_line(error)}") from error


def _load(
    name: str, config: Any, model_class: Any, device: torch.device, dtype: torch.dtype | Literal["auto"]
) -> Any:
    from rsunivlm.models.checkpoints.reading import first_line

    try:
        model, info = model_class.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # so that they are listed; refused just below
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot load checkpoint {name}: {first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    if absent := sorted({found[1] for key in missing if (found := _ADAPTER.search(key))}):
        raise ValueError(f"checkpoint {name} lacks the adapter of expert(s) {', '.join(absent)}")
    _refuse("lacks weights", name, missing)
    _refuse("has weights of the wrong shape", name, sorted(str(key) for key in info["mismatched_keys"]))
    _refuse("has unknown weights", name, sorted(info["unexpected_keys"]))
    return model.to(device)


def _refuse(what: str, name: str, keys: list[str]) -> None:
    if keys:
        shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
        raise ValueError(f"checkpoint {name} {what}: {shown}")


def quiet_libraries() -> None:
    """Keep progress bars and advice of the libraries below out of a command's output."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
