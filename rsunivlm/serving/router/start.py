"""A router out of the options of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rsunivlm.inference.frontend import Frontend
from rsunivlm.serving.router.backends import Backends, read_backends
from rsunivlm.serving.router.engine import RouterEngine
from rsunivlm.serving.router.prompts import ChatPrompts, EmbeddingPrompts, PromptWriter

Form = Literal["chat", "embeddings"]


def start_router(
    checkpoint: str | Path,
    *,
    urls: Sequence[str],
    models: Sequence[str] = (),
    form: Form | None = None,
    device: str | None = None,
    slots: int,
    api_key: str | None = None,
) -> tuple[Frontend, RouterEngine, Backends]:
    """Start the engine of a router.

    Args:
        checkpoint: The checkpoint whose exported experts the servers serve.
        urls: See `read_backends`.
        models: See `read_backends`.
        form: What is sent; None takes chats where stock LLaVA classes can read the checkpoint's images.
        device: Where images are encoded if embeddings are sent.
        slots: Questions asked at the same time.
        api_key: Of the servers.

    Raises:
        ValueError: A checkpoint or a server that is none; a form that the checkpoint's images do not have.
    """
    frontend = Frontend.from_pretrained(checkpoint)
    backends = read_backends(urls, models, frontend.config.num_experts)
    writer = _writer(frontend, checkpoint, form, device)
    engine = RouterEngine(frontend, writer, backends, slots=slots, api_key=api_key)
    return frontend, engine, backends


def _writer(
    frontend: Frontend, checkpoint: str | Path, form: Form | None, device: str | None
) -> PromptWriter:
    if form != "embeddings":
        try:
            return ChatPrompts(frontend)
        except ValueError as error:
            if form == "chat":
                raise ValueError(f"--backend-input chat does not fit {checkpoint}: {error}") from error
    return EmbeddingPrompts.from_pretrained(checkpoint, device)
