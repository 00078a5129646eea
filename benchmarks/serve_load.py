"""Many clients at once against `rsunivlm serve`: are answers lost or mixed up, how fast, in how much memory?

    python benchmarks/serve_load.py                        # bundled checkpoint, 64 clients, 2 minutes
    python benchmarks/serve_load.py --clients 8 --seconds 20

The questions are those of the mini benchmark, of all eight tasks. Each is first answered alone, in this
process; then clients ask them in a random order over the loopback interface, through chat completions,
streamed ones and the typed endpoints, and every answer must equal the one given alone. At the end the server
gets SIGTERM while all clients are busy: a question asked before the signal is lost if it gets no whole answer
and no refusal. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx

from rsunivlm.data.records import read_records, resolve_image
from rsunivlm.inference.answer import Answer
from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries
from rsunivlm.tasks import IMAGE_MARK, Task

MINI = Path(__file__).resolve().parents[1] / "playground/benchmarks/mini"
WAYS = ("chat", "stream", "typed")
# A typed endpoint names the task, so its route has another source; drafts depend on what is answered beside.
NOT_COMPARED = {"route_source", "route_confidence", "decoding"}


@dataclass(frozen=True)
class Question:
    """A question and the answer that it gets alone."""

    task: Task
    prompt: str
    urls: tuple[str, ...]
    alone: Answer


@dataclass
class Log:
    """What the clients have seen."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    after_signal: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    signalled: bool = False


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=str(bundled_checkpoint()))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--per-task", type=int, default=12, help="questions of each task (default 12)")
    arguments = parser.parse_args()
    questions = answer_alone(arguments.model, arguments.per_task)
    command = [sys.executable, "-m", "rsunivlm.cli", "serve", arguments.model, "--port", "0"]
    server = subprocess.Popen([*command, "--slots", str(arguments.slots)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split(" on ")[-1].strip()
        if not address:
            sys.exit("the server did not start")
        result = asyncio.run(load(server, address, questions, arguments))
    finally:
        server.kill()
    print(
        f"{result['answered']} answers, {result['mixed_up']} mixed up, {result['lost']} lost, "
        f"{result['questions_per_s']:.1f} questions/s, p50 {result['p50_s']:.2f} s, "
        f"p95 {result['p95_s']:.2f} s"
    )
    print(json.dumps(result))


def answer_alone(model: str, per_task: int) -> list[Question]:
    """The questions of the mini benchmark, each with its single-run answer."""
    from rsunivlm.inference.predictor import RSUniVLM

    quiet_libraries()
    predictor = RSUniVLM.from_pretrained(model)
    questions = []
    for task in Task:
        for record in islice(read_records(MINI / f"{task}.jsonl"), per_task):
            files = [resolve_image(MINI, name).read_bytes() for name in record.images]
            prompt = record.turns[0].prompt.replace(IMAGE_MARK, "").strip()
            urls = tuple("data:image/webp;base64," + base64.b64encode(file).decode() for file in files)
            questions.append(Question(task, prompt, urls, predictor.ask(files, prompt)))
    return questions


async def load(
    server: subprocess.Popen[str], address: str, questions: list[Question], arguments: argparse.Namespace
) -> dict[str, Any]:
    """All clients for a while, then the signal."""
    log = Log()
    memory = [resident_mb(server.pid)]
    # A connection for every question: one that is kept open may be closed by a stopping server just when the
    # next question is sent, and nobody could tell whether that one was accepted.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    http = httpx.AsyncClient(base_url=address, timeout=300, limits=limits)
    clients = [
        asyncio.create_task(client(http, questions, log, random.Random(seed)))
        for seed in range(arguments.clients)
    ]
    started = time.perf_counter()
    while time.perf_counter() - started < arguments.seconds:
        await asyncio.sleep(min(1.0, arguments.seconds / 20))
        memory.append(resident_mb(server.pid))
    seconds = time.perf_counter() - started
    answered = sum(len(values) for values in log.latencies.values())
    latencies = sorted(value for values in log.latencies.values() for value in values)
    in_flight, log.signalled = log.in_flight, True
    server.send_signal(signal.SIGTERM)
    stopped = time.perf_counter()
    await asyncio.gather(*clients)
    await http.aclose()
    code = await asyncio.to_thread(server.wait, 300)
    return {
        "benchmark": "serve_load",
        "clients": arguments.clients,
        "slots": arguments.slots,
        "seconds": round(seconds, 1),
        "questions": len(questions),
        "answered": answered,
        "mixed_up": log.outcomes["mixed up"] + log.after_signal["mixed up"],
        "lost": log.outcomes["lost"],
        "refused": {name: count for name, count in log.outcomes.items() if name.isdigit()},
        "questions_per_s": round(answered / seconds, 2),
        "p50_s": round(statistics.median(latencies), 3),
        "p95_s": round(latencies[int(0.95 * (len(latencies) - 1))], 3),
        "p50_s_by_task": {task: round(statistics.median(v), 3) for task, v in sorted(log.latencies.items())},
        # The first sample is that of a server that has answered nothing.
        "rss_mb": {
            "idle": memory[0],
            "at_a_quarter": memory[len(memory) // 4],
            "at_half": memory[len(memory) // 2],
            "at_the_end": memory[-1],
            "most": max(memory),
        },
        "stop": {
            "in_flight": in_flight,
            "outcomes": dict(log.after_signal),
            "seconds": round(time.perf_counter() - stopped, 1),
            "exit_code": code,
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


async def client(http: httpx.AsyncClient, questions: list[Question], log: Log, order: random.Random) -> None:
    """Ask one question after the other until the server stops."""
    while True:
        question, way = order.choice(questions), order.choice(WAYS)
        begun_before, started = not log.signalled, time.perf_counter()
        log.in_flight += 1
        try:
            outcome = await ask(http, question, way)
        except httpx.TransportError:
            outcome = "lost" if begun_before else "no connection"
        log.in_flight -= 1
        if outcome == "answered" and not log.signalled:
            log.latencies.setdefault(str(question.task), []).append(time.perf_counter() - started)
        (log.after_signal if log.signalled and outcome != "lost" else log.outcomes)[outcome] += 1
        if log.signalled and outcome != "answered":
            return
        if outcome == "429":
            await asyncio.sleep(1)


async def ask(http: httpx.AsyncClient, question: Question, way: str) -> str:
    """One question; returns what became of it."""
    if way == "typed":
        body: dict[str, Any] = {"images": question.urls, "prompt": question.prompt}
        answer = await http.post(f"/v1/rs/{question.task}", json=body)
    else:
        parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in question.urls]
        content = [*parts, {"type": "text", "text": question.prompt}]
        body = {"messages": [{"role": "user", "content": content}], "stream": way == "stream"}
        answer = await http.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        return str(answer.status_code)
    alone = question.alone.to_json()
    if way == "stream":
        events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        if events[-1] != "[DONE]":
            return "lost"
        deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
        return same("".join(delta.get("content", "") for delta in deltas), alone["text"])
    sent = answer.json()
    if way == "chat":
        return same(sent["choices"][0]["message"]["content"], alone["text"])
    keys = set(alone) - NOT_COMPARED
    return same({key: sent[key] for key in keys}, {key: alone[key] for key in keys})


def same(sent: object, alone: object) -> str:
    """Whether an answer is the right one."""
    return "answered" if sent == alone else "mixed up"


def resident_mb(process: int) -> int:
    """Resident memory of a process, in MB; Linux only."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


if __name__ == "__main__":
    main()
