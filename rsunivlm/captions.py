"""Captions as sentences, and what each speaks of: the scene, its objects, or how these lie to each other.

RS-MoE's experts each answer for one part of a caption; what they are trained on, its paper does not say. Here
a caption is split by a fixed rule (A4 in docs/rs_moe.md): its first sentence is the *theme*; of the others,
those with a word or phrase of the spatial lexicon below tell *relations*, the rest *objects*. The rule is a
partition: every sentence lands in exactly one part, whole, and sentences keep their order within a part. No
model is asked, so the same caption is split alike everywhere and for ever.

Where something stands in the picture ("in the upper left corner of the image") is no relation of objects:
such places are taken out of a sentence before the lexicon is looked up.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

# Parts of a caption, in the order of the experts.
PARTS = ("theme", "objects", "relations")

# A stop ends a sentence where a blank or the text's end follows; published captions often detach it.
_STOP = re.compile(r"[.!?]+[\"')\]]*(?=\s|\Z)")
# Before an attached stop these are abbreviations, which end no sentence.
_NO_END = re.compile(r"\b(?:e\.g|i\.e|etc|approx|vs|no|fig|st|dr|mr|mrs)\Z", re.IGNORECASE)

_PICTURE = r"(?:image|picture|photo|photograph|frame|scene)"
_WHERE = (
    r"(?:top|bottom|upper|lower|left|right|middle|cent(?:er|re|ral)|part|half|side|hand|corner|edge|area|portion|"
    r"most|and|north|south|east|west)"
)
_PLACE_IN_PICTURE = re.compile(
    rf"\b(?:in|on|at|from|near|to|towards?|across|along|through|within|around)\s+(?:the\s+)?"
    rf"(?:{_PICTURE}'s(?:[\s-]+{_WHERE})+|{_WHERE}(?:[\s-]+{_WHERE})*\s+of\s+(?:the|this)\s+"
    rf"(?:(?:whole|entire)\s+)?{_PICTURE}|(?:the\s+|this\s+)?(?:whole\s+|entire\s+)?{_PICTURE})\b",
    re.IGNORECASE,
)
_RELATIONS = re.compile(
    r"\b(?:"
    + "|".join(
        (
            r"near(?:by|est)?|next to|close to|adjacent(?: to)?|besides?|alongside|along|by the side of",
            r"between|among(?:st)?|amid(?:st)?|around|round|surround(?:s|ed|ing)?|encircle[sd]?|enclose[sd]?",
            r"in front of|behind|opposite|beyond|past|outside|inside|within",
            r"above|below|under|underneath|beneath|over|across|through|against",
            r"(?:on|to|at|in) (?:the |its |their |each |either |both |one |two |other )*"
            r"(?:left|right|sides?|edges?|ends?|middle|cent(?:er|re)|corners?|north|south|east|west|top|bottom)"
            r"(?:ern|-hand)?(?: side)? of",
            r"on (?:the |its |their )?(?:one|two|both|each|either|other) (?:other )?sides?",
            r"(?:north|south|east|west)(?:east|west)? of|far from|away from|apart",
            r"cross(?:es|ed|ing)?|(?:intersect|connect|link|join|border)(?:s|ed|ing)?",
            r"(?:separat|divid)(?:es?|ed|ing)|parallel|leads? to|overlooking",
        )
    )
    + r")\b",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """Cut a text into sentences; all words are kept, in order, without blanks at the ends.

    A line break ends a sentence too. A run of stops without a word belongs to the sentence before it, or
    where there is none to the one behind it.
    """
    found: list[str] = []
    for line in text.splitlines():
        start = 0
        for stop in _STOP.finditer(line):
            detached = stop.start() > start and line[stop.start() - 1].isspace()
            if detached or not _NO_END.search(line[start : stop.start()]):
                found.append(line[start : stop.end()].strip())
                start = stop.end()
        found.append(line[start:].strip())
    return _with_words(found)


def split_caption(caption: str) -> dict[str, str]:
    """Split a caption by the rule of this module.

    Returns:
        Part -> its sentences, joined by blanks; "" where the caption has none of that kind. There always is a
        theme.

    Raises:
        ValueError: The caption has no word.
    """
    first, *others = _sentences_of(caption)
    return _joined(
        [("theme", first), *(("relations" if tells_relation(s) else "objects", s) for s in others)]
    )


def split_at_random(caption: str, key: str, seed: int = 0) -> dict[str, str]:
    """Deal the sentences of a caption out to the parts at random: the control for what experts specialise in.

    Args:
        caption: What to split.
        key: Names the caption; the same key and seed give the same parts.
        seed: Of the draw.

    Returns:
        As `split_caption`; any part may be empty, but not all of them.

    Raises:
        ValueError: The caption has no word.
    """
    return _joined(
        (PARTS[zlib.crc32(f"{seed}/{key}/{number}".encode()) % len(PARTS)], sentence)
        for number, sentence in enumerate(_sentences_of(caption))
    )


def tells_relation(sentence: str) -> bool:
    """Whether a sentence has a phrase of the spatial lexicon, places in the picture put aside."""
    return _RELATIONS.search(_PLACE_IN_PICTURE.sub(" ", sentence)) is not None


def join_parts(parts: Mapping[str, str]) -> str:
    """One text of the parts that are there, in the order of the experts."""
    return " ".join(parts[name] for name in PARTS if parts[name])


def join_captions(captions: Sequence[str]) -> str:
    """One caption of several about the same image: each of their sentences once, in order."""
    return " ".join(dict.fromkeys(sentence for caption in captions for sentence in sentences(caption)))


def _sentences_of(caption: str) -> list[str]:
    found = sentences(caption)
    if not any(letter.isalnum() for sentence in found for letter in sentence):
        raise ValueError(f"the caption {caption!r} has no word; remove it or fill it in")
    return found


def _with_words(pieces: Iterable[str]) -> list[str]:
    """Join pieces without a word to their neighbours."""
    found: list[str] = []
    for piece in filter(None, pieces):
        wordless = not any(letter.isalnum() for letter in piece)
        if found and (wordless or not any(letter.isalnum() for letter in found[-1])):
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def _joined(assigned: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, list[str]] = {name: [] for name in PARTS}
    for name, sentence in assigned:
        found[name].append(sentence)
    return {name: " ".join(texts) for name, texts in found.items()}
