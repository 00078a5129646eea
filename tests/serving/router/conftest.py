"""A router in front of doubles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from openai_double import OpenAIDouble

from rsunivlm.serving.router.backends import read_backends
from rsunivlm.serving.router.engine import RouterEngine
from rsunivlm.serving.router.prompts import EmbeddingPrompts


@pytest.fixture
def double() -> Iterator[Callable[..., OpenAIDouble]]:
    """Factory of servers."""
    doubles: list[OpenAIDouble] = []

    def make(*pieces: str) -> OpenAIDouble:
        doubles.append(OpenAIDouble(*pieces))
        return doubles[-1]

    yield make
    for server in doubles:
        server.stop()


@pytest.fixture
def route(start, predictor, make_tiny_model, tiny_processor) -> Iterator[Callable[..., httpx.Client]]:
    """Start a router for backends as on the command line; returns a client."""
    engines: list[RouterEngine] = []

    def run(*urls: str, models: tuple[str, ...] = (), slots: int = 8, api_key=None, **settings):
        backends = read_backends(urls, models, 3)
        writer = EmbeddingPrompts(make_tiny_model(num_experts=3), tiny_processor)
        engines.append(RouterEngine(predictor, writer, backends, slots=slots, api_key=api_key))
        return start(engines[-1], backends, slots=slots, **settings)

    yield run
    for engine in engines:
        engine.close(drain=False)


@pytest.fixture
def siglip_model(make_tiny_model):
    """A random model that stock LLaVA can express."""
    return make_tiny_model(
        num_experts=3,
        vision_config={
            "timm_model": "vit_so400m_patch14_siglip_384",
            "timm_args": {
                "act_layer": "gelu_tanh",
                "img_size": 32,
                "embed_dim": 32,
                "depth": 2,
                "num_heads": 2,
                "mlp_ratio": 2.5,
            },
            "feature_index": 1,
            "image_size": 32,
            "hidden_size": 32,
            "tokens_per_side": 2,
        },
    )
