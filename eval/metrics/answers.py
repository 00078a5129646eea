"""When a short answer counts as right: one normalisation, and a few named rules.

Published VQA and scene scores differ by how forgiving their matching is, so the rule is always named:

| rule | an answer is right when ... | used by |
|---|---|---|
| `exact` | it equals a true answer after `normalise` | the default |
| `lhrs` | it equals a true answer or is a part of one | LHRS-Bot; the paper most likely |
| `contains` | it contains a true answer; "yes", "no" and numbers must be equal | VRSBench without its judge |

`normalise` does what VQA scorers usually do before they compare: lower case, no punctuation, no articles,
number words as digits. For scene classes LHRS-Bot has another forgiving rule: the class that shares the
longest common substring with the answer (`closest_name`); it favours long names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal, get_args

AnswerRule = Literal["exact", "lhrs", "contains"]
ANSWER_RULES: tuple[AnswerRule, ...] = get_args(AnswerRule)

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
_ARTICLES = frozenset({"a", "an", "the"})
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_LOOSE_STOP = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w\s.%]|_")


@lru_cache(maxsize=1 << 16)  # benchmarks ask a hundred thousand questions with a handful of answers
def normalise(answer: str) -> str:
    """Lower case, no punctuation, no articles, zero to ten as digits, words parted by one blank.

    A point between digits stays ("3.5"); commas between digits go ("1,000" is "1000"), and so do apostrophes
    ("don't" is "dont"). An answer of articles only keeps them: it may be an option of the question.
    """
    text = _THOUSANDS.sub("", answer.lower().replace("'", "").replace("’", ""))
    words = _PUNCTUATION.sub(" ", _LOOSE_STOP.sub(" ", text)).split()
    content = [word for word in words if word not in _ARTICLES] or words
    return " ".join(_NUMBERS.get(word, word) for word in content)


@lru_cache(maxsize=1 << 16)
def is_right(answer: str, truths: tuple[str, ...], rule: AnswerRule, empty_is_right: bool = False) -> bool:
    """Whether an answer matches any of the true ones.

    Args:
        answer: as the model gave it.
        truths: equally right answers.
        rule: see the table above.
        empty_is_right: what `lhrs` says of an answer with nothing in it. LHRS-Bot's scorer counts it as
            right, because nothing is a part of everything; that is a flaw, so wrong is the default.
    """
    given = normalise(answer)
    if not given:
        return empty_is_right and rule == "lhrs"
    return any(_matches(given, normalise(truth), rule) for truth in truths)


def _matches(given: str, truth: str, rule: AnswerRule) -> bool:
    if rule == "lhrs":
        return given in truth
    if rule == "contains" and truth not in ("yes", "no") and not truth.replace(".", "").isdigit():
        return truth in given
    return given == truth


def name_key(name: str) -> str:
    """What spellings of a class name have in common: "Storage_Tanks." and "storage tanks" are equal."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def closest_name(answer: str, names: Sequence[str]) -> int | None:
    """Index of the name with the longest substring in common with the answer; None when none shares a letter.

    LHRS-Bot's rule for scene classes. Names are compared in lower case with blanks for underscores; of equals
    the first one wins.
    """
    text = _spaced(answer)
    best, longest = None, 0
    for index, name in enumerate(names):
        other = _spaced(name)
        # No automatic junk: it would skip frequent letters of long answers.
        matcher = SequenceMatcher(None, text, other, autojunk=False)
        size = matcher.find_longest_match(0, len(text), 0, len(other)).size
        if size > longest:
            best, longest = index, size
    return best


def _spaced(name: str) -> str:
    return name.lower().replace("_", " ").strip()
