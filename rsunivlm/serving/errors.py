"""Refusals in the shape that OpenAI's clients know: ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import ValidationError

RETRY_AFTER_SECONDS = 1  # one batch of short answers
CLIENT_GONE = 499  # nobody reads it; the metrics do
# What the metrics call each status; other 4xx are "refused", other 5xx "failed".
OUTCOMES = {429: "busy", CLIENT_GONE: "gone", 504: "timeout"}


class ApiError(Exception):
    """A request that gets no answer.

    Args:
        status: HTTP status.
        code: Word for programs, e.g. ``queue_full``.
        message: Sentence for people: what is wrong and the mend.
        param: The field of the request at fault.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    @property
    def outcome(self) -> str:
        """How the metrics count it."""
        if self.code == "stopping":
            return "stopping"
        return OUTCOMES.get(self.status, "refused" if self.status < 500 else "failed")

    def to_json(self) -> dict[str, Any]:
        """The error object."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def to_response(self) -> JSONResponse:
        """The error as an answer of the server."""
        headers = {}
        if self.status in (429, 503):
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if self.status in (408, 413, 503):  # the body was not read, or no further request will be
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.to_json(), self.status, headers)


def invalid_body(error: ValidationError) -> ApiError:
    """The first fault of a body, with the place where it is."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = _place(fault["loc"])
    code = "invalid_json" if fault["type"] == "json_invalid" else "invalid_value"
    return ApiError(400, code, f"{param}: {fault['msg']}" if param else fault["msg"], param or None)


def _place(location: Sequence[int | str]) -> str:
    """``("messages", 0, "content")`` as ``messages[0].content``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
