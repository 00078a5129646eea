"""An engine that answers when a test tells it to."""

from __future__ import annotations

from concurrent.futures import Future


class HeldEngine:
    """Keeps every request until a test starts or answers it."""

    waiting = running = 0

    def __init__(self):
        self.requests, self.on_texts, self.futures = [], [], []
        self.closed = False

    def submit(self, request, on_text=None):
        if self.closed:
            raise RuntimeError("the engine is closed")
        self.requests.append(request)
        self.on_texts.append(on_text)
        self.futures.append(Future())
        return self.futures[-1]

    def give_up(self, future):
        future.cancel()

    def close(self, *, drain=True):
        self.closed = True
