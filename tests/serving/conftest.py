"""Real servers on loopback, in a thread or in a process, with a tiny random checkpoint."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from rsunivlm.inference.engine import Engine
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.serving.app import create_app
from rsunivlm.serving.server import bind
from rsunivlm.serving.settings import Settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for `held_engine` and `messages`

from held_engine import HeldEngine  # noqa: E402
from messages import until  # noqa: E402


@pytest.fixture
def predictor(make_tiny_model, tiny_processor) -> RSUniVLM:
    return RSUniVLM(make_tiny_model(num_experts=3), tiny_processor)


@pytest.fixture
def start(predictor: RSUniVLM) -> Iterator[Callable[..., httpx.Client]]:
    """Start a server with an engine and settings; returns a client whose `app` is the application."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def run(engine: Any = None, backends: Any = None, **settings: Any) -> httpx.Client:
        engine = engine or Engine(predictor, slots=8)
        app = create_app(predictor, engine, Settings(model_name="tiny", **settings), backends)
        listener = bind("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        client = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60)
        client.app = app
        running.append((server, thread, client))
        return client

    yield run
    for server, thread, client in running:
        client.close()
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def held() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def start_process(tiny_checkpoint: Path) -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
    """Run `rsunivlm serve` on a tiny checkpoint; returns the process and its address."""
    processes: list[subprocess.Popen] = []

    def run(*options: str) -> tuple[subprocess.Popen, str]:
        command = [
            sys.executable,
            "-m",
            "rsunivlm.cli",
            "serve",
            str(tiny_checkpoint),
            "--port",
            "0",
            *options,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        line = process.stdout.readline()
        assert line.startswith("serving checkpoint on http://127.0.0.1:"), process.stderr.read()
        return process, line.split()[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()
