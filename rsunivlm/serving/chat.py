"""OpenAI's chat completions: what of a body is understood, ignored or refused, and how answers are written.

Understood: text and image parts, earlier turns, `max_tokens`, `stream`. Ignored, as clients send them out of
habit and no answer gets worse: system messages (the model has one fixed system prompt), temperature, top_p,
seed, penalties, user and other fields (decoding is always greedy). Refused: what would change the shape or
the meaning of the answer (n, stop, logprobs, tools, JSON formats).

The optional field `rsunivlm` carries what OpenAI has no word for: the task, the labels of a mask, a closed
list of answers; the same field of a response carries the route and the boxes in pixels.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsunivlm.inference.answer import Answer, Request
from rsunivlm.serving.body import image_bytes
from rsunivlm.serving.drafts import Draft
from rsunivlm.serving.errors import ApiError, invalid_body
from rsunivlm.tasks import Task, parse_task


class TextPart(BaseModel):
    """Words."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """A data URL; `detail` is ignored."""

    url: str


class ImagePart(BaseModel):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]

    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    def urls(self) -> list[str]:
        """Its images."""
        if isinstance(self.content, str):
            return []
        return [part.image_url.url for part in self.content if isinstance(part, ImagePart)]


class Extension(BaseModel):
    """What OpenAI has no word for."""

    model_config = ConfigDict(extra="forbid")

    task: str | None = None
    labels: list[str] | None = None
    choices: list[str] | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False


class ChatBody(BaseModel):
    """Body of a chat completion; fields that are not listed are ignored."""

    model: str | None = None
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, gt=0)
    max_completion_tokens: int | None = Field(None, gt=0)
    stream: bool = False
    stream_options: StreamOptions | None = None
    rsunivlm: Extension = Extension()
    n: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    def unsupported(self) -> str | None:
        """A field that asks for what the model cannot do."""
        asked = {
            "n": self.n not in (None, 1),
            "stop": self.stop,
            "logprobs": self.logprobs,
            "tools": self.tools,
            "functions": self.functions,
            "response_format": (self.response_format or {}).get("type", "text") != "text",
        }
        return next((field for field, value in asked.items() if value), None)


def read_chat(content: bytes, model_name: str) -> tuple[ChatBody, Draft]:
    """Read a body.

    Raises:
        ApiError: 400 (404 for another model) with the field at fault.
    """
    try:
        body = ChatBody.model_validate_json(content)
    except ValidationError as error:
        raise invalid_body(error) from error
    if body.model not in (None, model_name):
        reason = f"this server has no model {body.model!r}, only {model_name!r}"
        raise ApiError(404, "model_not_found", reason, "model")
    if field := body.unsupported():
        raise ApiError(400, "unsupported_value", f"{field}: not supported; leave it out", field)
    turns = [
        (index, message)
        for index, message in enumerate(body.messages)
        if message.role in ("user", "assistant")
    ]
    if len(turns) % 2 == 0 or any(
        message.role != ("assistant" if number % 2 else "user") for number, (_, message) in enumerate(turns)
    ):
        reason = "messages: user and assistant must take turns, from a user to a user"
        raise ApiError(400, "invalid_value", reason, "messages")
    for index, message in turns[1:]:
        if message.urls():
            param = f"messages[{index}]"
            reason = f"{param}: images belong into the first user message of a conversation"
            raise ApiError(400, "invalid_value", reason, param)
    texts = [message.text() for _, message in turns]
    if not texts[-1].strip():
        raise ApiError(400, "invalid_value", "messages: the last user message has no text", "messages")
    first = turns[0][0]
    urls = turns[0][1].urls()
    params = [f"messages[{first}], image {number}" for number in range(1, len(urls) + 1)]
    request = Request(
        images=(),
        prompt=texts[-1],
        task=_task(body.rsunivlm.task),
        labels=body.rsunivlm.labels,
        choices=body.rsunivlm.choices,
        history=tuple(zip(texts[0:-1:2], texts[1::2], strict=True)),
        max_new_tokens=body.max_completion_tokens or body.max_tokens,
    )
    files = [image_bytes(url, param) for url, param in zip(urls, params, strict=True)]
    return body, Draft(files, request, params=params)


def _task(name: str | None) -> Task | None:
    try:
        return None if name is None else parse_task(name)
    except ValueError as error:
        raise ApiError(400, "unknown_task", str(error), "rsunivlm.task") from error


def finish_reason(answer: Answer) -> str:
    """``length`` for an answer that a limit of tokens or time has cut."""
    return "stop" if answer.finished else "length"


def extension(answer: Answer) -> dict[str, Any]:
    """Route, boxes in pixels, shares of a mask."""
    return {name: value for name, value in answer.to_json().items() if name not in ("text", "finished")}


class Completion:
    """Writes one answer as a completion or as chunks of one."""

    def __init__(self, model_name: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_name}

    def whole(self, answer: Answer, usage: dict[str, int]) -> dict[str, Any]:
        """A ``chat.completion``."""
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage,
            "rsunivlm": extension(answer),
        }

    def opening(self) -> bytes:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        """A piece of text."""
        return self._chunk({"content": text})

    def closing(self, answer: Answer) -> bytes:
        """The chunk that says how the answer ended."""
        return self._chunk({}, finish_reason(answer), rsunivlm=extension(answer))

    def usage(self, usage: dict[str, int]) -> bytes:
        """The chunk of ``stream_options.include_usage``."""
        return event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage})

    def _chunk(self, delta: dict[str, str], reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice], **more})


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(data)}\n\n".encode()


END_OF_STREAM = b"data: [DONE]\n\n"
