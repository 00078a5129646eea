"""The optional key: one bearer token for everything but the health checks."""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rsunivlm.serving.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY_VARIABLE = "RSUNIVLM_API_KEY"
BACKEND_KEY_VARIABLE = "RSUNIVLM_BACKEND_API_KEY"
OPEN_PATHS = ("/health", "/ready")


def read_api_key(file: Path | None, variable: str = KEY_VARIABLE) -> str | None:
    """The key in a file, else in an environment variable, else None.

    Raises:
        ValueError: The file cannot be read, or the key is empty or not plain ASCII.
    """
    if file is None:
        source, key = f"environment variable {variable}", os.environ.get(variable)
        if key is None:
            return None
    else:
        source = str(file)
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the API key from {file}: {error}") from error
    key = key.strip()
    if not key or not key.isascii():
        raise ValueError(f"the API key in {source} is empty or not plain ASCII")
    return key


class KeyMiddleware:
    """Refuses requests without the key."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self.app, self.expected = app, f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            sent = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(sent, self.expected):  # takes as long for a near miss as for any other
                error = ApiError(
                    401, "invalid_api_key", "send the server's key as 'Authorization: Bearer KEY'"
                )
                await error.to_response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
