"""Tiny datasets of our own pixels, in the true layouts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for `fixtures`


@pytest.fixture
def save_image(tmp_path: Path) -> Callable[..., Path]:
    """Write noise (or the given values) as an image below ``tmp_path``."""

    def save(name: str, size: tuple[int, int] = (32, 32), values: np.ndarray | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if values is None:
            values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        return path

    return save


@pytest.fixture
def save_json(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write JSON below ``tmp_path``."""

    def save(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return save
