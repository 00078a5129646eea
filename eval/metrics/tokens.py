r"""String conventions: what of a caption the scorers get to see.

BLEU, ROUGE, CIDEr and METEOR compare strings of blank-separated tokens. How captions become such strings
moves the scores by several points, so the convention is always named:

| name | tokens of " It's a road ." | used by |
|---|---|---|
| `words` | it 's a road | the default for image and region captions; pure Python |
| `ptb` | it 's a road | coco-caption and most published numbers; needs Java |
| `change_agent` | it's a road | the change captioning papers (Change-Agent and before) |
| `detached` | It's a road . | the strings as they stand |
| `raw` | (nothing) It's a road . | the same with the leading blank of LEVIR-CC's file |

`words` gives the same tokens as `ptb`, up to brackets and abbreviations: of 14,838 different captions from
RSICD, LEVIR-CC, VHR-10 expressions and our synthetic scenes 6 differ, all for a stray bracket or sign.
It runs everywhere, so it is the default, and scores do not depend on whether a machine has Java.

The leading blank of `raw` counts because ROUGE-L splits at every single blank: it sees an empty first word,
which all references share. The paper's change captions most likely were scored so: their ROUGE-L is five
points above all others at a lower BLEU-4.

`change_agent` is lower-cased here: its authors' models know no capitals. Its rare words (5 or fewer in
training) become <UNK> there, which needs their vocabulary and changes scores by 0.2 points at most; not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from eval.metrics.coco import NO_JAVA, java, run_java, scorer

# In this order: "can" of "cannot", "do" and "n't" of "don't", endings such as 's, words (with hyphens, points
# and slashes inside, and commas inside numbers), the sign %.
_WORD = re.compile(
    r"\bcan(?=not\b)|\w+?(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b"
    r"|\w+(?:(?:[-./]|(?<=\d),(?=\d))\w+)*|%"
)
_PTB = ("edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase")


def words(texts: Sequence[str]) -> list[str]:
    """Lower-case words without punctuation, contractions split as in the Penn Treebank."""
    return [" ".join(_WORD.findall(text.lower().replace("’", "'"))) for text in texts]


def ptb(texts: Sequence[str]) -> list[str]:
    """Penn Treebank tokens, as coco-caption makes them: by the jar of pycocoevalcap, without punctuation.

    Raises:
        ValueError: pycocoevalcap or Java is missing.
    """
    if java() is None:
        raise ValueError(f"PTB tokens: {NO_JAVA}, or score with --tokens words, which need none")
    module = scorer("tokenizer.ptbtokenizer")
    arguments = ("-cp", module.STANFORD_CORENLP_3_4_1_JAR, *_PTB)
    # The program passes over an empty line at the end; a full stop, which is dropped below, holds the place.
    lines = run_java(arguments, [one_line(text) or "." for text in texts], Path(module.__file__).parent)
    dropped = frozenset(module.PUNCTUATIONS)
    return [" ".join(token for token in line.split() if token not in dropped) for line in lines]


def change_agent(texts: Sequence[str]) -> list[str]:
    """Split at blanks, before ``;`` and ``,``; without ``?`` and ``.``; lower case."""
    table = str.maketrans({";": " ;", ",": " ,", "?": "", ".": ""})
    return [one_line(text.lower().translate(table)) for text in texts]


def detached(texts: Sequence[str]) -> list[str]:
    """The strings as they stand, on one line, without outer blanks."""
    return [one_line(text) for text in texts]


def raw(texts: Sequence[str]) -> list[str]:
    """The strings as they stand, each with one leading blank; an empty one stays empty."""
    return [f" {line}" if line else "" for line in detached(texts)]


def one_line(text: str) -> str:
    """Without outer blanks, and all inner white space as single blanks."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Convention:
    """A string convention.

    Attributes:
        tokens: texts -> strings of blank-separated tokens.
        rule: what it does, for the results.
        exact_only: its users give token numbers to METEOR, which then knows no stems and synonyms.
    """

    tokens: Callable[[Sequence[str]], list[str]]
    rule: str
    exact_only: bool = False


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "words": Convention(words, "lower-case words without punctuation (pure Python)"),
        "ptb": Convention(ptb, "Penn Treebank tokens, lower case, without punctuation (coco-caption)"),
        "change_agent": Convention(
            change_agent,
            "split at blanks, ';' and ',' kept, '?' and '.' removed, lower case, no <UNK>",
            exact_only=True,
        ),
        "detached": Convention(detached, "strings as they stand, final stop detached"),
        "raw": Convention(raw, "strings as they stand with one leading blank, as in LEVIR-CC's file"),
    }
)
