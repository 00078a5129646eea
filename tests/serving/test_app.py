"""Limits, key, health and metrics, each over a real connection."""

from __future__ import annotations

import io
import json
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from messages import data_url, message, png, until
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from rsunivlm.inference.answer import Answer
from rsunivlm.serving.settings import MB
from rsunivlm.tasks import route

CHAT = {"messages": [message("[VG] the ship", png())]}


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT"


def samples(server: httpx.Client) -> dict[tuple[str, ...], float]:
    """All metrics: (name, values of the labels in alphabetical order...) to value."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        (data_url(png()[:-400]), "invalid_image", "damaged or truncated"),
        (data_url(png_header(60_000, 60_000)), "invalid_image", "too large"),
        (data_url(png_header(5_010, 5_000)), "invalid_image", "5010 x 5000"),
        (data_url(b"no picture"), "invalid_image", "not a readable image"),
        (data_url(b""), "invalid_image", "empty"),
        ("data:image/png;base64,@@@", "invalid_image", "not base64"),
        ("data:text/html,hello", "invalid_image", "expected data:image"),
        ("https://example.org/a.png", "remote_url_refused", "not fetched"),
        ("file:///etc/passwd", "remote_url_refused", "not fetched"),
        ("/etc/passwd", "invalid_image", "expected data:image"),
    ],
)
def test_bad_images_are_refused_with_their_place(start, held, url, code, words) -> None:
    body = {"messages": [message("[VG] x", png())]}
    body["messages"][0]["content"][0]["image_url"]["url"] = url
    answer = start(held).post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert error["param"] == "messages[0], image 1"
    assert words in error["message"]
    assert not held.futures


def test_large_bodies_are_cut_off(start, held) -> None:
    server = start(held, max_body=1 * MB)
    content = json.dumps(CHAT | {"user": "x" * 3 * MB}).encode()
    headers = {"content-type": "application/json"}
    declared = server.post("/v1/chat/completions", content=content, headers=headers)
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "body_too_large")

    def pieces():  # no length declared: counted while it is read
        for offset in range(0, len(content), 10_000):
            yield content[offset : offset + 10_000]

    counted = server.post("/v1/chat/completions", content=pieces(), headers=headers)
    assert counted.status_code == 413
    until(lambda: server.app.state.gate.open == 0)
    assert server.app.state.gate.held == 0


def test_what_is_no_json_is_refused(start, held) -> None:
    server = start(held)
    for content, kind, status, code in (
        (b"{", "application/json", 400, "invalid_json"),
        (b"[1]", "application/json", 400, "invalid_value"),
        (b"\xff\xfe", "application/json", 400, "invalid_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
    ):
        answer = server.post("/v1/chat/completions", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert server.get("/v1/nothing").json()["error"]["code"] == "unknown_address"
    assert server.get("/v1/chat/completions").status_code == 405


def test_slow_senders_are_cut_off(start, held) -> None:
    server = start(held, max_read_seconds=0.2)
    with socket.create_connection((server.base_url.host, server.base_url.port)) as connection:
        head = "POST /v1/rs/cap HTTP/1.1", "Host: x", "Content-Type: application/json", "Content-Length: 9"
        connection.sendall("\r\n".join([*head, "", "{"]).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_clients_that_leave_while_sending_are_counted(start, held) -> None:
    server = start(held)
    with socket.create_connection((server.base_url.host, server.base_url.port)) as connection:
        head = "POST /v1/rs/cap HTTP/1.1", "Host: x", "Content-Type: application/json", "Content-Length: 9"
        connection.sendall("\r\n".join([*head, "", "{"]).encode())
        until(lambda: server.app.state.gate.open == 1)
    until(lambda: samples(server).get(("rsunivlm_requests_total", "gone", "none")) == 1)
    assert server.app.state.gate.held == 0


def test_a_full_queue_gives_429_and_recovers(start, held) -> None:
    server = start(held, slots=1, queue=2)
    with ThreadPoolExecutor() as pool:
        accepted = [pool.submit(server.post, "/v1/chat/completions", json=CHAT) for _ in range(3)]
        until(lambda: len(held.futures) == 3)
        full = server.post("/v1/chat/completions", json=CHAT)
        assert full.status_code == 429
        assert full.headers["retry-after"] == "1"
        assert full.json()["error"]["code"] == "queue_full"
        assert full.json()["error"]["type"] == "rate_limit_error"
        assert samples(server)["rsunivlm_accepted",] == 3
        for future in held.futures:
            future.set_result(Answer("[1, 2, 3, 4]", route("[VG]")))
        assert [answer.result().status_code for answer in accepted] == [200] * 3
        later = pool.submit(server.post, "/v1/chat/completions", json=CHAT)
        until(lambda: len(held.futures) == 4)
        held.futures[3].set_result(Answer("[1, 2, 3, 4]", route("[VG]"), finished=False))
        assert later.result().json()["choices"][0]["finish_reason"] == "length"
    values = samples(server)
    assert values["rsunivlm_requests_total", "answered", "vg"] == 3
    assert values["rsunivlm_requests_total", "cut", "vg"] == 1
    assert values["rsunivlm_requests_total", "busy", "none"] == 1
    assert values["rsunivlm_request_seconds_count", "vg"] == 4
    assert values["rsunivlm_tokens_total", "prompt", "vg"] > 0
    assert values["rsunivlm_accepted",] == values["rsunivlm_held_bytes",] == 0


def test_pictures_beyond_the_memory_get_429(start, held) -> None:
    # A picture of 1 megapixel takes 4 MB, while it is decoded 12 MB: the second fits, the third does not.
    server = start(held, max_body=MB // 10, max_pixels=1_000_000, max_memory=int(16.3 * MB))
    blank = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(blank, "PNG")
    body = {"messages": [message("[VG] x", blank.getvalue())]}
    with ThreadPoolExecutor() as pool:
        accepted = []
        for count in (1, 2):
            accepted.append(pool.submit(server.post, "/v1/chat/completions", json=body))
            until(lambda count=count: len(held.futures) == count)
        error = server.post("/v1/chat/completions", json=body)
        assert (error.status_code, error.json()["error"]["code"]) == (429, "memory_full")
        for future in held.futures:
            future.set_result(Answer("x", route("[VG]")))
        assert [answer.result().status_code for answer in accepted] == [200] * 2


def test_waiting_has_an_end_running_has_its_own(start, held) -> None:
    server = start(held, max_wait=0.2)
    answer = server.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert held.futures[0].cancelled()
    with ThreadPoolExecutor() as pool:
        late = pool.submit(server.post, "/v1/chat/completions", json=CHAT)
        until(lambda: len(held.futures) == 2)
        held.futures[1].set_running_or_notify_cancel()
        with pytest.raises(TimeoutError):
            late.result(0.5)
        held.futures[1].set_result(Answer("x", route("[VG]")))
        assert late.result().status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_its_question_along(start, held, stream) -> None:
    server = start(held)
    content = json.dumps(CHAT | {"stream": stream})
    head = "POST /v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json"
    with socket.create_connection((server.base_url.host, server.base_url.port)) as connection:
        connection.sendall("\r\n".join([*head, f"Content-Length: {len(content)}", "", content]).encode())
        until(lambda: held.futures)
    until(lambda: samples(server).get(("rsunivlm_requests_total", "gone", "vg")) == 1)
    assert held.futures[0].cancelled()
    assert server.app.state.gate.open == 0


def test_a_client_that_leaves_amid_a_stream_is_counted(start, held) -> None:
    server = start(held)
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: (until(lambda: held.futures), held.on_texts[0]("a")))
        with server.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
            next(answer.iter_bytes())
    until(lambda: samples(server).get(("rsunivlm_requests_total", "gone", "vg")) == 1)
    assert server.app.state.gate.open == 0
    assert held.futures[0].cancelled()


def test_faults_of_the_engine_have_a_status(start, held) -> None:
    server = start(held)
    for fault, status, words in (
        (ValueError("the prompt is odd"), 400, "the prompt is odd"),
        (RuntimeError("out of memory at 0xdead"), 500, "its log says why"),
    ):
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(server.post, "/v1/chat/completions", json=CHAT)
            until(lambda: held.futures)
            held.futures.pop().set_exception(fault)
            assert asked.result().status_code == status
            assert words in asked.result().json()["error"]["message"]


def test_a_dead_engine_is_bad_health(start, held) -> None:
    server = start(held)
    assert server.get("/health").status_code == 200
    held.close()
    answer = server.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broken")
    assert server.get("/health").status_code == 503


def test_a_stopping_server_takes_nothing_new(start, held) -> None:
    server = start(held)
    assert server.get("/ready").status_code == server.get("/health").status_code == 200
    server.app.state.gate.stopping = True
    refused = server.post("/v1/chat/completions", json=CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert refused.headers["retry-after"] == "1"
    assert server.get("/ready").status_code == 503
    assert server.get("/health").status_code == 200


def test_the_key_guards_all_but_health(start, held) -> None:
    server = start(held, api_key="secret")
    for headers in ({}, {"authorization": "Bearer secre"}, {"authorization": "secret"}):
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            answer = server.get(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert server.get("/health").status_code == server.get("/ready").status_code == 200
    assert server.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200


def test_other_origins_are_off_until_named(start, held) -> None:
    origin = {"origin": "https://map.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in start(held).options("/v1/rs/cap", headers=origin).headers
    named = start(held, cors_origins=("https://map.example",), api_key="secret")
    allowed = named.options("/v1/rs/cap", headers=origin).headers["access-control-allow-origin"]
    assert allowed == "https://map.example"
