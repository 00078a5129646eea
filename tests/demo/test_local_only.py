"""Gradio's habit of fetching addresses is switched off."""

from __future__ import annotations

import asyncio

import pytest

gr = pytest.importorskip("gradio")

from rsunivlm.demo.local_only import RefuseRemoteFiles, refuse_remote  # noqa: E402  # after the skip


@pytest.mark.parametrize("url", ["http://example.org/a.png", "https://example.org/a.png"])
def test_upload_field_refuses_urls(url: str) -> None:
    with gr.Blocks(analytics_enabled=False):
        field = refuse_remote(gr.File())
    with pytest.raises(gr.Error, match="not fetched"):
        asyncio.run(field.async_move_resource_to_block_cache(url))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gradio_api/file=http://example.org/a.png", 403),
        ("/file=HTTPS://example.org/a.png", 403),
        ("/gradio_api/file=/tmp/http/a.png", 200),
        ("/", 200),
    ],
)
def test_file_route_refuses_urls(path: str, status: int) -> None:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    inner = Starlette(routes=[Route("/{rest:path}", lambda request: PlainTextResponse("ok"))])
    assert TestClient(RefuseRemoteFiles(inner)).get(path).status_code == status
