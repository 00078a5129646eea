"""Every limit of the server, with its default and its reason."""

from __future__ import annotations

from dataclasses import dataclass, fields

MB = 1_000_000
BYTES_PER_PIXEL = 4  # Pillow keeps RGB in four bytes
COPIES_IN_DECODING = 3  # as decoded, upright, as RGB
# A request body is held up to three times at once: as received, as parsed text, as image files.
COPIES_OF_BODY = 3


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    Attributes:
        model_name: Name under which clients ask for the model.
        slots: Requests decoded together.
        queue: Accepted requests beyond `slots`; more get 429.
        max_body: Bytes of a request, images included.
        max_pixels: Pixels of an image, by its header.
        max_prompt_chars: Characters of all texts of a request.
        max_memory: Bytes that the bodies and pictures of all accepted requests may hold; more get 429.
        max_read_seconds: Time a client has to send its request.
        max_wait: Seconds a request may wait for a slot before 504.
        max_seconds: Seconds an answer may take from there; it is cut, not lost.
        grace: Seconds that accepted work gets after SIGTERM. The default lets every accepted request end.
        decode_threads: Images read at the same time.
        api_key: What clients must send as bearer token; None asks for nothing.
        cors_origins: Web origins whose pages may read answers.
    """

    model_name: str
    slots: int = 16
    queue: int = 64
    max_body: int = 48 * MB
    max_pixels: int = 25_000_000
    max_prompt_chars: int = 8_000
    max_memory: int = 1024 * MB
    max_read_seconds: float = 30
    max_wait: float = 60
    max_seconds: float = 120
    grace: float = 200
    decode_threads: int = 4
    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"the server's {field.name} must be above 0, got {value:g}")
        pictures = (1 + COPIES_IN_DECODING) * BYTES_PER_PIXEL * self.max_pixels  # the second being decoded
        largest = COPIES_OF_BODY * self.max_body + pictures
        if self.max_memory < largest:
            raise ValueError(
                f"the server's max_memory ({self.max_memory / MB:g} MB) must hold one largest request, "
                f"{largest / MB:g} MB: raise it, or lower max_body or max_pixels"
            )
        if not self.model_name:
            raise ValueError("the server's model_name is empty")
