"""What Prometheus reads from ``/metrics``."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from rsunivlm.inference.engine import Engine
    from rsunivlm.serving.admission import Gate, Ticket
    from rsunivlm.serving.router.backends import Backends
    from rsunivlm.serving.router.engine import RouterEngine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "rsunivlm_requests", "Requests by task and outcome", ("task", "outcome"), registry=self.registry
        )
        self._seconds = Histogram(
            "rsunivlm_request_seconds",
            "From admission to the last byte, answered requests",
            ("task",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "rsunivlm_tokens", "Tokens of answered requests", ("task", "kind"), registry=self.registry
        )

    def watch(self, gate: Gate, engine: Engine | RouterEngine) -> None:
        """Read gauges from where the numbers are kept."""
        for name, text, read in (
            ("accepted", "Requests accepted and not yet ended", lambda: gate.open),
            ("waiting", "Requests that wait for a slot", lambda: engine.waiting),
            ("running", "Requests being decoded", lambda: engine.running),
            ("held_bytes", "Memory counted for bodies and pictures", lambda: gate.held),
        ):
            Gauge(f"rsunivlm_{name}", text, registry=self.registry).set_function(read)

    def watch_backends(self, backends: Backends) -> None:
        """Read of each server behind the router whether it answers and how much it does."""
        labels = ("expert", "backend")
        up = Gauge("rsunivlm_backend_up", "1 where a backend answers", labels, registry=self.registry)
        open_ = Gauge("rsunivlm_backend_open", "Questions a backend has", labels, registry=self.registry)
        for backend in backends:
            up.labels(backend.expert, backend.url).set_function(partial(getattr, backend, "up"))
            open_.labels(backend.expert, backend.url).set_function(partial(getattr, backend, "open"))

    def count(self, ticket: Ticket) -> None:
        """A request has ended."""
        self._requests.labels(ticket.task, ticket.outcome).inc()
        if ticket.outcome in ("answered", "cut"):
            self._seconds.labels(ticket.task).observe(time.monotonic() - ticket.started)

    def count_tokens(self, task: str, prompt: int, completion: int) -> None:
        """An answer has been written."""
        self._tokens.labels(task, "prompt").inc(prompt)
        self._tokens.labels(task, "completion").inc(completion)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
