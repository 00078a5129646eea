"""Every way of decoding writes what the plain way writes, and no grammar is ever broken."""

from __future__ import annotations

import dataclasses
import random
from functools import partialmethod

import pytest
import torch

from rsunivlm.codecs import MaskReport
from rsunivlm.inference.answer import Request
from rsunivlm.inference.scheduler import Decoding
from rsunivlm.models.rsunivlm import row_attention
from rsunivlm.tasks import Task, render_prompt

PLAIN = Decoding(jump=False, drafts=False)
FREE = Decoding(constrain=False)


def mixed_requests(pictures, count: int, seed: int = 0) -> list[Request]:
    """Questions of all tasks about few pictures."""
    generator = random.Random(seed)
    labels = ["building", "road", "car", "small vehicle", "road side"]
    requests = []
    for number in range(count):
        one, two = (generator.choice(pictures) for _ in range(2))
        label = generator.choice(labels)
        requests.append(
            [
                Request([one], f"[VG] the {label} number {number}"),
                Request([one], render_prompt(Task.SS, label=label)),
                Request([one], "[SEG] all of it", labels=generator.sample(labels, 3)),
                Request([one, two], render_prompt(Task.CD, label=label)),
                Request([one], render_prompt(Task.SC, classes="farm, airport, farm land, harbor")),
                Request([one], f"[VQA] Is there a {label}?", choices=["yes", "no"]),
                Request([one], f"[VQA] How many {label}s are there?"),
                Request([one, two], "[CCD] What are the differences between these two images?"),
                Request([one], "[REF] what is [1, 2, 30, 40]?"),
            ][number % 9]
        )
    return requests


def generated(model, request: Request, limit: int) -> str:
    """What transformers' own loop writes, one question at a time."""
    job = model.job(request, FREE)
    ids = torch.tensor([job.prompt.input_ids])
    pixels = model.processor.preprocess_images([*request.images])
    output = model.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels,
        expert_ids=torch.tensor([job.prompt.expert]),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=model.processor.end_token_id,
        pad_token_id=model.processor.tokenizer.pad_token_id,
    )[0, ids.shape[1] :].tolist()
    end = model.processor.end_token_id
    return model.text_of(output[: output.index(end)] if end in output else output)


@pytest.mark.parametrize("num_experts", [1, 3])
def test_free_text_equals_the_librarys_generate(make_predictor, pictures, num_experts: int) -> None:
    model = make_predictor(num_experts)
    requests = mixed_requests(pictures, 18)
    answers = model.answer_batch(requests, batch_size=5, max_new_tokens=24, decoding=FREE)
    for request, answer in zip(requests, answers, strict=True):
        assert answer.text.strip() == generated(model, request, 24).strip()
        assert not answer.decoding.constrained


@pytest.mark.parametrize("seed", range(3))
def test_accelerated_equals_plain_and_batched_equals_single(make_predictor, pictures, seed: int) -> None:
    model = make_predictor(seed=seed)
    requests = mixed_requests(pictures, 27, seed)
    plain = model.answer_batch(requests, batch_size=4, decoding=PLAIN)
    fast = model.answer_batch(requests, batch_size=7)
    short = model.answer_batch(requests, batch_size=27, decoding=Decoding(draft_tokens=3))
    for request, *answers in zip(requests, plain, fast, short, strict=True):
        model.forget()
        answers += model.answer_batch([request])
        assert len({answer.text for answer in answers}) == 1
        reports = [answer.decoding for answer in answers]
        assert len({(report.tokens, report.constrained) for report in reports}) == 1
        # Plain: a pass a token, the end token included where it is a choice.
        assert reports[0].tokens <= reports[0].passes <= reports[0].tokens + 1
        assert reports[1].passes <= reports[0].passes
    masks = [report.decoding for report in fast if report.mask is not None]
    assert sum(report.accepted for report in masks) > 0
    assert sum(report.forced for report in masks) > 0


