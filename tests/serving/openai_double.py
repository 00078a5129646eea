"""A server that speaks as an OpenAI-compatible engine does and says what a test tells it to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import uvicorn
from messages import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rsunivlm.serving.server import bind


class OpenAIDouble:
    """On loopback, in a thread.

    Attributes:
        bodies, headers: Of the questions that came.
        pieces: What it answers with.
        finish: How the answer ends; None breaks the connection off.
        tokens: Tokens of the prompt that it reports, if any.
        refusal: Status and body that it answers with instead.
        gate: It answers while set; it writes the first piece before it looks.
        health: Status of its health.
    """

    def __init__(self, *pieces: str) -> None:
        self.bodies, self.headers = [], []
        self.pieces, self.finish, self.tokens = pieces or ("yes",), "stop", None
        self.refusal, self.health = None, 200
        self.gate = threading.Event()
        self.gate.set()
        paths = ("/v1/completions", "/v1/chat/completions")
        routes = [Route(path, self._answer, methods=["POST"]) for path in paths]
        app = Starlette(routes=[*routes, Route("/health", self._health)])
        self.listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self.listener]}, daemon=True
        )
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        self.gate.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self.listener.close()

    async def _health(self, http: Request) -> Response:
        return Response(status_code=self.health)

    async def _answer(self, http: Request) -> Response:
        self.bodies.append(json.loads(await http.body()))
        self.headers.append(http.headers)
        if self.refusal is not None:
            status, content = self.refusal
            return JSONResponse(content, status)
        return StreamingResponse(
            self._chunks(http.url.path.startswith("/v1/chat")), media_type="text/event-stream"
        )

    async def _chunks(self, chat: bool) -> AsyncIterator[bytes]:
        def chunk(text: str, reason: str | None = None) -> bytes:
            words = {"delta": {"content": text}} if chat else {"text": text}
            return event({"choices": [{"index": 0, **words, "finish_reason": reason}], "usage": None})

        def event(data: dict) -> bytes:
            return b"data: " + json.dumps(data).encode() + b"\n\n"

        for piece in self.pieces:
            yield chunk(piece)
            while not self.gate.is_set():
                await asyncio.sleep(0.005)
        if self.finish is None:
            raise ConnectionAbortedError
        yield chunk("", self.finish)
        if self.tokens is not None:
            yield event({"choices": [], "usage": {"prompt_tokens": self.tokens, "total_tokens": 0}})
        yield b"data: [DONE]\n\n"
