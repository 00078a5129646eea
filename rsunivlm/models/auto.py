"""The model families, and how transformers' Auto classes come to know them (no remote code involved).

A family is one line of `FAMILIES`. Its files and classes are named as transformers names them, so the line
says only what cannot be derived. Each Auto module of transformers is told when it is loaded
(`rsunivlm.after_import`), and only then are the classes in question imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Family(NamedTuple):
    """One model family in `rsunivlm.models`.

    Attributes:
        model_type: `model_type` of its configuration, and the name of its folder.
        prefix: What the names of its classes begin with.
        image_processor: Module and class of its image processor.
        has_base: It has a model without a head.
    """

    model_type: str
    prefix: str
    image_processor: str
    has_base: bool = True

    def load(self, file: str, suffix: str) -> Any:
        """A class of the family, e.g. `load("configuration", "Config")`."""
        module = f"rsunivlm.models.{self.model_type}.{file}_{self.model_type}"
        return getattr(importlib.import_module(module), self.prefix + suffix)

    def load_image_processor(self) -> Any:
        """The class of its image processor, which families may share."""
        module, _, name = self.image_processor.rpartition(".")
        return getattr(importlib.import_module(module), name)


_SQUARE = "rsunivlm.models.rsunivlm.image_processing_rsunivlm.RSUniVLMImageProcessor"

FAMILIES = (
    Family("rsunivlm", "RSUniVLM", _SQUARE),
    Family("rs_moe", "RSMoE", _SQUARE, has_base=False),
)


def _register_config(auto: Any, family: Family) -> None:
    auto.AutoConfig.register(family.model_type, family.load("configuration", "Config"), exist_ok=True)


def _register_models(auto: Any, family: Family) -> None:
    config = family.load("configuration", "Config")
    generation = family.load("modeling", "ForConditionalGeneration")
    if family.has_base:
        auto.AutoModel.register(config, family.load("modeling", "Model"), exist_ok=True)
    auto.AutoModelForImageTextToText.register(config, generation, exist_ok=True)
    auto.AutoModelForMultimodalLM.register(config, generation, exist_ok=True)


def _register_image_processor(auto: Any, family: Family) -> None:
    config = family.load("configuration", "Config")
    # One class, whichever backend is asked for: PIL gives the same bytes everywhere.
    classes = dict.fromkeys(("pil", "torchvision"), family.load_image_processor())
    auto.AutoImageProcessor.register(config, image_processor_classes=classes, exist_ok=True)


def _register_processor(auto: Any, family: Family) -> None:
    config = family.load("configuration", "Config")
    auto.AutoProcessor.register(config, family.load("processing", "Processor"), exist_ok=True)


_REGISTRATIONS: Mapping[str, Callable[[Any, Family], None]] = MappingProxyType(
    {
        "transformers.models.auto.configuration_auto": _register_config,
        "transformers.models.auto.modeling_auto": _register_models,
        "transformers.models.auto.image_processing_auto": _register_image_processor,
        "transformers.models.auto.processing_auto": _register_processor,
    }
)


def register(auto_module: str) -> None:
    """Tell one of transformers' Auto modules about all families; again changes nothing.

    Args:
        auto_module: Full name of the module; one that we have nothing for is left alone.
    """
    registration = _REGISTRATIONS.get(auto_module)
    if registration is not None:
        for family in FAMILIES:
            registration(importlib.import_module(auto_module), family)
