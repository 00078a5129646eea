"""From the experts' drafts to one answer (assumptions A5 and A6: the paper names no operator).

`concat` strings the drafts together and drops sentences that were said before; `best` takes the draft with
the highest mean log-probability; `fuse` asks the language model of stage I to merge them, which takes another
decoding (`rsunivlm.inference.rs_moe`). Questions have `best`, too, and `vote`: most drafts win.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rsunivlm.captions import sentences


def concatenate(drafts: Sequence[str]) -> str:
    """Drafts one behind the other, each sentence once: the first time, whatever its case and full stop."""
    said: dict[str, str] = {}
    for draft in drafts:
        for sentence in sentences(draft):
            if plain := _words(sentence):
                said.setdefault(plain, sentence)
    return " ".join(sentence if sentence[-1] in ".!?" else f"{sentence}." for sentence in said.values())


def best_of(mean_log_probs: Sequence[float]) -> int:
    """Index of the draft with the highest mean log-probability; of equal ones the first."""
    return max(range(len(mean_log_probs)), key=mean_log_probs.__getitem__)


def vote(drafts: Sequence[str], mean_log_probs: Sequence[float]) -> int:
    """Index of the likeliest of the drafts that say what most say, whatever their case and full stop."""
    said = [_words(draft) for draft in drafts]
    counts = Counter(said)
    return max(range(len(said)), key=lambda index: (counts[said[index]], mean_log_probs[index]))


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