def test_constrained_answers_are_well_formed_and_of_the_closed_lists(make_predictor, pictures) -> None:
    model = make_predictor(seed=5)
    requests = mixed_requests(pictures, 36, seed=1)
    for request, answer in zip(requests, model.answer_batch(requests), strict=True):
        if answer.mask is not None:
            assert isinstance(answer.report, MaskReport)
            assert answer.report.clean
        elif answer.boxes_px is not None:
            assert answer.report.clean
        elif request.choices:
            assert answer.text in request.choices
        elif answer.route.task is Task.SC:
            assert answer.text in {"farm", "airport", "farm land", "harbor"}
        else:
            assert not answer.decoding.constrained
            continue
        assert answer.decoding.constrained
        assert answer.finished


def test_padded_attention_equals_row_by_row(make_predictor, pictures, monkeypatch) -> None:
    model = make_predictor(seed=2)
    requests = mixed_requests(pictures, 18)
    expected = [answer.text for answer in model.answer_batch(requests, batch_size=6)]
    model.forget()
    rows = row_attention.CachedRows
    monkeypatch.setattr(rows, "__init__", partialmethod(rows.__init__, padded=True))
    assert [answer.text for answer in model.answer_batch(requests, batch_size=6)] == expected


def test_changes_of_the_first_choice_are_counted(make_predictor, pictures) -> None:
    model = make_predictor()
    request = Request([pictures[0]], "[VQA] Is there a ship?", choices=["yes"])
    [answer] = model.answer_batch([request], decoding=Decoding(count_changes=True))
    [free] = model.answer_batch([request], decoding=FREE, max_new_tokens=answer.decoding.tokens)
    assert answer.text == "yes"
    assert free.text != "yes"
    assert 1 <= answer.decoding.changed <= answer.decoding.passes
    assert model.answer_batch([request])[0].decoding.changed is None


def test_limits_cut_the_answer_and_say_so(make_predictor, pictures) -> None:
    model = make_predictor()
    whole = Request([pictures[0]], "[SEG] all", labels=["building"])
    [full] = model.answer_batch([whole])
    cut = [dataclasses.replace(whole, max_new_tokens=n) for n in range(1, full.decoding.tokens + 1)]
    tokens = model.job(whole, PLAIN)
    for limited, answer in zip(cut, model.answer_batch(cut), strict=True):
        assert answer.decoding.tokens == limited.max_new_tokens
        assert full.text.startswith(answer.text)
        assert not answer.finished
    assert full.finished
    assert tokens.limit > full.decoding.tokens
    [late] = model.answer_batch([dataclasses.replace(whole, max_seconds=1e-9)])
    assert not late.finished
    assert late.decoding.passes == 1


def test_what_questions_about_an_image_share_is_computed_once(make_predictor, pictures, monkeypatch) -> None:
    model = make_predictor()
    encoded, read = [], []
    encode, run = model.model.get_image_features, model.model.model.language_model.forward
    monkeypatch.setattr(
        model.model, "get_image_features", lambda pixels: (encoded.append(len(pixels)), encode(pixels))[1]
    )
    monkeypatch.setattr(
        model.model.model.language_model,
        "forward",
        lambda **inputs: (read.append(inputs["inputs_embeds"].shape[1]), run(**inputs))[1],
    )
    questions = [Request([pictures[k % 2]], f"[VQA] what is number {k}?") for k in range(8)]
    model.answer_batch(questions, max_new_tokens=1)
    assert encoded == [2]
    prompt = model.job(questions[0], FREE).prompt
    assert read[0] == 2 * prompt.shared
    assert read[1] == sum(
        len(model.job(question, FREE).prompt.input_ids) - prompt.shared for question in questions
    )
    assert len(read) == 2


def test_a_prompt_that_is_too_long_and_an_unreadable_image_are_refused(
    make_predictor, pictures, tmp_path
) -> None:
    model = make_predictor()
    with pytest.raises(ValueError, match=r"prompt is too long: .* 4096 positions"):
        model.check(Request([pictures[0]], "[VQA] " + "ship " * 5000))
    with pytest.raises(ValueError, match="no such image file"):
        model.ask(tmp_path / "absent.png", "[VQA] what?")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ValueError, match=r"bad\.png"):
        model.ask(tmp_path / "bad.png", "[VQA] what?")
    with pytest.raises(ValueError, match="max_new_tokens must be above 0"):
        model.check(Request([pictures[0]], "[VQA] what?", max_new_tokens=0))
    with pytest.raises(ValueError, match="read alike"):
        model.check(Request([pictures[0]], "[SEG] it", labels=["car", "Car"]))
