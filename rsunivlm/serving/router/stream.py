"""What an engine sends back: the chunks of a stream, or why it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from rsunivlm.serving.errors import ApiError

TRY_ANOTHER = (429, 500, 502, 503, 504)  # another server of the expert may answer
CLIENTS_FAULT = (400, 413, 422)
LONGEST_REASON = 300


class BackendError(Exception):
    """A server that should have answered did not."""


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    text: str | None = None  # of a completion
    delta: _Delta = _Delta()  # of a chat completion
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class Writing:
    """An answer in the making.

    Attributes:
        finish_reason: How it ended; None until then.
        prompt_tokens: Tokens of the prompt as the server counted them; None until it says so.
    """

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self._pieces: list[str] = []
        self._on_text = on_text
        self.finish_reason: str | None = None
        self.prompt_tokens: int | None = None

    @property
    def text(self) -> str:
        """What has been written so far."""
        return "".join(self._pieces)

    async def read(self, response: httpx.Response) -> None:
        """Follow a stream to its end.

        Raises:
            BackendError: It is no stream of chunks, reports an error or breaks off; or the server has no
                answer now.
            ApiError: The server refuses the question.
        """
        if response.status_code != 200:
            raise _refusal(response.status_code, _reason(await response.aread()))
        async for line in response.aiter_lines():
            name, _, data = line.partition(":")
            if name == "data" and data.strip() != "[DONE]":
                self._take(data)
        if self.finish_reason is None:
            raise BackendError("its stream broke off")

    def _take(self, data: str) -> None:
        try:
            chunk = _Chunk.model_validate_json(data)
        except ValidationError as error:
            raise BackendError("it sent what is no chunk of a completion") from error
        if chunk.error is not None:
            raise BackendError(_short(_message(chunk.error)))
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if piece := choice.text or choice.delta.content:
                self._pieces.append(piece)
                if self._on_text is not None:
                    self._on_text(piece)


def _refusal(status: int, reason: str) -> Exception:
    if status in TRY_ANOTHER:
        return BackendError(f"status {status}: {reason}")
    if status in CLIENTS_FAULT:
        return ApiError(400, "backend_refused", f"the model's server refuses the question: {reason}")
    return ApiError(
        502, "backend_refused", f"the model's server refuses the router (status {status}): {reason}"
    )


def _reason(body: bytes) -> str:
    try:
        chunk = _Chunk.model_validate_json(body)
    except ValidationError:
        return _short(body.decode(errors="replace"))
    return _short(_message(chunk.error))


def _message(error: Any) -> str:
    """OpenAI's error object, or whatever stands in its place."""
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " ..."
