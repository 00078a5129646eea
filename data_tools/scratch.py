"""Bringing together what lies scattered over files too large for memory.

RSVQA keeps questions and answers in different files, and the large instruction sets list the questions about
one image all over a file of a million records. What has to be found again is put into a database in the
folder for temporary files (`TMPDIR`), about as large as the annotation file, and gone when the reading ends.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """Open an empty database on disk that lives as long as the ``with`` block."""
    with (
        tempfile.TemporaryDirectory(prefix="data_tools-") as folder,
        closing(sqlite3.connect(Path(folder) / "scratch.sqlite", isolation_level=None)) as database,
    ):
        # Nobody reads it after a crash, so nothing need be safe against one.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        yield database


def grouped(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Gather the values of equal keys; memory holds one group at a time.

    Args:
        pairs: keys with values made of plain JSON types.

    Yields:
        Each key with all its values in their order; keys in the order of their first appearance.
    """
    with scratch_database() as database:
        database.execute("CREATE TABLE groups (number INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        database.execute("CREATE TABLE entries (name TEXT, value TEXT)")
        database.execute("BEGIN")
        for name, value in pairs:
            database.execute("INSERT OR IGNORE INTO groups (name) VALUES (?)", (name,))
            database.execute("INSERT INTO entries VALUES (?, ?)", (name, json.dumps(value)))
        database.execute("CREATE INDEX by_name ON entries (name)")
        database.execute("COMMIT")
        for (name,) in database.execute("SELECT name FROM groups ORDER BY number"):
            rows = database.execute("SELECT value FROM entries WHERE name = ? ORDER BY rowid", (name,))
            yield name, [json.loads(value) for (value,) in rows]
