"""Reading the YAML files that users write: recipes, mixtures, prompts, plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path, kind: str) -> Any:
    """Content of a YAML file.

    Args:
        path: The file.
        kind: What it is, for messages, e.g. "recipe".

    Raises:
        ValueError: There is no such file, or it is no YAML; names it.
    """
    if not path.is_file():
        raise ValueError(f"no such {kind} file: {path}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
