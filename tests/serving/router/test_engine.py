"""The router before doubles, over real connections: who is asked, what comes back, what goes wrong."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from messages import data_url, message, png, until

from rsunivlm.tasks import TOKEN_GRANULARITY, Task

CHAT = "/v1/chat/completions"
NOBODY = "http://127.0.0.1:9"  # the discard port


def ask(prompt: str = "[VQA] ships?", images: int = 1, **fields) -> dict:
    return {"messages": [message(prompt, *map(png, range(images)))], **fields}


@pytest.mark.parametrize("task", Task)
def test_the_expert_of_every_task_token_is_asked(task: Task, double, route) -> None:
    servers = {name: double(name) for name in ("image", "region", "pixel")}
    server = route(*(f"{name}={servers[name].url}" for name in servers))
    answer = server.post(CHAT, json=ask(f"{task.token} a ship", images=task.num_images)).json()
    expert = TOKEN_GRANULARITY[task.token].name.lower()
    assert answer["choices"][0]["message"]["content"] == expert
    assert answer["rsunivlm"]["granularity"] == expert
    assert {name: len(found.bodies) for name, found in servers.items()} == {
        name: int(name == expert) for name in servers
    }


def test_answers_are_typed_by_task(double, route, predictor) -> None:
    region, pixel = double("[10, 20, ", "30, 40]"), double("road*2, others*2")
    image = double("yes")
    server = route(f"image={image.url}", f"region={region.url}", f"pixel={pixel.url}")
    boxes = server.post("/v1/rs/vg", json={"image": data_url(png()), "expression": "a ship"}).json()
    assert boxes["boxes_px"] == [[4.8, 8.0, 14.4, 16.0]]  # of 48 x 40 pixels
    assert boxes["usage"]["prompt_tokens"] > 0
    masks = server.post("/v1/rs/cd", json={"images": [data_url(png()), data_url(png(1))], "label": "road"})
    expected, _ = predictor.mask_codec.decode("road*2, others*2", ("others", "road"), (48, 40))
    assert masks.json()["labels"] == ["others", "road"]
    assert masks.json()["mask_share"]["road"] == pytest.approx((expected == 1).mean(), abs=1e-4)
    chosen = server.post(
        "/v1/rs/sc", json={"image": data_url(png()), "classes": ["port", "beach"], "max_new_tokens": 7}
    )
    assert chosen.json()["text"] == "yes"
    (body,) = image.bodies
    assert body["structured_outputs"] == {"choice": ["port", "beach"]}
    assert (body["max_tokens"], body["temperature"]) == (7, 0)
    assert body["stop_token_ids"] == [predictor.processor.end_token_id]
    assert "structured_outputs" not in region.bodies[0]


def test_a_stream_passes_through_as_it_is_written(double, route) -> None:
    backend = double("a ", "ship")
    backend.gate.clear()
    server = route(backend.url)
    seen = []
    with server.stream("POST", CHAT, json=ask(stream=True)) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                seen.append(chunk["choices"][0])
                if seen[-1]["delta"].get("content") == "a ":
                    backend.gate.set()  # only now does it go on
    assert "".join(choice["delta"].get("content", "") for choice in seen) == "a ship"
    assert seen[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("trouble", "status", "code", "words"),
    [
        ({"refusal": (400, {"error": {"message": "too long"}})}, 400, "backend_refused", "too long"),
        ({"refusal": (401, {"error": "no key"})}, 502, "backend_refused", "no key"),
        ({"refusal": (404, {"object": "error"})}, 502, "backend_refused", "status 404"),
        ({"refusal": (500, {"error": {"message": "broken"}})}, 502, "backend_failed", "broken"),
        ({"finish": None, "pieces": ()}, 503, "backend_down", "expert 'image'"),
        ({"finish": None}, 502, "backend_failed", "broke off"),
        ({"finish": ""}, 502, "backend_failed", "broke off"),
        ({"tokens": 5}, 502, "backend_mismatch", "read 5 tokens"),
    ],
)
def test_trouble_behind_the_router_is_told(trouble, status, code, words, double, route) -> None:
    backend = double()
    for name, value in trouble.items():
        setattr(backend, name, value)
    server = route(backend.url)
    answer = server.post(CHAT, json=ask())
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert words in error["message"]
    assert backend.url not in answer.text
    backend.refusal, backend.finish, backend.pieces, backend.tokens = None, "stop", ("yes",), None
    assert server.post(CHAT, json=ask()).status_code == 200


def test_time_cuts_an_answer_and_loses_none(double, route) -> None:
    backend = double("a ship")
    backend.gate.clear()
    server = route(backend.url, max_seconds=0.5)
    cut = server.post(CHAT, json=ask()).json()
    assert cut["choices"][0]["message"]["content"] == "a ship"
    assert cut["choices"][0]["finish_reason"] == "length"
    backend.pieces = ("",)
    nothing = server.post(CHAT, json=ask())
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (504, "timeout")


def test_another_server_of_the_expert_answers_once(double, route) -> None:
    full, good = double(), double("good")
    full.refusal = (503, {"error": {"message": "full"}})
    server = route(NOBODY, full.url, good.url)
    for _ in range(3):
        assert server.post(CHAT, json=ask()).json()["choices"][0]["message"]["content"] == "good"
    assert len(good.bodies) == 3
    # An answer that has begun is never begun again.
    good.finish, asked = None, len(full.bodies)
    full.refusal = None
    full.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.post, CHAT, json=ask())  # the idle one takes it
        until(lambda: len(full.bodies) + len(good.bodies) > asked + 3)
        full.finish = None
        full.gate.set()
        assert waiting.result().status_code == 502
    assert len(full.bodies) + len(good.bodies) == asked + 4


def test_the_least_busy_server_is_asked(double, route) -> None:
    servers = [double(), double()]
    for backend in servers:
        backend.gate.clear()
    server = route(*(backend.url for backend in servers))
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(server.post, CHAT, json=ask()) for _ in range(6)]
        until(lambda: sum(len(backend.bodies) for backend in servers) == 6)
        assert [len(backend.bodies) for backend in servers] == [3, 3]
        metrics = server.get("/metrics").text
        for backend in servers:
            assert f'rsunivlm_backend_open{{backend="{backend.url}",expert="image"}} 3.0' in metrics
            backend.gate.set()
        assert all(future.result().status_code == 200 for future in asked)


def test_slots_bound_what_is_asked_at_once(double, route) -> None:
    backend = double()
    backend.gate.clear()
    server = route(backend.url, slots=2, queue=10, max_wait=1)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.post, CHAT, json=ask()) for _ in range(3)]
        until(lambda: any(future.done() for future in asked))
        backend.gate.set()
        statuses = sorted(future.result().status_code for future in asked)
    assert statuses == [200, 200, 504]
    assert len(backend.bodies) == 2


def test_a_client_that_goes_takes_its_question_along(double, route) -> None:
    backend = double()
    backend.gate.clear()
    server = route(backend.url, slots=1)
    with pytest.raises(httpx.ReadTimeout):
        server.post(CHAT, json=ask(), timeout=2)
    until(lambda: "rsunivlm_running 0.0" in server.get("/metrics").text)
    assert len(backend.bodies) == 1
    assert (
        f'rsunivlm_backend_open{{backend="{backend.url}",expert="image"}} 0.0' in server.get("/metrics").text
    )
    backend.gate.set()
    assert server.post(CHAT, json=ask()).status_code == 200


def test_health_tells_of_every_server(double, route) -> None:
    image, region = double(), double()
    server = route(f"image={image.url}", f"region={region.url}", f"pixel={NOBODY}")
    states = {"image": ["up"], "region": ["up"], "pixel": ["down"]}
    until(lambda: server.get("/health").json() == {"status": "degraded", "backends": states})
    assert server.get("/ready").status_code == 200
    answer = server.post(CHAT, json=ask("[SEG] roads"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "backend_down")
    assert answer.headers["retry-after"]


def test_keys_and_names_reach_the_servers(double, route) -> None:
    backend = double()
    server = route(backend.url, models=("image=a", "region=b", "pixel=c"), api_key="secret")
    for token in ("[VQA]", "[VG]", "[SEG]"):
        assert server.post(CHAT, json=ask(f"{token} x", model="tiny")).status_code == 200
    assert [body["model"] for body in backend.bodies] == ["a", "b", "c"]
    assert {headers["authorization"] for headers in backend.headers} == {"Bearer secret"}


def test_a_signal_under_load_loses_no_accepted_request(start_process, double) -> None:
    backend = double("a ship")
    backend.gate.clear()
    process, address = start_process("--backend", backend.url, "--slots", "3", "--queue", "3")
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(httpx.post, address + CHAT, json=ask(), timeout=60) for _ in range(6)]
        until(lambda: "rsunivlm_accepted 6.0" in httpx.get(f"{address}/metrics").text)
        until(lambda: "rsunivlm_waiting 3.0" in httpx.get(f"{address}/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{address}/ready").status_code == 503)
        backend.gate.set()
        answers = [future.result() for future in asked]
    assert process.wait(30) == 0
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {"a ship"}
    assert len(backend.bodies) == 6
