"""RS-MoE's answers: what each setting makes of the drafts, batches, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from rsunivlm.cli import main
from rsunivlm.inference import rs_moe
from rsunivlm.inference.answer import Request
from rsunivlm.inference.drafting import Draft, write_drafts
from rsunivlm.inference.families import load_predictor
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.rs_moe import RSMoE
from rsunivlm.models.rs_moe.aggregation import concatenate
from rsunivlm.models.rs_moe.upcycling import as_copies
from rsunivlm.tasks import Task

CAPTION = "[CAP] describe it"
QUESTION = "[VQA] is there a ship?"


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def make_model(make_tiny_rs_moe):
    return lambda **fields: RSMoE(*make_tiny_rs_moe(**fields))


@pytest.fixture
def checkpoint(make_tiny_rs_moe, tmp_path: Path) -> Path:
    model, processor = make_tiny_rs_moe()
    model.save_pretrained(tmp_path / "rs_moe")
    processor.save_pretrained(tmp_path / "rs_moe")
    return tmp_path / "rs_moe"


def ask(model: RSMoE, picture: Image.Image, prompt: str = CAPTION):
    return model.ask(picture, prompt, max_new_tokens=8)


def drafts_of(model: RSMoE, picture: Image.Image, prompt: str) -> list[Draft]:
    """What the three experts write, asked past the predictor."""
    asked = model._asked(Request([picture], prompt), 8)
    features = torch.stack(list(model._see([asked]).values())).expand(3, -1, -1)
    return write_drafts(model.model, model.processor, model._rows(asked), features, [8] * 3)


def test_a_caption_is_its_drafts_put_together(make_model, picture) -> None:
    answer = ask(make_model(), picture)
    assert list(answer.drafts) == ["theme", "objects", "relations"]
    assert answer.text == concatenate(list(answer.drafts.values()))
    assert len(set(answer.drafts.values())) == 3
    assert answer.route.task is Task.CAP
    assert answer.to_json()["drafts"] == answer.drafts


def test_batches_change_no_answer(make_model, picture) -> None:
    model = make_model()
    other = Image.new("RGB", (20, 30), "green")
    requests = [
        Request([image], prompt, max_new_tokens=limit)
        for image, prompt, limit in (
            (picture, CAPTION, 8),
            (other, QUESTION, 3),
            (other, CAPTION, 5),
            (picture, "what stands near the airplane?", 8),
        )
    ]
    together = model.answer_batch(requests, batch_size=16)
    assert [answer.drafts is None for answer in together] == [False, True, False, True]
    for request, answer in zip(requests, together, strict=True):
        assert answer == model.answer_batch([request], batch_size=1)[0]


def test_questions_go_to_stage_one_and_ignore_the_experts(make_model, picture) -> None:
    model, plain = make_model(), make_model(experts=[])
    plain.model.load_state_dict({name: model.model.state_dict()[name] for name in plain.model.state_dict()})
    assert ask(model, picture, QUESTION).text == ask(plain, picture, QUESTION).text
    assert ask(plain, picture).drafts is None


def test_best_takes_the_likeliest_draft(make_model, picture) -> None:
    model = make_model(aggregation="best", vqa="best")
    for prompt in (CAPTION, QUESTION):
        drafts = drafts_of(model, picture, prompt)
        answer = ask(model, picture, prompt)
        assert answer.text == max(drafts, key=lambda draft: draft.mean_log_prob).text
        assert list(answer.drafts.values()) == [draft.text for draft in drafts]


def test_a_silent_expert_is_not_the_best(make_model, picture, monkeypatch) -> None:
    model = make_model(aggregation="best")
    drafts = [Draft("", True, -0.01), Draft("a road .", True, -0.2), Draft("a pond .", True, -0.9)]
    monkeypatch.setattr(rs_moe, "write_drafts", lambda *_: list(drafts))
    assert ask(model, picture).text == "a road ."
    drafts[1:] = drafts[:1] * 2
    assert ask(model, picture).text == ""


def test_most_experts_answer_a_question(make_model, picture, monkeypatch) -> None:
    model = make_model(vqa="vote")
    drafts = drafts_of(model, picture, QUESTION)
    said = [drafts[0], replace(drafts[1], text="A ship."), replace(drafts[2], text="a ship")]
    monkeypatch.setattr(rs_moe, "write_drafts", lambda *_: list(said))
    likelier = max(said[1:], key=lambda draft: draft.mean_log_prob)
    assert ask(model, picture, QUESTION).text == likelier.text


@torch.no_grad()
def test_likelihood_is_that_of_reading_the_draft_again(make_model, picture) -> None:
    model = make_model()
    asked = model._asked(Request([picture], CAPTION), 8)
    rows, features = model._rows(asked), next(iter(model._see([asked]).values()))[None]
    for row, draft in zip(rows, drafts_of(model, picture, CAPTION), strict=True):
        batch = model.processor.batch_rows([row]) | {"image_features": features}
        said = model.model.generate(**batch, do_sample=False, max_new_tokens=8)
        batch |= {"input_ids": said, "attention_mask": torch.ones_like(said)}
        log_probs = model.model(**batch).logits[0, len(row.input_ids) - 1 : -1].log_softmax(-1)
        chosen = log_probs.gather(1, said[0, len(row.input_ids) :, None])
        assert_close(draft.mean_log_prob, float(chosen.mean()), atol=1e-4, rtol=1e-4)


def test_stage_one_merges_drafts_and_writes_prompts(make_model, picture, monkeypatch) -> None:
    model = make_model(aggregation="fuse", router="generate")
    told: list[list[tuple[str, int]]] = []
    encode = model.processor.encode_row

    def note(prompt: str, answer: str | None = None, *, instruction: str, expert: int = -1):
        told.append((prompt, expert))
        return encode(prompt, answer, instruction=instruction, expert=expert)

    monkeypatch.setattr(model.processor, "encode_row", note)
    answer = ask(model, picture)
    templates = list(model.model.config.subtasks.values())
    asked = [prompt for prompt, expert in told if expert == -1]
    assert [templates[number] in prompt for number, prompt in enumerate(asked[:3])] == [True] * 3
    written = [prompt for prompt, expert in told if expert >= 0][3:]
    assert set(written).isdisjoint(templates)  # the experts got what stage one wrote
    assert all(f"- {draft}" in asked[-1] for draft in answer.drafts.values())
    assert answer.text != concatenate(list(answer.drafts.values()))


def test_one_draft_is_the_caption_as_it_is(make_model, picture) -> None:
    answer = ask(make_model(experts=["theme"], router="none"), picture)
    assert answer.drafts == {"theme": answer.text}


def test_copies_and_prompts_alone_answer_too(make_model, picture) -> None:
    model = make_model()
    copies = RSMoE(as_copies(model.model.double()), model.processor)
    assert ask(copies, picture) == ask(model, picture)
    control = make_model(experts_as="prompts", router="template")
    assert not [name for name, _ in control.model.named_parameters() if "adapter" in name]
    assert len(set(ask(control, picture).drafts.values())) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "[VG] the ship"}, "answers questions (cap, vqa), not task vg: '[VG] the ship'"),
        ({"images": 2, "prompt": QUESTION}, "RS-MoE looks at one image, 2 were given"),
        ({"prompt": QUESTION, "choices": ["yes"]}, "it takes no choices"),
        ({"prompt": "[CAP] <|im_end|>"}, "control token '<|im_end|>'"),
        ({"prompt": "[CAP] "}, "the instruction is empty"),
        ({"prompt": "[VQA] " + "ship, " * 60}, "the Q-Former reads 128 tokens"),
        ({"images": 0, "prompt": CAPTION}, "give one image"),
    ],
)
def test_what_it_cannot_do_is_refused(make_model, picture, settings: dict, message: str) -> None:
    request = Request([picture] * settings.pop("images", 1), **settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        make_model().answer_batch([request])


def test_the_family_is_that_of_the_checkpoint(checkpoint, tiny_checkpoint, picture) -> None:
    model = load_predictor(checkpoint)
    assert isinstance(model, RSMoE)
    assert ask(model, picture).drafts
    assert isinstance(load_predictor(tiny_checkpoint), RSUniVLM)
    with pytest.raises(ValueError, match="is of type 'rs_moe', not 'rsunivlm'"):
        RSUniVLM.from_pretrained(checkpoint)
    with pytest.raises(ValueError, match="is of type 'rsunivlm', not 'rs_moe'"):
        RSMoE.from_pretrained(tiny_checkpoint)


def test_ask_on_the_command_line(checkpoint, picture, tmp_path, capsys) -> None:
    picture.save(tmp_path / "scene.png")
    arguments = ["--model", str(checkpoint), "--max-new-tokens", "4"]
    assert main(["ask", str(tmp_path / "scene.png"), "what does this image show?", *arguments]) == 0
    assert "task cap" in capsys.readouterr().err
    assert main(["ask", str(tmp_path / "scene.png"), "[SEG] the road", *arguments]) == 2
    assert "error: RS-MoE describes images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        (".adapter_b_objects", "lacks the adapter of expert(s) objects"),
        ("bridge.qformer.encoder.layer.0.", "lacks weights: bridge.qformer.encoder.layer.0"),
    ],
)
def test_an_incomplete_checkpoint_is_refused(checkpoint, dropped: str, message: str) -> None:
    file = checkpoint / "model.safetensors"
    save_file({name: x for name, x in load_file(file).items() if dropped not in name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=re.escape(message)):
        load_predictor(checkpoint)
