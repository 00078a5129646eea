"""From the experts' drafts to one caption (assumption A5: the paper names no operator).

`concat` strings the drafts together and drops sentences that were said before; `best` takes the draft with
the highest mean log-probability; `fuse` asks the language model of stage I to merge them, which takes another
decoding (`rsunivlm.inference.rs_moe`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsunivlm.captions import sentences


def concatenate(drafts: Sequence[str]) -> str:
    """Drafts one behind the other, each sentence once: the first time, whatever its case and full stop."""
    said: dict[str, str] = {}
    for draft in drafts:
        for sentence in sentences(draft):
            plain = " ".join(re.findall(r"\w+", sentence.lower()))
            if plain:
                said.setdefault(plain, sentence)
    return " ".join(sentence if sentence[-1] in ".!?" else f"{sentence}." for sentence in said.values())


def best_of(mean_log_probs: Sequence[float]) -> int:
    """Index of the draft with the highest mean log-probability; of equal ones the first."""
    return max(range(len(mean_log_probs)), key=mean_log_probs.__getitem__)
