"""Reading a request's body within limits of size, memory and time, and the image files inside it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from rsunivlm.serving.errors import CLIENT_GONE, ApiError
from rsunivlm.serving.settings import COPIES_OF_BODY, MB

if TYPE_CHECKING:
    from fastapi import Request as HttpRequest

    from rsunivlm.serving.admission import Gate, Ticket

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


async def read_body(http: HttpRequest, ticket: Ticket, gate: Gate) -> bytes:
    """The body of a request; its memory is held by the ticket.

    Raises:
        ApiError: 413 as soon as it is larger than the limit, 408 when it takes too long, 429 when the memory
            of all requests is full.
    """
    settings = gate.settings
    too_large = ApiError(413, "body_too_large", f"the request is larger than {settings.max_body / MB:g} MB")
    declared = http.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > settings.max_body:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.max_read_seconds):
            async for part in http.stream():
                size += len(part)
                if size > settings.max_body:
                    raise too_large
                gate.hold(ticket, COPIES_OF_BODY * len(part))
                parts.append(part)
    except ClientDisconnect as error:
        raise client_gone() from error
    except TimeoutError as error:
        message = f"the request did not arrive within {settings.max_read_seconds:g} s"
        raise ApiError(408, "request_timeout", message) from error
    return b"".join(parts)


async def watch_for_disconnect(http: HttpRequest) -> ApiError:
    """Wait until the client has gone; for use after the body was read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
    return client_gone()


def client_gone() -> ApiError:
    """What nobody reads any more."""
    return ApiError(CLIENT_GONE, "client_gone", "the client closed the connection")


def image_bytes(text: str, param: str, *, plain: bool = False) -> bytes:
    """The file in a data URL ``data:image/...;base64,...``, or, with `plain`, in bare base64.

    Raises:
        ApiError: 400 for another scheme (nothing is ever fetched) or text that is not base64.
    """
    opening = _DATA_URL.match(text)
    if opening is None and (scheme := _SCHEME.match(text)) and scheme.group().lower() != "data:":
        message = f"{param}: {scheme.group()}// addresses are not fetched; send the image as data URL"
        raise ApiError(400, "remote_url_refused", message, param)
    if opening is None and (not plain or _SCHEME.match(text)):
        message = f"{param}: expected data:image/png;base64,... (or jpeg, webp, tiff, ...)"
        raise ApiError(400, "invalid_image", message, param)
    try:
        return base64.b64decode(text[opening.end() :] if opening else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "invalid_image", f"{param}: not base64 ({error})", param) from error
