"""Keep Gradio from fetching addresses on behalf of a visitor.

Gradio takes a URL wherever it takes a file, and downloads it on the server; it also streams any public URL
through its file route. This page works on uploads alone, so both are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio_client.utils import is_http_url_like
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_REMOTE_FILE = re.compile(r"/file=\s*https?:", re.IGNORECASE)


def refuse_remote(component: gr.File) -> gr.File:
    """Make an upload field refuse URLs; returns it.

    A subclass would do the same, but Gradio writes a stub file beside the source of every subclass.
    """
    keep = component.async_move_resource_to_block_cache

    async def move(path: Any) -> str | None:
        if path is not None and is_http_url_like(str(path)):
            raise gr.Error("Addresses are not fetched; upload the file.", print_exception=False)
        return await keep(path)

    setattr(component, "async_move_resource_to_block_cache", move)  # noqa: B010  # mypy: a method
    return component


class RefuseRemoteFiles:
    """ASGI middleware that answers 403 to requests for remote files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""
        if scope["type"] == "http" and _REMOTE_FILE.search(scope["path"]):
            await PlainTextResponse("remote files are not fetched", status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)
