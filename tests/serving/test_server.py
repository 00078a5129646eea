"""The process: it answers, and a signal under load loses nothing that was accepted."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from messages import message, png, until

from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.serving.server import bind

SLEEPY = Path(__file__).with_name("sleepy_server.py")


def test_a_signal_under_load_loses_no_accepted_request(start_process, tiny_checkpoint: Path) -> None:
    process, address = start_process("--slots", "2", "--queue", "4")
    predictor = RSUniVLM.from_pretrained(tiny_checkpoint)
    prompts = [f"[VQA] Is there a ship number {index}?" for index in range(8)]
    alone = [
        predictor.ask(png(index), prompt, max_new_tokens=24).text for index, prompt in enumerate(prompts)
    ]
    stopped = threading.Event()
    seen: list[tuple[int, bool]] = []  # status, asked before the signal

    def client(index: int) -> None:
        body = {"messages": [message(prompts[index], png(index))], "max_tokens": 24}
        while True:
            before = not stopped.is_set()
            try:
                answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=30)
            except httpx.TransportError:
                seen.append((0, before))
                return
            seen.append((answer.status_code, before))
            if answer.status_code == 200:
                assert answer.json()["choices"][0]["message"]["content"] == alone[index]
            elif answer.status_code == 503:
                return
            else:
                time.sleep(0.02)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, index) for index in range(8)]
        until(lambda: sum(status == 200 for status, _ in seen) > 8)
        stopped.set()
        process.send_signal(signal.SIGTERM)
        for finished in clients:
            finished.result(30)
    assert process.wait(30) == 0
    statuses = {status for status, before in seen if before}
    assert statuses <= {200, 429, 503}  # never a broken connection
    assert 200 in statuses
    assert any(status in (503, 0) for status, _ in seen)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


@pytest.mark.parametrize(
    ("end", "seconds", "grace", "code"),
    [
        ("answer", "1", "60", 0),
        ("second signal", "60", "60", -signal.SIGTERM),
        ("grace time", "60", "0.3", -signal.SIGTERM),
    ],
)
def test_a_stop_ends_with(end: str, seconds: str, grace: str, code: int) -> None:
    command = [sys.executable, str(SLEEPY), seconds, grace]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, ThreadPoolExecutor() as pool:
        address = process.stdout.readline().strip()
        body = {"messages": [message("[VQA] ships?", png())]}
        asked = pool.submit(httpx.post, f"{address}/v1/chat/completions", json=body, timeout=60)
        until(lambda: "rsunivlm_running 1.0" in httpx.get(f"{address}/metrics").text)
        process.send_signal(signal.SIGTERM)
        if end == "answer":
            assert asked.result().json()["choices"][0]["message"]["content"] == "yes"
        elif end == "second signal":
            until(lambda: httpx.get(f"{address}/ready").status_code == 503)
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == code
        assert ("1 accepted requests stay unanswered" in process.stderr.read()) == (end == "grace time")


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .*in use"):
            bind("127.0.0.1", port)
    with pytest.raises(ValueError, match=r"cannot listen on nowhere\.invalid port 1"):
        bind("nowhere.invalid", 1)
    with pytest.raises(ValueError, match="cannot listen"):
        bind("127.0.0.1", 99_999)
