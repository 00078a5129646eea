"""RSUniVLM: one vision-language model for the common questions about aerial and satellite images.

Names are loaded on first use, so that ``import rsunivlm`` costs nothing; transformers' Auto classes learn of
the models when they are loaded themselves (see `rsunivlm.after_import`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rsunivlm.after_import import install

__version__ = "0.1.0"

_EXPORTS = {
    "Answer": "rsunivlm.inference.answer",
    "BoxCodec": "rsunivlm.codecs.boxes",
    "Granularity": "rsunivlm.tasks",
    "MaskCodec": "rsunivlm.codecs.masks",
    "RSMoE": "rsunivlm.inference.rs_moe",
    "RSUniVLM": "rsunivlm.inference.predictor",
    "RSUniVLMConfig": "rsunivlm.models.rsunivlm.configuration_rsunivlm",
    "RSUniVLMForConditionalGeneration": "rsunivlm.models.rsunivlm.modeling_rsunivlm",
    "RSUniVLMProcessor": "rsunivlm.models.rsunivlm.processing_rsunivlm",
    "Request": "rsunivlm.inference.answer",
    "Route": "rsunivlm.tasks",
    "Task": "rsunivlm.tasks",
    "load_predictor": "rsunivlm.inference.families",
    "route": "rsunivlm.tasks",
}

__all__ = ["__version__", *sorted(_EXPORTS)]

if TYPE_CHECKING:
    from rsunivlm.codecs.boxes import BoxCodec as BoxCodec
    from rsunivlm.codecs.masks import MaskCodec as MaskCodec
    from rsunivlm.inference.answer import Answer as Answer
    from rsunivlm.inference.answer import Request as Request
    from rsunivlm.inference.families import load_predictor as load_predictor
    from rsunivlm.inference.predictor import RSUniVLM as RSUniVLM
    from rsunivlm.inference.rs_moe import RSMoE as RSMoE
    from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig as RSUniVLMConfig
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import (
        RSUniVLMForConditionalGeneration as RSUniVLMForConditionalGeneration,
    )
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor as RSUniVLMProcessor
    from rsunivlm.tasks import Granularity as Granularity
    from rsunivlm.tasks import Route as Route
    from rsunivlm.tasks import Task as Task
    from rsunivlm.tasks import route as route


install()


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'rsunivlm' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
