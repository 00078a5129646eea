"""Class names as words: datasets write ``DenseResidential``, ``storage_tank``, ``low-vegetation``."""

from __future__ import annotations

import re

# Names that mean "the annotator did not say": such pixels are neither class nor background.
UNLABELLED = frozenset({"unlabeled", "unlabelled", "ignore", "void", "unknown", "no data", "boundary"})
# Names of the rest class; it is the background of every mask, so nobody asks for it.
BACKGROUND = frozenset({"others", "other", "background"})

# RSICD, RSITMD, UC Merced and DIOR run their class names together; AID and NWPU-RESISC45 have them in words.
_JOINED = {
    name.replace(" ", ""): name
    for name in (
        "bare land",
        "baseball field",
        "baseball diamond",
        "basketball court",
        "dense residential",
        "golf course",
        "golf field",
        "ground track field",
        "medium residential",
        "mobile home park",
        "parking lot",
        "railway station",
        "sparse residential",
        "storage tank",
        "storage tanks",
        "tennis court",
        "train station",
    )
}

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")


def class_words(name: str) -> str:
    """Split a class name into lower-case words: "DenseResidential" -> "dense residential".

    Raises:
        ValueError: the name holds no letter or digit.
    """
    words = _WORD.findall(_INNER_CAPITAL.sub(" ", name))
    if not words:
        raise ValueError(f"class name {name!r} has no letters")
    text = " ".join(words).lower()
    return _JOINED.get(text, text)


def class_key(name: str) -> str:
    """What spellings of a class name have in common: "idle_land", "Idle Land", "idleland" -> "idleland"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
