"""The router's wording: which sub-tasks there are, and in which words they are put. See `prompts.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from rsunivlm.yaml_files import read_yaml

DEFAULT = Path(__file__).with_name("prompts.yaml")
# Slots that each sentence must have, and no others.
_SLOTS = {"generate": {"instruction", "prompt"}, "fuse": {"drafts", "instruction"}}


@dataclass(frozen=True)
class Wording:
    """Prompts of a configuration.

    Attributes:
        experts: Name of each expert -> prompt of its sub-task, in their order.
        generate: Asks for a prompt that fits the image; slots `instruction` and `prompt`.
        fuse: Asks to merge drafts; slots `drafts` and `instruction`.
    """

    experts: dict[str, str]
    generate: str
    fuse: str


def load_wording(path: str | Path = DEFAULT) -> Wording:
    """Read a file of prompts.

    Raises:
        ValueError: No such file, not the form of `prompts.yaml`, or a sentence lacks a slot; names file and
            key.
    """
    path = Path(path)
    found = read_yaml(path, "prompt")
    if not isinstance(found, dict) or set(found) != {"experts", *_SLOTS}:
        raise ValueError(f"{path}: a file of prompts has the keys experts, {', '.join(_SLOTS)}")
    experts = found["experts"]
    texts = experts.values() if isinstance(experts, dict) else [None]
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{path}: 'experts' must map the name of each expert to its prompt")
    for key in _SLOTS:
        check_slots(found[key], key, str(path))
    return Wording(dict(experts), found["generate"], found["fuse"])


def check_slots(sentence: object, key: str, where: str) -> None:
    """Check that a sentence has its slots.

    Raises:
        ValueError: It has not; names `where` and the key.
    """
    try:
        slots = {name for _, name, _, _ in Formatter().parse(str(sentence)) if name is not None}
    except ValueError as error:
        raise ValueError(f"{where}: {key!r}: {error}") from error
    if not isinstance(sentence, str) or slots != _SLOTS[key]:
        raise ValueError(f"{where}: {key!r} must be a sentence with the slots {sorted(_SLOTS[key])}")
