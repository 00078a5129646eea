"""From a draft to its answer: reading and decoding beside the event loop, waiting with limits, streaming.

The engine owns the model; this is all that the endpoints know of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rsunivlm.inference.answer import Answer
from rsunivlm.serving.body import read_body, watch_for_disconnect
from rsunivlm.serving.drafts import Draft, Question, prepare
from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.settings import COPIES_OF_BODY

if TYPE_CHECKING:
    from fastapi import Request as HttpRequest

    from rsunivlm.inference.engine import Engine
    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.serving.admission import Gate, Ticket
    from rsunivlm.serving.metrics import Metrics
    from rsunivlm.serving.router.engine import RouterEngine

Result = TypeVar("Result")
Body = TypeVar("Body")


class Asker:
    """What the endpoints share.

    Args:
        frontend: Of the checkpoint, for checks and tokens.
        engine: Runs the model, or asks those who do.
        gate: Limits and the tickets of accepted requests.
        metrics: Counts tokens.
    """

    def __init__(
        self, frontend: Frontend, engine: Engine | RouterEngine, gate: Gate, metrics: Metrics
    ) -> None:
        self.frontend, self.engine, self.gate, self.metrics = frontend, engine, gate, metrics
        self._threads = concurrent.futures.ThreadPoolExecutor(gate.settings.decode_threads, "serving")

    async def in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run `work` beside the event loop, where it may take its time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))

    async def read_question(
        self, http: HttpRequest, ticket: Ticket, read: Callable[[bytes], tuple[Body, Draft]]
    ) -> tuple[Body, Question]:
        """Body to question; `read` runs in a thread.

        Raises:
            ApiError: The reason of a refusal.
        """
        body = await read_body(http, ticket, self.gate)
        size = COPIES_OF_BODY * len(body)
        fields, draft = await self.in_thread(read, body)
        question = await self.in_thread(prepare, draft, self.frontend, self.gate, ticket)
        self.gate.drop(ticket, size)
        return fields, question

    async def answer(self, http: HttpRequest, ticket: Ticket, question: Question) -> Answer:
        """The whole answer; see `events`."""
        answer = await anext(self.events(http, ticket, question, streaming=False))
        assert isinstance(answer, Answer)  # nothing comes before it
        return answer

    async def events(
        self, http: HttpRequest, ticket: Ticket, question: Question, *, streaming: bool
    ) -> AsyncIterator[str | Answer]:
        """Pieces of text as they are written (if `streaming`), then the answer.

        Raises:
            ApiError: 400 from the engine, 499 when the client goes, 503 when the engine is closed, 504 when
                no slot came free in time; what a router's engine reports of its servers.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()  # None: the future is done

        def put(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        try:
            future = await self.in_thread(self.engine.submit, question.request, put if streaming else None)
        except ValueError as error:
            raise ApiError(400, "invalid_request", str(error)) from error
        except RuntimeError as error:  # its thread has died, and the log says of what
            self.gate.broken = True
            raise ApiError(503, "broken", "the model has failed; the server must be started again") from error
        ticket.give_up = partial(self.engine.give_up, future)
        future.add_done_callback(lambda _: put(None))
        gone = asyncio.ensure_future(watch_for_disconnect(http))
        piece = asyncio.ensure_future(pieces.get())
        patience: float | None = self.gate.settings.max_wait
        try:
            while True:
                done, _ = await asyncio.wait(
                    {piece, gone}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if piece in done:
                    if (text := piece.result()) is None:
                        break
                    piece = asyncio.ensure_future(pieces.get())
                    yield text
                elif gone in done:
                    raise gone.result()
                else:
                    patience = None  # either it can still be taken back, or it runs, which has its own end
                    if future.cancel():
                        message = f"no slot came free within {self.gate.settings.max_wait:g} s"
                        raise ApiError(504, "timeout", message)
        finally:
            gone.cancel()
            piece.cancel()
        yield _result(future)

    def count(self, ticket: Ticket, question: Question, answer: Answer) -> dict[str, int]:
        """Note that an answer was made; returns its token counts as OpenAI's ``usage``."""
        ticket.outcome = "answered" if answer.finished else "cut"
        completion = len(self.frontend.processor.tokenizer.encode(answer.text, add_special_tokens=False))
        self.metrics.count_tokens(ticket.task, question.prompt_tokens, completion)
        return {
            "prompt_tokens": question.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": question.prompt_tokens + completion,
        }


def _result(future: concurrent.futures.Future[Answer]) -> Answer:
    try:
        return future.result()
    except concurrent.futures.CancelledError as error:
        raise ApiError(503, "stopping", "the server is stopping") from error
    except ValueError as error:
        raise ApiError(400, "invalid_request", str(error)) from error
