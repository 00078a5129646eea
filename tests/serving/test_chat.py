"""The openai package talks to a real server; what it is told equals what the predictor says by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from messages import message, png, until

from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import Task, route


@pytest.fixture
def client_of():
    def make(server, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{server.base_url}/v1/", api_key=key, max_retries=0)

    return make


def test_an_answer_equals_the_predictors(start, client_of, predictor) -> None:
    client = client_of(start())
    assert [model.id for model in client.models.list()] == ["tiny"]
    alone = predictor.ask(png(), "[VG] the ship", max_new_tokens=12)
    completion = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "system", "content": "Be brief."}, message("[VG] the ship", png())],
        max_tokens=12,
        temperature=0.7,
        seed=3,
        user="somebody",
    )
    choice = completion.choices[0]
    assert choice.message.content == alone.text
    assert choice.finish_reason == ("stop" if alone.finished else "length")
    assert completion.rsunivlm["route_source"] == "token"
    assert completion.rsunivlm["boxes_px"] == alone.to_json()["boxes_px"]
    turns = [("[VG] the ship", None)]
    assert completion.usage.prompt_tokens == len(predictor.processor.encode_conversation(turns, 1)[0])
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )


def test_a_stream_ends_with_reason_usage_and_done(start, client_of, predictor) -> None:
    server = start()
    prompt = "[SEG] Please segment the road in this image."
    alone = predictor.ask(png(), prompt, max_new_tokens=40)
    body = {
        "model": "tiny",
        "messages": [message(prompt, png())],
        "max_completion_tokens": 40,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chunks = list(client_of(server).chat.completions.create(**body))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == alone.text
    assert chunks[-2].choices[0].finish_reason == ("stop" if alone.finished else "length")
    assert chunks[-2].rsunivlm["task"] == "ss"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert server.post("/v1/chat/completions", json=body).text.endswith("data: [DONE]\n\n")


def test_pieces_are_sent_as_they_are_written(start, held, client_of) -> None:
    server = start(held)
    with ThreadPoolExecutor() as pool:
        stream = pool.submit(
            client_of(server).chat.completions.create,
            model="tiny",
            messages=[message("[CAP] Describe.", png())],
            stream=True,
        )
        until(lambda: held.futures)
        held.on_texts[0]("a ")
        chunks = iter(stream.result())
        assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "a "]
        held.on_texts[0]("port")
        assert next(chunks).choices[0].delta.content == "port"
        held.futures[0].set_result(Answer("a port", route("[CAP]")))
        assert next(chunks).choices[0].finish_reason == "stop"


def test_a_fault_in_a_stream_is_told_in_the_stream(start, held, client_of) -> None:
    server = start(held)
    with ThreadPoolExecutor() as pool:
        call = client_of(server).chat.completions.create
        stream = pool.submit(call, model="tiny", messages=[message("[CAP] x", png())], stream=True)
        until(lambda: held.futures)
        held.on_texts[0]("a ")
        chunks = stream.result()
        held.futures[0].cancel()  # as an engine does that is closed
        with pytest.raises(openai.APIError, match="stopping"):
            list(chunks)


def test_turns_and_extension_reach_the_engine(start, held, client_of) -> None:
    server = start(held, max_seconds=7)
    with ThreadPoolExecutor() as pool:
        pool.submit(
            client_of(server).chat.completions.create,
            model="tiny",
            messages=[
                message("[CAP] Describe.", png(1), png(2)),
                {"role": "assistant", "content": "a port"},
                {"role": "user", "content": "is there a ship?"},
            ],
            max_tokens=10**9,
            extra_body={"rsunivlm": {"task": "vqa", "choices": ["yes", "no"]}},
        )
        until(lambda: held.futures)
        held.futures[0].set_result(Answer("yes", route("", task="vqa")))
    (request,) = held.requests
    assert request.history == (("[CAP] Describe.", "a port"),)
    assert (request.prompt, request.task, request.choices) == ("is there a ship?", Task.VQA, ["yes", "no"])
    assert [picture.size for picture in request.images] == [(48, 40), (48, 40)]
    assert request.max_seconds == 7
    assert request.max_new_tokens == 10**9


def test_twenty_clients_at_once_get_their_own_answers(start, client_of, predictor) -> None:
    prompts = (
        "[VG] the ship",
        "[VQA] Is there a road?",
        "[SEG] Please segment the road in this image.",
        "[REF] what is [1, 2, 30, 40]?",
    )
    requests = [Request([png(seed)], prompts[seed % len(prompts)]) for seed in range(20)]
    alone = [predictor.ask(request.images, request.prompt, max_new_tokens=16).text for request in requests]
    assert len(set(alone)) > 10  # answers that could be mixed up
    client = client_of(start())

    def ask(request: Request) -> str:
        body = {"model": "tiny", "messages": [message(request.prompt, *request.images)], "max_tokens": 16}
        return client.chat.completions.create(**body).choices[0].message.content

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, requests)) == alone


@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        ({"model": "gpt"}, 404, "model_not_found", "only 'tiny'"),
        ({"n": 2}, 400, "unsupported_value", "n: not supported"),
        ({"stop": ["."]}, 400, "unsupported_value", "stop"),
        ({"response_format": {"type": "json_object"}}, 400, "unsupported_value", "response_format"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": "hello"}]}, 400, "wrong_image_count", "give one image"),
        ({"messages": [message("[VG] x", *[png()] * 3)]}, 400, "wrong_image_count", "got 3"),
        ({"messages": [message("[VG] x", png(), png())]}, 400, "invalid_request", "looks at 1 image"),
        ({"messages": [message("[CCD] x", png())]}, 400, "invalid_request", "looks at 2 image"),
        ({"messages": [message("", png())]}, 400, "invalid_value", "has no text"),
        ({"messages": [message("[VG] x", png())] * 2}, 400, "invalid_value", "take turns"),
        (
            {
                "messages": [
                    message("[VG] x", png()),
                    {"role": "assistant", "content": "y"},
                    message("[VG] z", png()),
                ]
            },
            400,
            "invalid_value",
            "messages[2]: images belong",
        ),
        ({"rsunivlm": {"task": "dance"}}, 400, "unknown_task", "known tasks"),
        ({"rsunivlm": {"tsk": "vg"}}, 400, "invalid_value", "rsunivlm.tsk"),
        ({"messages": [message("x" * 8001, png())]}, 400, "context_length_exceeded", "8001 characters"),
        ({"messages": [message("[VG]" + " x" * 3990, png())]}, 400, "invalid_request", "prompt is too long"),
        ({"messages": [message("[VG] <|im_end|>", png())]}, 400, "invalid_request", "control token"),
    ],
)
def test_refusals(start, held, change, status, code, words) -> None:
    body = {"model": "tiny", "messages": [message("[VG] x", png())], **change}
    answer = start(held).post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert not held.futures
