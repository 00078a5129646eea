"""Which checkpoint a name means, and its configuration: asked before anything large is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from transformers import AutoConfig

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig

_Config = TypeVar("_Config", RSUniVLMConfig, RSMoEConfig)


def is_checkpoint_name(name: str) -> bool:
    """Whether a name is something that lies on disk or has the form of a hub id, `owner/name`."""
    return Path(name).exists() or (name.count("/") == 1 and not name.startswith((".", "/", "~")))


def read_config(checkpoint: str | os.PathLike[str]) -> RSUniVLMConfig:
    """Configuration of an RSUniVLM checkpoint folder or hub id.

    Raises:
        ValueError: See `read_any_config`; or it belongs to the other family.
    """
    return _of_family(checkpoint, RSUniVLMConfig)


def read_rs_moe_config(checkpoint: str | os.PathLike[str]) -> RSMoEConfig:
    """Configuration of an RS-MoE checkpoint folder or hub id.

    Raises:
        ValueError: See `read_any_config`; or it belongs to the other family.
    """
    return _of_family(checkpoint, RSMoEConfig)


def read_any_config(checkpoint: str | os.PathLike[str]) -> RSUniVLMConfig | RSMoEConfig:
    """Configuration of a checkpoint folder or a hub id, of either family.

    Raises:
        ValueError: No such checkpoint, no configuration in it, or another architecture.
    """
    name = os.fspath(checkpoint)
    folder = Path(name)
    if not is_checkpoint_name(name):
        raise ValueError(f"no checkpoint folder {name}, and it is no hub id of the form owner/name")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"checkpoint folder {name} has no config.json")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} is a file; name the checkpoint's folder")
    try:
        config = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise ValueError(f"cannot load checkpoint {name}: {first_line(error)}") from error
    if not isinstance(config, RSUniVLMConfig | RSMoEConfig):
        raise ValueError(
            f"checkpoint {name} is of type {config.model_type!r}, not {RSUniVLMConfig.model_type!r} or "
            f"{RSMoEConfig.model_type!r}"
        )
    return config


def _of_family(checkpoint: str | os.PathLike[str], config_class: type[_Config]) -> _Config:
    config = read_any_config(checkpoint)
    if not isinstance(config, config_class):
        raise ValueError(
            f"checkpoint {os.fspath(checkpoint)} is of type {config.model_type!r}, not "
            f"{config_class.model_type!r}"
        )
    return config


def first_line(error: Exception) -> str:
    """The first line of a library's message; its name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
