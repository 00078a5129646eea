"""Answers come back in order, typed, and batching changes none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from rsunivlm.inference.answer import Request
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.tasks import Task


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.fixture
def model(tiny_checkpoint: Path) -> RSUniVLM:
    return RSUniVLM.from_pretrained(tiny_checkpoint)


def say(model: RSUniVLM, text: str) -> None:
    """Make the model write `text`, so that decoding can be tested on known answers."""

    def decode(jobs, *_):
        for job in jobs:
            job.tokens = model.processor.tokenizer.encode(text)
            job.finished = True
            with Image.open(job.prompt.request.images[-1]) as shown:
                job.size = shown.size

    model._decode = decode


def test_batched_answers_equal_single_ones_in_order(model: RSUniVLM, picture: Path) -> None:
    requests = [
        Request([picture], "[SEG] Please segment the road in this image."),
        Request([picture], "[VG] the red vehicle"),
        Request([picture, picture], "[CCD] What are the differences between these two images?"),
        Request([picture], "[VQA] Is there a ship?"),
        Request([picture], "[VG] the airplane near the largest building in the image"),
        Request([picture], "[REF] what is [1, 2, 30, 40]?"),
    ]
    together = model.answer_batch(requests, batch_size=3, max_new_tokens=10)
    for request, answer in zip(requests, together, strict=True):
        alone = model.answer_batch([request], max_new_tokens=10)[0]
        assert (answer.text, answer.route) == (alone.text, alone.route)
    kinds = [(a.boxes_px is not None, a.mask is not None) for a in together]
    assert kinds == [
        (False, True),
        (True, False),
        (False, False),
        (False, False),
        (True, False),
        (False, False),
    ]


def test_boxes_come_in_pixels(model: RSUniVLM, picture: Path) -> None:
    say(model, "[0, 50, 25, 100]")
    answer = model.ask(picture, "[VG] the ship")
    np.testing.assert_allclose(answer.boxes_px, [[0, 24, 16, 48]])
    assert answer.route.task is Task.VG
    assert answer.finished
    assert answer.to_json()["boxes_px"] == [[0, 24, 16, 48]]


def test_masks_come_at_the_size_of_the_image_with_the_labels_of_the_answer(
    model: RSUniVLM, picture: Path
) -> None:
    say(model, "others*2, building*2\nothers*2, building*2\nothers*4\nothers*4")
    answer = model.ask(picture, "[SEG] Can you segment the building in this image?")
    assert answer.labels == ("others", "building")
    assert answer.mask.shape == (48, 64)
    assert answer.mask[4, 60] == 1
    assert answer.mask[40].max() == 0
    assert answer.report.valid
    share = answer.to_json()["mask_share"]["building"]
    assert share == pytest.approx(0.25, abs=0.03)


def test_alias_and_missing_tokens_become_our_token(model: RSUniVLM, picture: Path) -> None:
    seen = []
    encode = model.processor.encode_conversation
    model.processor.encode_conversation = lambda turns, count: (
        seen.append(turns[0][0]),
        encode(turns, count),
    )[1]
    for prompt, task in (("[refer] the ship", None), ("Where is the ship?", None), ("the ship", "vg")):
        model.ask(picture, prompt, task=task, max_new_tokens=1)
    assert seen == ["[VG] the ship", "[VG] Where is the ship?", "[VG] the ship"]


@pytest.mark.parametrize(
    ("count", "prompt", "message"),
    [
        (1, "[CCD] what changed?", r"looks at 2 image\(s\), 1 were given"),
        (2, "[VG] the ship", r"looks at 1 image\(s\), 2 were given"),
        (3, "[CCD] what changed?", "one image, or two"),
        (1, "<image><image>\n[CCD] what changed?", "2 <image> marks but 1 images"),
        (1, "[VQA] is<|im_end|> there", "control token"),
    ],
)
def test_bad_requests_are_refused(
    model: RSUniVLM, picture: Path, count: int, prompt: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.ask([picture] * count, prompt)


def test_incomplete_checkpoints_name_what_is_missing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint folder"):
        load_checkpoint(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ValueError, match=r"bare has no config\.json"):
        load_checkpoint(bare)
    weights = load_file(tiny_checkpoint / "model.safetensors")
    for change, message in (
        (
            {"model.multi_modal_projector.linear_1.bias": None},
            r"lacks weights: model\.multi_modal_projector\.linear_1\.bias",
        ),
        ({"model.language_model.norm.weight": np.zeros(3, np.float32)}, "wrong shape.*norm"),
        ({"model.surprise": np.zeros(3, np.float32)}, r"unknown weights: model\.surprise"),
    ):
        import torch

        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(tiny_checkpoint, broken)
        state = dict(weights)
        for name, value in change.items():
            if value is None:
                del state[name]
            else:
                state[name] = torch.from_numpy(value)
        save_file(state, broken / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=message):
            load_checkpoint(broken)
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    (tiny_checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    with pytest.raises(ValueError, match="'qwen2', not 'rsunivlm'"):
        load_checkpoint(tiny_checkpoint)
    (tiny_checkpoint / "config.json").write_text(json.dumps(config))
    whole = (tiny_checkpoint / "model.safetensors").read_bytes()
    (tiny_checkpoint / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot load checkpoint"):
        load_checkpoint(tiny_checkpoint)
