"""The answers so far, on disk: what makes a run that was killed go on where it was.

An append-only JSON Lines file beside the result. Its first line is the *fingerprint*: everything that an
answer depends on (files, grid, tiles, questions, model). Then, tile by tile in the order of the tiling, one
line about the tile's pixels and one for each question:

    {"tile": 7, "valid": "all"}                  or "none", or a packed mask, or "error": why it is unreadable
    {"tile": 7, "question": 0, "answer": {...}}

The result is computed from these lines alone, once all are there. So it makes no difference how often the run
was interrupted: a tile is either complete or, torn off at the end, cut away and asked again.

Shapes: H height, W width of a tile.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rsunivlm.geo.disk import writing

Line = dict[str, Any]


def pack_mask(mask_HW: NDArray[np.bool_]) -> str:
    """A mask as text: its bits, deflated."""
    return base64.b64encode(zlib.compress(np.packbits(mask_HW).tobytes(), 1)).decode()


def unpack_mask(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [H, W] of a text."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)


class Journal:
    """The journal of one run, open for appending.

    Attributes:
        tiles: how many tiles are complete.
        resumed: some were when it was opened.
    """

    def __init__(self, path: Path, fingerprint: Line, *, questions: int, restart: bool = False) -> None:
        """Begin a journal, or go on with the one that is there.

        Args:
            path: of the journal.
            fingerprint: what its answers depend on, in JSON types.
            questions: asked about each tile.
            restart: throw away what is there.

        Raises:
            ValueError: what is there belongs to another run, or is being written by one, or is damaged; or it
                cannot be written.
        """
        self.path, self.tiles = path, 0
        with ExitStack() as on_error:
            with writing(path):  # unbuffered: nothing waits to be written when the disk is full
                self._file = on_error.enter_context(path.open("ab", buffering=0))
            self._lock()
            end = 0 if restart else self._resume(fingerprint, questions)
            self.resumed = self.tiles > 0
            with writing(path):
                self._file.truncate(end)
            if end == 0:
                self._write([{"fingerprint": fingerprint}])
            on_error.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
        except BlockingIOError as error:
            raise ValueError(f"another run is writing {self.path}; wait for it, or stop it") from error

    def _resume(self, fingerprint: Line, questions: int) -> int:
        """Count the complete tiles that are there; returns the length of their lines in bytes."""
        complete = end = missing = 0
        for number, (line, length) in enumerate(_lines(self.path)):
            end += length
            if number == 0:
                self._check(line.get("fingerprint", {}), fingerprint)
            elif "question" in line:
                missing -= 1
            else:
                missing = 0 if "error" in line or line["valid"] == "none" else questions
            if missing == 0:
                complete, self.tiles = end, line.get("tile", -1) + 1
        return complete

    def _check(self, found: Line, wanted: Line) -> None:
        wanted = json.loads(json.dumps(wanted))
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        if differing:
            raise ValueError(
                f"{self.path} holds the answers of another run (it differs in: {', '.join(differing)}); "
                "finish that run, name another --out, or throw its answers away with --restart"
            )

    def append(self, tiles: Sequence[Sequence[Line]]) -> None:
        """Write the lines of complete tiles, in the order of the tiling, and see them to the disk.

        Raises:
            ValueError: the disk is full.
        """
        self._write([line for tile in tiles for line in tile])
        self.tiles += len(tiles)

    def _write(self, lines: Sequence[Line]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with writing(self.path):
            rest = memoryview(text.encode())
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())

    def lines(self) -> Iterator[Line]:
        """All lines but the fingerprint."""
        for number, (line, _) in enumerate(_lines(self.path)):
            if number:
                yield line


def _lines(path: Path) -> Iterator[tuple[Line, int]]:
    """Complete lines and their lengths in bytes; one torn off at the end is left out."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return
            try:
                yield json.loads(raw), len(raw)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}: line {number} is damaged ({error}); --restart throws the journal away"
                ) from error
