"""Tiny random models of two foreign families, saved as folders."""

from pathlib import Path

import pytest

# Typed content to the text that the processors expect; IMAGE is the family's placeholder.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def text_config(tokenizer):
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "initializer_range": 0.2,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.pad_token_id,
    }


@pytest.fixture(scope="session")
def llava(tiny_tokenizer_dir: Path, tmp_path_factory) -> Path:
    """LLaVA: every image becomes 32 x 32 pixels and four tokens; nothing is cropped."""
    import torch
    import transformers

    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_tokenizer_dir)
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        ),
        text_config=transformers.Qwen2Config(**text_config(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    folder = tmp_path_factory.mktemp("llava")
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def qwen2_vl(tiny_tokenizer_dir: Path, tmp_path_factory) -> Path:
    """Qwen2-VL: images keep their shape, in multiples of 28 pixels; it is saved as one that samples."""
    import torch
    import transformers

    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_tokenizer_dir)
    names = ("vision_start", "vision_end", "image_pad", "video_pad")
    marks = {name: f"<|{name}|>" for name in names}
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks.values())})
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=56**2, max_pixels=400**2),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    config = transformers.Qwen2VLConfig(
        text_config=text_config(tokenizer) | {"rope_parameters": rope},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    model = transformers.Qwen2VLForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=2.0, repetition_penalty=1.5, eos_token_id=[5, 7]
    )
    folder = tmp_path_factory.mktemp("qwen2_vl")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
