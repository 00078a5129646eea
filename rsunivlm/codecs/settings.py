"""Codec settings as plain dictionaries, so that a checkpoint's config can carry its own language."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class CodecSettings:
    """Base of the codecs: a frozen dataclass whose fields are JSON values."""

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build the codec from `to_dict`'s answer; absent settings take their defaults.

        Raises:
            ValueError: a setting is unknown (all unknown ones are named) or has a bad value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(
                f"{cls.__name__}: unknown setting {', '.join(unknown)}; known settings: {', '.join(known)}"
            )
        return cls(**settings)


def check_integer(owner: str, name: str, value: object, low: int, high: int) -> None:
    """Raise ValueError unless `value` is a whole number in [low, high]; a bool is not a number here."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{owner}: {name} must be a whole number from {low} to {high}, got {value!r}")


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(choices)}, got {value!r}")


def check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return `image_size` as (width, height); ValueError unless both are at least 1 pixel."""
    width, height = image_size
    if width < 1 or height < 1:
        raise ValueError(f"image size must be (width, height) of at least 1 pixel each, got {image_size!r}")
    return width, height
