"""Questions in the words of an OpenAI-compatible engine, as pixels or as embeddings.

`ChatPrompts` sends the images, already resized as the checkpoint wants them, to an engine that serves a whole
expert (`rsunivlm export --format llava-hf`). The router then needs no weights. `EmbeddingPrompts` encodes the
images itself and sends the embeddings of the whole prompt to an engine that serves an expert's language model
(`--format qwen2`): the road for towers and image marks that stock LLaVA classes cannot express, and the one
on which three experts share one vision tower.

Shapes: N images, S tokens an image, L prompt, D hidden.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from rsunivlm.images import open_image
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.inference.preparation import Prompt

if TYPE_CHECKING:
    import os
    from typing import Self

    from PIL import Image

    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

KEPT_IMAGES = 64  # embeddings of so many images stay


class PromptWriter(Protocol):
    """Writes the prompt of a request's body."""

    path: str

    def write(self, prompt: Prompt) -> dict[str, Any]:
        """The fields of the body that hold the prompt; takes a while, so run it in a thread."""
        ...


class ChatPrompts:
    """Messages with images as data URLs, for ``/v1/chat/completions``."""

    path = "/v1/chat/completions"

    def __init__(self, frontend: Frontend) -> None:
        """Prepare for a checkpoint.

        Raises:
            ValueError: Stock LLaVA classes cannot read its images.
        """
        from rsunivlm.models.checkpoints.targets.llava_hf import llava_config  # imports transformers

        llava_config(frontend.config)  # refuses
        if separator := frontend.config.image_separator:
            raise ValueError(
                f"this checkpoint writes {separator!r} between two images, chat templates do not"
            )
        self._image_processor = frontend.processor.image_processor

    def write(self, prompt: Prompt) -> dict[str, Any]:
        """See `PromptWriter.write`."""
        pictures = [self._image_processor.square(open_image(image)) for image in prompt.request.images]
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in pictures
        ]
        messages: list[dict[str, Any]] = []
        for question, answer in prompt.request.history:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": prompt.text})
        messages[0]["content"] = [*parts, {"type": "text", "text": messages[0]["content"]}]
        return {"messages": messages}


class EmbeddingPrompts:
    """Embeddings of all tokens of a prompt, its images' included, for ``/v1/completions``."""

    path = "/v1/completions"

    def __init__(self, model: RSUniVLMForConditionalGeneration, processor: RSUniVLMProcessor) -> None:
        """Keep of a model what comes before its language model's layers."""
        model.model.language_model.layers = nn.ModuleList()
        self._model, self._processor = model.eval(), processor
        self._images: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(cls, checkpoint: str | os.PathLike[str], device: str | None = None) -> Self:
        """Load a checkpoint; see `RSUniVLM.from_pretrained`."""
        return cls(*load_checkpoint(checkpoint, device=device))

    def write(self, prompt: Prompt) -> dict[str, Any]:
        """See `PromptWriter.write`."""
        stream = io.BytesIO()
        torch.save(self.embed(prompt), stream)
        return {"prompt_embeds": base64.b64encode(stream.getvalue()).decode()}

    @torch.inference_mode()
    def embed(self, prompt: Prompt) -> Tensor:
        """The embeddings [L, D] that the language model reads."""
        with self._lock:
            seen = zip(prompt.images, prompt.request.images, strict=True)
            image_nSD = torch.stack([self._see(key, image) for key, image in seen])
            ids_L = torch.tensor(prompt.input_ids)
            embeds_LD: Tensor = self._model.get_input_embeddings()(ids_L.to(self._model.device)).cpu()
            embeds_LD[ids_L == self._processor.image_token_id] = image_nSD.flatten(0, 1)
            return embeds_LD

    def _see(self, key: Hashable, image: Any) -> Tensor:
        if key not in self._images:
            pixels = self._processor.preprocess_images([open_image(image)])
            pixels = pixels.to(self._model.device, self._model.dtype)
            self._images[key] = self._model.get_image_features(pixels).pooler_output[0].cpu()
            if len(self._images) > KEPT_IMAGES:
                self._images.popitem(last=False)
        self._images.move_to_end(key)
        return self._images[key]


def _data_url(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
