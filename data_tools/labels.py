"""Class names as words: datasets write ``DenseResidential``, ``storage_tank``, ``low-vegetation``."""

from __future__ import annotations

import re

# Names that mean "the annotator did not say": such pixels are neither class nor background.
UNLABELLED = frozenset({"unlabeled", "unlabelled", "ignore", "void", "unknown", "no data", "boundary"})
# Names of the rest class; it is the background of every mask, so nobody asks for it.
BACKGROUND = frozenset({"others", "other", "background"})

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def class_words(name: str) -> str:
    """Split a class name into lower-case words: "DenseResidential" -> "dense residential".

    Raises:
        ValueError: the name holds no letter or digit.
    """
    words = _WORD.findall(name)
    if not words:
        raise ValueError(f"class name {name!r} has no letters")
    return " ".join(words).lower()
