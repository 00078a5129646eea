"""`pipeline("image-text-to-text")` on a checkpoint folder gives the tokens of `generate`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import pipeline

LIMITS = {"max_new_tokens": 8}


def noise(seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 256, (40, 30, 3), generator=generator, dtype=torch.uint8).numpy())


def chat(prompt: str, *images: Image.Image | Path) -> list[dict]:
    content = [
        {"type": "image", "path": str(image)}
        if isinstance(image, Path)
        else {"type": "image", "image": image}
        for image in images
    ]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


@pytest.fixture
def ask(tiny_checkpoint: Path):
    return pipeline("image-text-to-text", model=str(tiny_checkpoint))


@pytest.fixture
def generated(ask):
    """Answers of `generate` on single chats: token ids, and the text."""

    def answer(messages: list[dict], **options) -> tuple[list[int], str]:
        processor, model = ask.processor, ask.model
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        assert inputs["expert_ids"].shape == (1,)
        ids = model.generate(**inputs, **LIMITS, do_sample=False, **options)[
            0, inputs["input_ids"].shape[1] :
        ]
        return ids.tolist(), processor.decode(ids, skip_special_tokens=True)

    return answer


def test_chats_one_by_one_and_in_a_batch(ask, generated, tmp_path: Path) -> None:
    noise(1).save(tmp_path / "one.png")
    chats = [
        chat("[VG] the red vehicle near the airplane", tmp_path / "one.png"),
        chat("[CCD] what changed?", noise(1), noise(2)),
        chat("[SEG] others", noise(2)),
    ]
    want = [generated(messages) for messages in chats]
    assert len({tuple(ids) for ids, _ in want}) == 3
    for messages, (ids, text) in zip(chats, want, strict=True):
        result = ask(text=messages, return_tensors=True, **LIMITS)[0]["generated_token_ids"].tolist()
        assert result[-len(ids) :] == ids
        assert ask(text=messages, return_full_text=False, **LIMITS)[0]["generated_text"] == text
    batch = ask(text=chats, return_full_text=False, batch_size=3, **LIMITS)
    assert [row[0]["generated_text"] for row in batch] == [text for _, text in want]


def test_rendered_chats_with_pictures_beside_them(ask, generated) -> None:
    prompts = ["[VG] a ship", "[CAP] is there a ship in the image?"]
    rendered = [
        ask.processor.apply_chat_template(chat(prompt, noise(1)), add_generation_prompt=True)
        for prompt in prompts
    ]
    answers = ask(images=[noise(1), noise(2)], text=rendered, return_full_text=False, **LIMITS)
    want = [generated(chat(prompt, noise(1 + row)))[1] for row, prompt in enumerate(prompts)]
    assert [answer["generated_text"] for answer in answers] == want


def test_generate_options_and_whole_conversations(ask, generated) -> None:
    messages = chat("[VG] a ship", noise(3))
    beams = ask(text=messages, generate_kwargs={"num_beams": 2, **LIMITS})[0]["generated_text"]
    assert beams[:-1] == messages
    assert beams[-1] == {"role": "assistant", "content": generated(messages, num_beams=2)[1]}


def test_a_picture_without_its_mark_is_refused(ask) -> None:
    with pytest.raises(ValueError, match="0 <image> marks, 1 images were given; apply_chat_template"):
        ask(images=noise(1), text="[VG] a ship")
