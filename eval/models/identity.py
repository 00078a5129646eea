"""What tells configurations apart in results, wherever a checkpoint lies."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def config_hash(config: Any) -> str:
    """SHA-256 over what the checkpoint's configuration says, wherever the checkpoint lies."""
    content = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version", "dtype")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
