"""The chat format to the letter, masking, padding, and the two ways in (records and chat templates)."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


def test_prompt_text_is_the_published_chat_format(tiny_processor) -> None:
    ids, labels = tiny_processor.encode_conversation([("[VG] Where is the windmill?", None)], 1)
    text = tiny_processor.tokenizer.decode(ids).replace("<image>" * 4, "<image>")
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n"
        "[VG] Where is the windmill?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert set(labels) == {-100}


def test_loss_falls_on_answers_and_their_end_only(tiny_processor) -> None:
    turns = [("[VG] a ship", "[1, 2, 3, 4]"), ("[VG] a road", "[5, 6, 7, 8]")]
    ids, labels = tiny_processor.encode_conversation(turns, 2)
    supervised = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    assert tiny_processor.tokenizer.decode(supervised) == "[1, 2, 3, 4]<|im_end|>[5, 6, 7, 8]<|im_end|>"
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
    text = tiny_processor.tokenizer.decode(ids)
    assert text.count("<image>") == 2 * tiny_processor.num_image_tokens
    assert text.count("helpful assistant") == 1
    assert text.endswith(
        "<|im_end|>\n<|im_start|>user\n[VG] a road<|im_end|>\n<|im_start|>assistant\n[5, 6, 7, 8]<|im_end|>"
    )


def test_training_prefix_is_what_generation_sees(tiny_processor) -> None:
    trained, labels = tiny_processor.encode_conversation([("[VG] a ship", "[1, 2, 3, 4]")], 1)
    prompt, _ = tiny_processor.encode_conversation([("[VG] a ship", None)], 1)
    first = next(i for i, label in enumerate(labels) if label != -100)
    assert trained[:first] == prompt


def test_chat_template_gives_the_same_ids_and_routes(tiny_processor) -> None:
    picture = Image.new("RGB", (40, 30), "red")

    def chat(prompt: str, count: int) -> list[dict]:
        content = [{"type": "image", "image": picture}] * count + [{"type": "text", "text": prompt}]
        return [{"role": "user", "content": content}]

    prompts = [("[VG] the ship", 1), ("[CCD] what changed?", 2), ("[SEG] the road near the ship", 1)]
    batch = tiny_processor.apply_chat_template(
        [chat(*prompt) for prompt in prompts],
        tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
    )  # fmt: skip
    assert batch["expert_ids"].tolist() == [1, 0, 2]
    assert batch["pixel_values"].shape == (4, 3, 32, 32)
    for row, mask, (prompt, count) in zip(batch["input_ids"], batch["attention_mask"], prompts, strict=True):
        assert row[mask.bool()].tolist() == tiny_processor.encode_conversation([(prompt, None)], count)[0]
        assert mask.tolist() == sorted(mask.tolist())  # padding on the left


def test_two_images_are_separated_as_the_configuration_says(tiny_processor) -> None:
    processor = RSUniVLMProcessor(
        tiny_processor.image_processor, tiny_processor.tokenizer, num_image_tokens=4, image_separator=" "
    )
    text = processor.apply_chat_template(
        [{"role": "user", "content": [*[{"type": "image"}] * 2, {"type": "text", "text": "[CCD] a"}]}],
        add_generation_prompt=True,
    )
    ids = processor(images=[Image.new("RGB", (8, 8))] * 2, text=text)["input_ids"][0].tolist()
    assert ids == processor.encode_conversation([("[CCD] a", None)], 2)[0]


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"), reason="loses the mask behind an image"
)
def test_assistant_mask_is_what_training_supervises(tiny_processor) -> None:
    turns = [("[VG] a ship", "[1, 2, 3, 4]"), ("[VG] a road", "[5, 6]")]
    chat: list[dict] = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    chat[0]["content"].insert(0, {"type": "image", "image": Image.new("RGB", (8, 8))})
    batch = tiny_processor.apply_chat_template(
        [chat, chat[2:]],
        tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True,
    )  # fmt: skip
    for row, (ids, labels) in enumerate(
        (tiny_processor.encode_conversation(turns, 1), tiny_processor.encode_conversation(turns[1:], 0))
    ):
        end = tiny_processor.tokenizer.encode("\n")  # the template closes every turn with it
        assert batch["input_ids"][row, -len(ids) - 1 :].tolist() == ids + end
        assert batch["assistant_masks"][row, -len(ids) - 1 :].tolist() == [int(i != -100) for i in labels] + [
            0
        ]


def test_options_of_other_processors(tiny_processor) -> None:
    picture = Image.new("RGB", (8, 8), "blue")
    batch = tiny_processor(text=["<image>", "ab"], images=[[picture], []], padding="max_length", max_length=9)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 9)
    assert batch["attention_mask"][0].tolist() == [0] * 5 + [1] * 4
    lists = tiny_processor(text="<image>", images=picture, return_tensors=None)
    assert lists["input_ids"] == [[tiny_processor.image_token_id] * 4]
    assert lists["expert_ids"] == [0]
    with pytest.raises(ValueError, match="no options size"):
        tiny_processor(text="<image>", images=picture, images_kwargs={"size": {"height": 9, "width": 9}})


def test_pictures_arrays_and_files_are_the_same(tiny_processor, tmp_path) -> None:
    values = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    picture = Image.fromarray(values)
    picture.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.rotate(180).save(tmp_path / "b.png", exif=exif)
    want = tiny_processor(text="<image>", images=picture)["pixel_values"]
    encoded = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for given in (values, torch.from_numpy(values), encoded, *files):
        assert torch.equal(tiny_processor(text="<image>", images=given)["pixel_values"], want)


def test_last_user_turn_routes_a_conversation(tiny_processor) -> None:
    chat = [
        {"role": "user", "content": "[SEG] the road"},
        {"role": "assistant", "content": "others*4"},
        {"role": "user", "content": "[VG] the ship"},
    ]
    batch = tiny_processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    assert batch["expert_ids"].tolist() == [1]


def test_control_tokens_and_wrong_image_counts_are_refused(tiny_processor) -> None:
    for text in ("[VQA] a <image> b", "[VQA] stop<|im_end|>"):
        with pytest.raises(ValueError, match="control token"):
            tiny_processor.encode_conversation([(text, None)], 1)
    with pytest.raises(ValueError, match="2 <image> marks, 1 images"):
        tiny_processor(images=Image.new("RGB", (8, 8)), text="<image><image>\nhi")


def test_pixels_by_hand() -> None:
    picture = Image.fromarray(np.full((10, 20, 3), 255, np.uint8))
    squash = RSUniVLMImageProcessor(image_size=20)(picture)["pixel_values"]
    assert torch.equal(squash, torch.ones(1, 3, 20, 20))  # (1 - 0.5) / 0.5
    pad = RSUniVLMImageProcessor(image_size=20, resize_mode="pad")(picture)["pixel_values"]
    torch.testing.assert_close(pad[0, 0, 0, 0], torch.tensor(-0.0039), atol=1e-4, rtol=0)
    assert torch.equal(pad[0, :, 5:15], torch.ones(3, 10, 20))
    gradient = Image.fromarray(np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(64, 0)).convert("RGB")
    expected = np.asarray(gradient.resize((20, 20), Image.Resampling.BICUBIC), dtype=np.float32) / 127.5 - 1
    ours = RSUniVLMImageProcessor(image_size=20)(gradient)["pixel_values"][0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_auto_classes_load_what_was_saved(tiny_checkpoint) -> None:
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    assert isinstance(processor, RSUniVLMProcessor)
    assert processor.num_image_tokens == 4
    assert isinstance(
        AutoModelForImageTextToText.from_pretrained(tiny_checkpoint), RSUniVLMForConditionalGeneration
    )
    assert AutoConfig.from_pretrained(tiny_checkpoint).task_granularity["[SEG]"] == 2
