"""A conversation answers as a fresh run of all of it would, and computes less."""

from __future__ import annotations

import pytest

from rsunivlm.inference.answer import Request
from rsunivlm.inference.scheduler import Decoding

TURNS = [
    "[VQA] How many ships are there?",
    "[CAP] What does this image show?",
    "[VG] the largest ship",
    "[VQA] Is it red?",
    "and where is the harbor?",
]


def test_turns_equal_fresh_runs_of_the_whole_conversation(make_predictor, pictures) -> None:
    model = make_predictor(seed=1)
    conversation = model.converse(pictures[0])
    for turn in TURNS:
        history = tuple(conversation.history)
        answer = conversation.ask(turn, max_new_tokens=12)
        model_2 = make_predictor(seed=1)
        [fresh] = model_2.answer_batch([Request([pictures[0]], turn, history=history, max_new_tokens=12)])
        assert (answer.text, answer.route) == (fresh.text, fresh.route)
    assert [prompt[:5].strip() for prompt, _ in conversation.history] == [
        "[VQA]",
        "[CAP]",
        "[VG]",
        "[VQA]",
        "[VG]",
    ]


def test_a_turn_of_the_same_route_reads_only_what_is_new(make_predictor, pictures, monkeypatch) -> None:
    model = make_predictor(seed=1)
    text_model = model.model.model.language_model
    run, read = text_model.forward, []

    def forward(**inputs):
        read.append(inputs["inputs_embeds"].shape[1])
        return run(**inputs)

    monkeypatch.setattr(text_model, "forward", forward)
    conversation = model.converse(pictures[0])
    conversation.ask(TURNS[0], max_new_tokens=3)
    read.clear()
    conversation.ask(TURNS[1], max_new_tokens=3)
    request = Request([pictures[0]], TURNS[1], history=tuple(conversation.history[:1]))
    prompt = model.job(request, Decoding()).prompt
    assert read[0] < len(prompt.input_ids) - prompt.shared
    read.clear()
    conversation.ask(TURNS[2], max_new_tokens=3)  # another expert: it reads image and history anew
    request = Request([pictures[0]], TURNS[2], history=tuple(conversation.history[:2]))
    opening = 1  # the bracket of a box is known without the model
    assert read[0] + read[1] == len(model.job(request, Decoding()).prompt.input_ids) + opening


def test_an_error_leaves_the_history_as_it_was(make_predictor, pictures) -> None:
    conversation = make_predictor().converse(pictures[0])
    with pytest.raises(ValueError, match="looks at 2"):
        conversation.ask("[CCD] what changed?")
    assert conversation.history == []
