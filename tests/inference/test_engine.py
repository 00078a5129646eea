"""The engine answers what is submitted from many threads as single runs would, and ends as told."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from rsunivlm.inference.answer import Request
from rsunivlm.inference.engine import Engine

PROMPTS = [
    "[VG] the ship",
    "[VQA] how many ships are there?",
    "[SEG] Please segment the road in this image.",
    "[CAP] What does this image show?",
]


def test_requests_from_many_threads_get_their_own_answers(make_predictor, pictures) -> None:
    model = make_predictor(seed=3)
    requests = [
        Request([pictures[k % 4]], PROMPTS[k // 4 % 4] + " " * (k // 16), max_new_tokens=20 + k % 7)
        for k in range(40)
    ]
    expected = [answer.text for answer in model.answer_batch(requests, batch_size=1)]
    model.forget()
    pieces: list[list[str]] = [[] for _ in requests]
    engine = Engine(model, slots=5)
    with ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda k: engine.submit(requests[k], pieces[k].append), range(len(requests))))
    answers = [future.result(timeout=60) for future in futures]
    engine.close()
    assert [answer.text for answer in answers] == expected
    assert ["".join(part).strip() for part in pieces] == [text.strip() for text in expected]
    assert (engine.waiting, engine.running) == (0, 0)


def test_a_bad_image_fails_alone_and_a_wrong_request_at_once(make_predictor, pictures, tmp_path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    engine = Engine(make_predictor(), slots=2)
    bad = engine.submit(Request([tmp_path / "bad.png"], PROMPTS[1]))
    good = engine.submit(Request([pictures[0]], PROMPTS[1], max_new_tokens=3))
    with pytest.raises(ValueError, match=r"bad\.png"):
        bad.result(timeout=60)
    assert good.result(timeout=60).text
    with pytest.raises(ValueError, match="looks at 2"):
        engine.submit(Request([pictures[0]], "[CCD] what changed?"))
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(Request([pictures[0]], PROMPTS[1]))


def test_closing_finishes_or_drops_what_waits(make_predictor, pictures) -> None:
    model = make_predictor()
    request = Request([pictures[0]], PROMPTS[3], max_new_tokens=5)
    engine = Engine(model, slots=1)
    futures = [engine.submit(request) for _ in range(6)]
    engine.close()
    assert len({future.result(timeout=0).text for future in futures}) == 1
    engine = Engine(model, slots=1)
    begun = threading.Event()
    first = engine.submit(request, lambda _: begun.set())
    futures = [engine.submit(request) for _ in range(6)]
    begun.wait(60)
    futures[3].cancel()
    engine.close(drain=False)
    assert first.result(timeout=0).text
    with pytest.raises(CancelledError):
        futures[-1].result(timeout=0)


def test_a_question_that_is_given_up_makes_room(make_predictor, pictures) -> None:
    model = make_predictor()
    lengthy = Request([pictures[0]], PROMPTS[3], max_new_tokens=100_000)
    brief = Request([pictures[0]], PROMPTS[3], max_new_tokens=5)
    expected = model.answer_batch([brief])[0].text
    engine = Engine(model, slots=1)
    begun = threading.Event()
    running = engine.submit(lengthy, lambda _: begun.set())
    waiting = engine.submit(lengthy)
    last = engine.submit(brief)
    assert begun.wait(60)
    engine.give_up(waiting)
    engine.give_up(running)
    assert last.result(timeout=60).text == expected
    assert waiting.cancelled()
    with pytest.raises(CancelledError):
        running.result(timeout=0)
    engine.give_up(last)
    engine.close()


def test_a_failure_of_the_model_reaches_everybody(make_predictor, pictures, monkeypatch) -> None:
    model = make_predictor()

    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(model.model.model.language_model, "forward", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    engine = Engine(model, slots=2)
    future = engine.submit(Request([pictures[0]], PROMPTS[1]))
    with pytest.raises(MemoryError):
        future.result(timeout=60)
    engine._thread.join(60)
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(Request([pictures[0]], PROMPTS[1]))
