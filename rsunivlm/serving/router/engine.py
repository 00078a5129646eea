"""The engine of a server that has no model: it asks the servers behind it and reads their answers.

To the server it is what `rsunivlm.inference.engine.Engine` is. Every question is asked as a stream, whether
the client streams or not, so that a limit of time cuts an answer and does not lose it. A question goes to
another server of its expert only as long as none of its answer has come: no client sees two beginnings.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from threading import Thread
from typing import Any

import httpx

from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request, read_answer
from rsunivlm.inference.constraints import closed_list, mask_labels
from rsunivlm.inference.frontend import Frontend
from rsunivlm.inference.preparation import Prompt
from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.router.backends import Backend, Backends
from rsunivlm.serving.router.prompts import PromptWriter
from rsunivlm.serving.router.stream import BackendError, Writing

CONNECT_SECONDS = 5.0
logger = logging.getLogger("uvicorn.error")


class RouterEngine:
    """Answers requests from any thread by asking other servers.

    Args:
        frontend: Of the checkpoint whose experts the servers serve.
        writer: Form in which prompts are sent.
        backends: The servers.
        slots: Questions asked at the same time; more wait.
        api_key: Sent to the servers as bearer token.
    """

    def __init__(
        self,
        frontend: Frontend,
        writer: PromptWriter,
        backends: Backends,
        *,
        slots: int,
        api_key: str | None = None,
    ) -> None:
        self._frontend, self._writer, self._backends = frontend, writer, backends
        self.waiting = self.running = 0
        self._closing = False
        self._asking: dict[Future[Answer], Future[Answer | None]] = {}
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(slots)
        self._client = httpx.AsyncClient(
            headers={"Content-Type": "application/json"}
            | ({} if api_key is None else {"Authorization": f"Bearer {api_key}"}),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=slots),
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            trust_env=False,  # the addresses are meant as they stand, whatever proxy the machine has
        )
        self._thread = Thread(target=self._loop.run_forever, name="rsunivlm-router", daemon=True)
        self._thread.start()
        self._watching = asyncio.run_coroutine_threadsafe(backends.watch(self._client), self._loop)

    def submit(self, request: Request, on_text: Callable[[str], None] | None = None) -> Future[Answer]:
        """Hand in a request; see `Engine.submit`.

        Returns:
            The answer to come. Its exception is an ApiError: 400 where a server refuses the question, 502
            where it fails or does not fit this checkpoint, 503 where none can be reached, 504 where nothing
            was written in time.

        Raises:
            ValueError: The request is wrong.
            RuntimeError: The engine is closed.
        """
        prompt = self._frontend.prepare(request)
        if self._closing:
            raise RuntimeError("the engine is closed")
        future: Future[Answer] = Future()
        asking = asyncio.run_coroutine_threadsafe(self._serve(prompt, future, on_text), self._loop)
        self._asking[future] = asking
        asking.add_done_callback(partial(self._hand_over, future))
        return future

    def give_up(self, future: Future[Answer]) -> None:
        """Drop a question that nobody waits for any more; see `Engine.give_up`.

        The connection to the server that answers it is closed, which ends its work there, too.
        """
        if (asking := self._asking.get(future)) is not None:
            asking.cancel()

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """What a server is asked, but for its model's name; takes a while, so run it in a thread."""
        body = self._writer.write(prompt) | {
            "max_tokens": self._frontend.token_limit(prompt),
            "temperature": 0,
            "stop_token_ids": [self._frontend.processor.end_token_id],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if (choices := closed_list(prompt.request, prompt.route)) is not None:
            body["structured_outputs"] = {"choice": choices}
        return body

    def close(self, *, drain: bool = True) -> None:
        """Stop; what was submitted is answered first, or with `drain=False` dropped."""
        self._closing = True
        asyncio.run_coroutine_threadsafe(self._end(drain), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, drain: bool) -> None:
        self._watching.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in () if drain else others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()
        await self._loop.shutdown_default_executor()

    async def _serve(
        self, prompt: Prompt, future: Future[Answer], on_text: Callable[[str], None] | None
    ) -> Answer | None:
        """Wait for a slot and answer; None where the question was taken back meanwhile."""
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            return await self._answer(prompt, on_text) if future.set_running_or_notify_cancel() else None
        finally:
            self.running -= 1
            self._slots.release()

    async def _answer(self, prompt: Prompt, on_text: Callable[[str], None] | None) -> Answer:
        request, frontend = prompt.request, self._frontend
        writing = Writing(on_text)
        try:
            async with asyncio.timeout(request.max_seconds):
                body = await asyncio.to_thread(self.body, prompt)
                await self._ask(prompt.expert, body, writing)
        except TimeoutError as error:
            if not writing.text:
                message = f"the model's server wrote nothing within {request.max_seconds:g} s"
                raise ApiError(504, "timeout", message) from error
        if writing.prompt_tokens not in (None, len(prompt.input_ids)):
            raise ApiError(
                502,
                "backend_mismatch",
                f"the model's server read {writing.prompt_tokens} tokens where this checkpoint's prompt has "
                f"{len(prompt.input_ids)}: it serves another model or another chat template",
            )
        return await asyncio.to_thread(
            lambda: read_answer(
                writing.text,
                prompt.route,
                open_image(request.images[-1]).size,
                box_codec=frontend.box_codec,
                mask_codec=frontend.mask_codec,
                labels=mask_labels(request, prompt.route),
                finished=writing.finish_reason == "stop",
            )
        )

    async def _ask(self, expert: int, body: dict[str, Any], writing: Writing) -> None:
        """Let one server of the expert write the answer.

        Raises:
            ApiError: A server refuses, breaks off, or none answers.
        """
        tried: list[Backend] = []
        refused: BackendError | None = None
        while (backend := self._backends.choose(expert, tried)) is not None:
            tried.append(backend)
            named = body if backend.model is None else body | {"model": backend.model}
            try:
                with self._backends.asking(backend):  # from now on, so that the next one goes elsewhere
                    content = await asyncio.to_thread(json.dumps, named)
                    async with self._client.stream(
                        "POST", backend.url + self._writer.path, content=content
                    ) as response:
                        await writing.read(response)
                return
            except httpx.TransportError as error:
                backend.note(up=False)
                failure = f"{type(error).__name__} {error}".strip()
            except BackendError as error:
                refused, failure = error, str(error)
            logger.warning("backend %s of expert %s: %s", backend.url, backend.expert, failure)
            if writing.text:
                raise ApiError(502, "backend_failed", f"the model's server broke off: {failure}")
        if refused is not None:
            raise ApiError(502, "backend_failed", f"the model's server failed: {refused}")
        name = tried[0].expert
        raise ApiError(
            503, "backend_down", f"no server of the expert {name!r} can be reached; try again later"
        )

    def _hand_over(self, future: Future[Answer], asking: Future[Answer | None]) -> None:
        self._asking.pop(future, None)
        if asking.cancelled():
            if not future.cancel():  # it is being answered
                future.set_exception(CancelledError())
        elif (error := asking.exception()) is not None:
            future.set_exception(error)
        elif (answer := asking.result()) is not None:
            future.set_result(answer)
