"""Who comes in: the count of accepted requests, the memory they hold, and the closed door while stopping.

Admission happens before a byte of the body is read, and ends after the last byte of the answer is written, so
that "accepted" has one meaning for the limits, for the metrics and for a graceful stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Ticket:
    """An accepted request.

    Attributes:
        task: Name of the task once it is routed.
        outcome: How it ended, as the metrics count it.
        held: Bytes it holds of `Settings.max_memory`.
        give_up: Drops its question, wherever it is.
        started: Clock at admission.
    """

    task: str = "none"
    outcome: str = "failed"
    held: int = 0
    give_up: Callable[[], None] = lambda: None
    started: float = field(default_factory=time.monotonic)


class Gate:
    """Admits, counts and releases requests. `hold` and `drop` may be called from any thread.

    Args:
        settings: The limits.
        on_end: Called with each ticket that ends, and with one for each request that was turned away.
    """

    def __init__(self, settings: Settings, on_end: Callable[[Ticket], None]) -> None:
        self.settings = settings
        self.accepted = 0
        self.open = 0
        self.held = 0
        self.stopping = False
        self.broken = False  # set when the engine takes no more questions
        self._on_end = on_end
        self._lock = threading.Lock()

    def admit(self) -> Ticket:
        """Take a request in.

        Raises:
            ApiError: 503 while stopping, 429 when slots and queue are full.
        """
        if self.stopping:
            raise self._turn_away(ApiError(503, "stopping", "the server is stopping"))
        if self.open >= self.settings.slots + self.settings.queue:
            message = f"{self.open} requests are being answered or wait; try again later"
            raise self._turn_away(ApiError(429, "queue_full", message))
        self.open += 1
        self.accepted += 1
        return Ticket()

    def release(self, ticket: Ticket) -> None:
        """A request has ended, answered or not: drop what waits for it and what it holds."""
        ticket.give_up()
        self.drop(ticket, ticket.held)
        self.open -= 1
        self._on_end(ticket)

    def hold(self, ticket: Ticket, size: int) -> None:
        """Count `size` bytes as held by a request.

        Raises:
            ApiError: 429 when all requests together would hold more than `Settings.max_memory`.
        """
        with self._lock:
            if self.held + size > self.settings.max_memory:
                raise ApiError(
                    429, "memory_full", "the images of other requests fill the memory; try again later"
                )
            self.held += size
            ticket.held += size

    def drop(self, ticket: Ticket, size: int) -> None:
        """`size` bytes are held no longer."""
        with self._lock:
            self.held -= size
            ticket.held -= size

    def _turn_away(self, error: ApiError) -> ApiError:
        self._on_end(Ticket(outcome=error.outcome))
        return error


class AdmissionMiddleware:
    """Lets questions (POST below /v1/) through the gate; their ticket is in ``request.state.ticket``."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_question = (
            scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/v1/")
        )
        if not is_question:
            await self.app(scope, receive, send)
            return
        try:
            ticket = self.gate.admit()
        except ApiError as error:
            await error.to_response()(scope, receive, send)
            return
        scope.setdefault("state", {})["ticket"] = ticket
        try:
            await self.app(scope, receive, send)
        finally:
            self.gate.release(ticket)
