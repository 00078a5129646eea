"""The process around the application: socket, signals, and a stop that loses no accepted request.

First signal: the gate closes (new questions get 503), accepted ones are answered, then the process ends with
code 0. A second signal, or the end of the grace time, ends it at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import platform
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from rsunivlm.serving.admission import Gate
from rsunivlm.serving.app import create_app
from rsunivlm.serving.settings import Settings

if TYPE_CHECKING:
    from rsunivlm.inference.engine import Engine
    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.serving.router.backends import Backends
    from rsunivlm.serving.router.engine import RouterEngine

LAST_BYTES_SECONDS = 10  # for clients that read their answer slowly
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 8_000_000  # of glibc's mallopt; Pillow asks for blocks of 16 MB
logger = logging.getLogger("uvicorn.error")  # uvicorn's own log, so that all lines look alike


def bind(host: str, port: int) -> socket.socket:
    """Reserve the address; connections are accepted once the server runs.

    Raises:
        ValueError: The address is taken, unknown or not ours.
    """
    if not 0 <= port <= 65_535:  # the system would take it modulo 65,536
        raise ValueError(f"cannot listen on {host} port {port}: no such port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ValueError(f"cannot listen on {host} port {port}: {error}") from error
    return listener


def serve(
    frontend: Frontend,
    engine: Engine | RouterEngine,
    settings: Settings,
    listener: socket.socket,
    *,
    backends: Backends | None = None,
    access_log: bool = False,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve until a signal.

    Args:
        frontend: Of the checkpoint.
        engine: Answers; closed at the end.
        settings: Limits.
        listener: From `bind`.
        backends: The servers that the engine asks, if it does.
        access_log: Log a line for each request.
        on_start: Called when connections are accepted.
    """
    app = create_app(frontend, engine, settings, backends)
    config = uvicorn.Config(
        app,
        access_log=access_log,
        lifespan="off",
        log_level="info" if access_log else "warning",
        server_header=False,
        timeout_graceful_shutdown=LAST_BYTES_SECONDS,
        ws="none",
    )
    server = _Server(config, app.state.gate, on_start)
    _give_large_blocks_back()
    asyncio.run(_serve(server, listener, engine))


def _give_large_blocks_back() -> None:
    """Keep memory flat: glibc otherwise keeps the freed blocks of large pictures, and never merges them."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


async def _serve(server: _Server, listener: socket.socket, engine: Engine | RouterEngine) -> None:
    try:
        await server.serve(sockets=[listener])
    finally:
        # Inside the loop: the engine's thread may still hand pieces of text to it.
        await asyncio.to_thread(engine.close)


class _Server(uvicorn.Server):
    """uvicorn, but closing its listener only when the accepted work is done."""

    def __init__(self, config: uvicorn.Config, gate: Gate, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.gate, self.on_start = gate, on_start
        self.deadline = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections and say so."""
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self.gate.stopping:
            _end_at_once()
        self.gate.stopping = True
        self.deadline = time.monotonic() + self.gate.settings.grace

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to go."""
        if self.gate.stopping and self.gate.open == 0:
            self.should_exit = True
        elif time.monotonic() > self.deadline:
            logger.error("grace time is over: %d accepted requests stay unanswered", self.gate.open)
            _end_at_once()
        return await super().on_tick(counter)


def _end_at_once() -> None:
    """Whatever the model's thread is doing."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
