"""Pictures and models that decoding is tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from rsunivlm.inference.predictor import RSUniVLM


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Noise of several sizes; pictures that differ."""
    generator = np.random.default_rng(0)
    sizes = [(48, 64), (40, 40), (64, 48), (33, 90)]
    return [Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture
def make_predictor(make_tiny_model, tiny_processor) -> Callable[..., RSUniVLM]:
    """A predictor of three random experts; keywords go to `make_tiny_model`."""

    def make(num_experts: int = 3, **fields) -> RSUniVLM:
        return RSUniVLM(make_tiny_model(num_experts, **fields), tiny_processor)

    return make
