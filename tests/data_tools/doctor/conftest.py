"""Converted folders below the test's own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from handmade import MakeFolder, write_folder


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write a folder as `convert` would leave it; images lie in ``tmp_path / "images"`` unless told."""

    def make(
        files: Mapping[str, Sequence[dict[str, Any] | str]],
        dataset: str = "ours",
        images: Path | None = None,
        **options: Any,
    ) -> Path:
        root = images or tmp_path / "images"
        root.mkdir(exist_ok=True)
        return write_folder(tmp_path / f"out_{dataset}", files, root, dataset, **options)

    return make
