"""The web application: addresses, and the middleware around them.

A question passes: cross-origin rules (if any), the key (if any), the gate, its endpoint. Whatever
takes time or memory by the size of what a client sends happens behind the gate and beside the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from rsunivlm.inference.answer import Answer
from rsunivlm.serving.admission import AdmissionMiddleware, Gate, Ticket
from rsunivlm.serving.asking import Asker
from rsunivlm.serving.authorisation import KeyMiddleware
from rsunivlm.serving.chat import END_OF_STREAM, ChatBody, Completion, event, read_chat
from rsunivlm.serving.drafts import Draft, Question
from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.metrics import Metrics
from rsunivlm.serving.settings import Settings
from rsunivlm.serving.typed import TaskBody, read_json, read_multipart, write_answer

if TYPE_CHECKING:
    from rsunivlm.inference.engine import Engine
    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.serving.router.backends import Backends
    from rsunivlm.serving.router.engine import RouterEngine


def create_app(
    frontend: Frontend,
    engine: Engine | RouterEngine,
    settings: Settings,
    backends: Backends | None = None,
) -> FastAPI:
    """Build the application; its gate is ``app.state.gate``.

    Args:
        frontend: Of the checkpoint.
        engine: Answers.
        settings: Limits.
        backends: The servers that the engine asks, if it does.
    """
    metrics = Metrics()
    gate = Gate(settings, metrics.count)
    metrics.watch(gate, engine)
    if backends is not None:
        metrics.watch_backends(backends)
    # No documentation pages: they load scripts from elsewhere.
    app = FastAPI(title="RSUniVLM", docs_url=None, redoc_url=None)
    app.state.gate = gate
    _add_status(app, gate, metrics, backends)
    _add_questions(app, Asker(frontend, engine, gate, metrics))
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_failure)
    app.add_middleware(AdmissionMiddleware, gate=gate)  # the last one added is the outermost
    if settings.api_key is not None:
        app.add_middleware(KeyMiddleware, api_key=settings.api_key)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    return app


def _add_status(app: FastAPI, gate: Gate, metrics: Metrics, backends: Backends | None) -> None:
    started = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, Any]:
        if gate.broken:
            raise ApiError(503, "broken", "the model has failed; the server must be started again")
        if backends is None:
            return {"status": "ok"}
        states = backends.states()  # a restart of the router would not mend them: 200 all the same
        lacking = [expert for expert, servers in states.items() if "up" not in servers]
        return {"status": "degraded" if lacking else "ok", "backends": states}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        if gate.stopping:
            raise ApiError(503, "stopping", "the server is stopping")
        if backends is not None and not any(backend.up for backend in backends):
            raise ApiError(503, "backend_down", "no server of any expert can be reached")
        return {"status": "ready"}

    @app.get("/metrics")
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        name = gate.settings.model_name
        model = {"id": name, "object": "model", "created": started, "owned_by": "rsunivlm"}
        return {"object": "list", "data": [model]}


def _add_questions(app: FastAPI, asker: Asker) -> None:
    model_name = asker.gate.settings.model_name

    @app.post("/v1/chat/completions", openapi_extra=_documented(ChatBody))
    async def chat(http: Request) -> Response:
        ticket: Ticket = http.state.ticket
        if _media_type(http) != "application/json":
            raise _unsupported_media("application/json")
        body: ChatBody
        body, question = await asker.read_question(http, ticket, partial(read_chat, model_name=model_name))
        completion = Completion(model_name)
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            return await _stream(asker, http, ticket, question, completion, with_usage)
        answer = await asker.answer(http, ticket, question)
        return JSONResponse(completion.whole(answer, asker.count(ticket, question, answer)))

    @app.post("/v1/rs/{task}", openapi_extra=_documented(TaskBody))
    async def typed(http: Request, task: str) -> Response:
        ticket: Ticket = http.state.ticket
        read: partial[tuple[TaskBody, Draft]]
        match _media_type(http):
            case "application/json":
                read = partial(read_json, task)
            case "multipart/form-data":
                read = partial(read_multipart, task, content_type=http.headers["content-type"])
            case _:
                raise _unsupported_media("application/json or multipart/form-data")
        body, question = await asker.read_question(http, ticket, read)
        answer = await asker.answer(http, ticket, question)
        usage = asker.count(ticket, question, answer)
        content = await asker.in_thread(write_answer, answer, usage, body.mask_format)
        return Response(content, media_type="application/json")


async def _stream(
    asker: Asker, http: Request, ticket: Ticket, question: Question, completion: Completion, with_usage: bool
) -> Response:
    events = asker.events(http, ticket, question, streaming=True)
    # Whatever refuses the question does so before the first piece: it still gets a status of its own.
    first = await anext(events)

    async def chunks() -> AsyncIterator[bytes]:
        yield completion.opening()
        item: str | Answer = first
        try:
            while not isinstance(item, Answer):
                yield completion.piece(item)
                item = await anext(events)
        except asyncio.CancelledError:  # the client has gone
            ticket.outcome = "gone"
            raise
        except ApiError as error:  # the status is long sent
            ticket.outcome = error.outcome
            yield event(error.to_json())
            return
        usage = asker.count(ticket, question, item)
        yield completion.closing(item)
        if with_usage:
            yield completion.usage(usage)
        yield END_OF_STREAM

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter for nginx
    return StreamingResponse(chunks(), media_type="text/event-stream", headers=headers)


def _media_type(http: Request) -> str:
    return http.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported_media(expected: str) -> ApiError:
    return ApiError(415, "unsupported_media_type", f"send the request as {expected}")


def _documented(body: type[ChatBody] | type[TaskBody]) -> dict[str, Any]:
    """Schema of a body that is read by hand, for /openapi.json."""
    return {"requestBody": {"content": {"application/json": {"schema": body.model_json_schema()}}}}


async def _answer_api_error(http: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if ticket := getattr(http.state, "ticket", None):
        ticket.outcome = error.outcome
    return error.to_response()


async def _answer_http_error(http: Request, error: Exception) -> Response:
    """Unknown addresses and methods."""
    assert isinstance(error, HTTPException)
    message = f"{http.method} {http.url.path}: {error.detail}"
    return await _answer_api_error(http, ApiError(error.status_code, "unknown_address", message))


async def _answer_failure(http: Request, error: Exception) -> Response:
    """A fault of ours; uvicorn logs the traceback, the client learns no more than that."""
    return await _answer_api_error(
        http, ApiError(500, "internal_error", "the server failed; its log says why")
    )
