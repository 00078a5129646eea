"""The two forms of a prompt: messages with images at the model's size, and embeddings."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from messages import png
from PIL import Image

from rsunivlm.inference.answer import Request
from rsunivlm.inference.frontend import Frontend
from rsunivlm.serving.router.prompts import ChatPrompts, EmbeddingPrompts
from rsunivlm.serving.router.start import start_router

REQUEST = Request(
    [png(1), png(2)],
    "[CCD] and roads?",
    history=[("[CCD] What has changed?", "a ship")],
)


@pytest.fixture
def weightless(siglip_model, tiny_processor, tmp_path):
    """A SigLIP checkpoint without its weights."""
    siglip_model.config.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    return tmp_path


def test_a_chat_holds_the_models_own_pixels(weightless) -> None:
    frontend = Frontend.from_pretrained(weightless)
    fields = ChatPrompts(frontend).write(frontend.prepare(REQUEST))
    first, answer, last = fields["messages"]
    assert answer == {"role": "assistant", "content": "a ship"}
    assert last == {"role": "user", "content": "[CCD] and roads?"}
    *images, words = first["content"]
    assert words == {"type": "text", "text": "[CCD] What has changed?"}
    for part, file in zip(images, REQUEST.images, strict=True):
        sent = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
        expected = Image.open(io.BytesIO(file)).resize((32, 32), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(np.array(sent), np.array(expected))


def test_embeddings_are_what_the_language_model_reads(make_tiny_model, tiny_processor) -> None:
    model = make_tiny_model(num_experts=3, image_newline=True)
    processor = type(tiny_processor)(
        tiny_processor.image_processor, tiny_processor.tokenizer, num_image_tokens=5
    )
    prompt = Frontend(model.config, processor).prepare(REQUEST)
    pixels = processor.preprocess_images([Image.open(io.BytesIO(file)) for file in REQUEST.images])
    expert = torch.tensor([prompt.expert])
    whole = model(input_ids=torch.tensor([prompt.input_ids]), pixel_values=pixels, expert_ids=expert).logits
    fields = EmbeddingPrompts(make_tiny_model(num_experts=3, image_newline=True), processor).write(prompt)
    loaded = torch.load(io.BytesIO(base64.b64decode(fields["prompt_embeds"])), weights_only=True)
    assert loaded.shape == (len(prompt.input_ids), 64)
    torch.testing.assert_close(model(inputs_embeds=loaded[None], expert_ids=expert).logits, whole)


def test_chats_need_no_weights(weightless) -> None:
    frontend, engine, backends = start_router(weightless, urls=["http://127.0.0.1:9"], slots=1)
    engine.close()
    assert frontend.config.num_experts == 3
    assert [backend.expert for backend in backends] == ["image", "region", "pixel"]
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        start_router(weightless, urls=["http://127.0.0.1:9"], form="embeddings", slots=1)
    config = frontend.config
    config.image_separator = " "
    with pytest.raises(ValueError, match="between two images"):
        ChatPrompts(frontend)
