"""What the captioning tasks share: images (`eval.cap`), regions (`eval.reg`) and changes (`eval.cc`).

An answer is compared with several references by BLEU-1..4, METEOR, ROUGE-L, ROUGE-1 and CIDEr-D, all under
one declared string convention (`eval.metrics.tokens`). Each question contributes one row of statistics, and
every score is a function of their sums, so intervals cost nothing. METEOR needs Java; without it its column
is empty (not zero) and the results say why. SPICE is not offered: its scorer downloads models when it starts.

Yardsticks are a constant caption, and where questions have several references the first of them, scored
against the others: what one annotator would get from the rest.

Shape legend: N questions, R draws, S statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics import captions, coco, meteor
from eval.metrics.tokens import CONVENTIONS, one_line, words
from eval.predictions import Prediction
from eval.preview import Tile, choose
from eval.tasks import Answerer, Measure, Yardsticks
from eval.text_baselines import central_caption, central_caption_elsewhere
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    from eval.benchmarks import Questions
    from rsunivlm.inference.answer import Answer

CONSTANT, LEFT_OUT = "constant_caption", "left_out_reference"
BLEU = tuple(f"bleu_{order}" for order in (1, 2, 3, 4))

# Columns of the statistics: BLEU, METEOR, sums of the per-caption scores, ones.
_BLEU = slice(0, captions.NUM_BLEU_STATISTICS)
_METEOR = slice(_BLEU.stop, _BLEU.stop + meteor.NUM_STATISTICS)
_MEANS = ("rouge_l", "rouge_1", "cider")
_MEAN = slice(_METEOR.stop, _METEOR.stop + len(_MEANS))
_ONES = _MEAN.stop
NUM_STATISTICS = _ONES + 1


def check(record: Record) -> None:
    """Raise ValueError where a record is no question with reference captions, or pycocoevalcap is missing."""
    coco.scorer("bleu.bleu_scorer")
    targets = record.targets
    if not isinstance(targets, dict) or len(record.turns) != 1:
        raise ValueError(f"record {record.id}: evaluation needs one question with references in 'targets'")
    references: Any = targets.get("references")
    if not isinstance(references, list) or not references or not all(map(_is_sentence, references)):
        raise ValueError(
            f"record {record.id}: 'targets' needs 'references', a list of captions with words in them, "
            f"got {references!r}"
        )


def parsed(answer: Answer) -> dict[str, Any]:
    """The answer's text as it is; conventions are applied when it is scored."""
    return {"text": answer.text}


def readable(parsed: Mapping[str, Any]) -> bool:
    """Whether the answer says anything."""
    return bool(parsed["text"].strip())


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """A constant caption, and where there are several references the first against the others."""
    return yardsticks_of(questions, lambda record: True)


def yardsticks_of(questions: Questions, leaves_out: Callable[[Record], bool]) -> Yardsticks:
    """The same, where only some questions leave their first reference out; the others keep all."""
    references = [references_of(record) for record in questions.records]
    answers: dict[str, Sequence[Mapping[str, Any]]] = {}
    definitions: dict[str, str] = {}
    what = "the caption nearest to all references (TF-IDF cosine of 1- to 4-grams)"
    if questions.fit_records:
        caption = central_caption([references_of(record) for record in questions.fit_records])
        answers[CONSTANT] = [{"text": caption}] * len(references)
        definitions[CONSTANT] = f"{what} of split {questions.fit_split}: {caption!r}"
    else:
        found = central_caption_elsewhere(references, [record.images for record in questions.records])
        if found is not None:
            answers[CONSTANT] = [{"text": caption} for caption in found]
            definitions[CONSTANT] = f"no training split: for each image, {what} of this split's other images"
    others = [
        [text for text in texts if text != texts[0]] if leaves_out(record) else []
        for record, texts in zip(questions.records, references, strict=True)
    ]
    if any(others):
        answers[LEFT_OUT] = [
            {"text": texts[0], "references": left or list(texts)}
            for texts, left in zip(references, others, strict=True)
        ]
        kept = sum(not left for left in others)
        keep_all = f"; {kept} of {len(others)} questions keep all: no other one, or all are right"
        definitions[LEFT_OUT] = (
            f"the first reference against the others, its copies taken out{keep_all if kept else ''}"
        )
    return Yardsticks(answers, definitions)


def references_of(record: Record) -> list[str]:
    """The references of a checked record."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    return list(record.targets["references"])


class CaptionScorer:
    """Statistics of answers to a fixed set of questions under one string convention."""

    def __init__(self, predictions: Sequence[Prediction], convention: str) -> None:
        """Tokenise the references and count the IDF weights on them.

        Args:
            predictions: the questions, with their references.
            convention: a name of `eval.metrics.tokens.CONVENTIONS`.

        Raises:
            ValueError: pycocoevalcap is missing, or Java where the convention needs it.
        """
        self._convention = CONVENTIONS[convention]
        self._predictions = predictions
        self._tokens: dict[str, str] = {}
        self._alignments: dict[meteor.Pair, NDArray[np.float64]] = {}
        # All known answers at once: each call of a Java program costs seconds to start it.
        known = [answer for row in predictions for answer in (row.parsed, *row.yardsticks.values())]
        self._tokenise([*(text for row in predictions for text in row.truth["references"]), *_texts(known)])
        self._references = [self._strings(row.truth["references"]) for row in predictions]
        self._cider = captions.Cider(self._references)

    def columns(self, answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Statistics [N, S] of one answer per question; an answer may bring references of its own."""
        pairs = self._pairs(answers)
        given, references = [caption for caption, _ in pairs], [refs for _, refs in pairs]
        columns_NS = np.zeros((len(pairs), NUM_STATISTICS))
        columns_NS[:, _BLEU] = captions.bleu_columns(given, references)
        if meteor.missing() is None:
            columns_NS[:, _METEOR] = self._align(pairs)
        columns_NS[:, _MEAN] = self.means(answers)
        columns_NS[:, _ONES] = 1
        return columns_NS

    def means(self, answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """ROUGE-L, ROUGE-1 and CIDEr-D of each answer, shape (N, 3)."""
        pairs = self._pairs(answers)
        given, references = [caption for caption, _ in pairs], [refs for _, refs in pairs]
        scores = [
            captions.rouge_l(given, references),
            captions.rouge_1(given, references),
            self._cider.scores(given, references),
        ]
        return np.stack(scores, axis=1)

    def _pairs(self, answers: Sequence[Mapping[str, Any]]) -> list[meteor.Pair]:
        """Each answer as a string of tokens, with its references."""
        self._tokenise(_texts(answers))
        return [
            (
                self._tokens[answer["text"]],
                self._strings(answer["references"]) if "references" in answer else references,
            )
            for answer, references in zip(answers, self._references, strict=True)
        ]

    def _align(self, pairs: Sequence[meteor.Pair]) -> NDArray[np.float64]:
        if unknown := dict.fromkeys(pair for pair in pairs if pair not in self._alignments):
            rows = self._predictions
            sets = [[row.parsed for row in rows]]
            sets += [[row.yardsticks[name] for row in rows] for name in rows[0].yardsticks]
            wanted = list(unknown | dict.fromkeys(pair for each in sets for pair in self._pairs(each)))
            found = meteor.statistics(wanted, exact_only=self._convention.exact_only)
            self._alignments |= zip(wanted, found, strict=True)
        return np.stack([self._alignments[pair] for pair in pairs])

    def _tokenise(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        self._tokens |= zip(new, self._convention.tokens(new) if new else (), strict=True)

    def _strings(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._tokens[text] for text in texts)


def metrics(sums_RS: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """All metrics [R] by name, from sums of `CaptionScorer.columns`; NaN without questions (or Java)."""
    asked_R = sums_RS[:, _ONES]
    defined_R = asked_R > 0
    found = dict(zip(BLEU, captions.bleu(sums_RS[:, _BLEU]).T, strict=True))
    absent_R = np.full(len(sums_RS), np.nan)
    found["meteor"] = absent_R if meteor.missing() else meteor.score(sums_RS[:, _METEOR])
    with np.errstate(invalid="ignore"):  # 0 / 0: no questions
        found |= dict(zip(_MEANS, (sums_RS[:, _MEAN] / asked_R[:, None]).T, strict=True))
    return {name: np.where(defined_R, values_R, np.nan) for name, values_R in found.items()}


def measure_of(predictions: Sequence[Prediction], convention: str, names: Sequence[str]) -> Measure:
    """The named metrics of these questions."""
    scorer = CaptionScorer(predictions, convention)

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        found = metrics(sums_RS)
        return np.stack([found[name] for name in names], axis=1)

    return Measure(tuple(names), scorer.columns, finish)


def scores_of_each(predictions: Sequence[Prediction], convention: str) -> list[dict[str, float]]:
    """ROUGE-L and CIDEr-D of each answer; BLEU and METEOR are scores of a corpus."""
    means_N3 = CaptionScorer(predictions, convention).means([row.parsed for row in predictions])
    return [{"rouge_l": row[0], "cider": row[2]} for row in means_N3.tolist()]


def rules(predictions: Sequence[Prediction], convention: str) -> dict[str, Any]:
    """How captions were compared, for the results."""
    counts = [len(row.truth["references"]) for row in predictions]
    absent = meteor.missing()
    only = "; equal words only, as of token numbers" if CONVENTIONS[convention].exact_only else ""
    return {
        "strings": CONVENTIONS[convention].rule,
        "references": {"least": min(counts), "most": max(counts)},
        # A score that length alone can move is to be read beside it.
        "mean_words": {
            "answers": _mean_words([row.parsed["text"] for row in predictions]),
            "references": _mean_words([text for row in predictions for text in row.truth["references"]]),
        },
        "bleu": "of the whole set, closest reference length",
        "cider": "CIDEr-D; IDF of the references of the scored questions; 100 per cent is 1 of at most 10",
        "meteor": f"absent: {absent}" if absent else f"METEOR 1.5 of the whole set{only}",
        "spice": "not offered: needs models that its scorer downloads",
        "empty": "scored 0, in the denominator",
    }


def sample_tiles(predictions: Sequence[Prediction], root: Path, *, seed: int) -> list[Tile]:
    """Worst, best and random samples; the object asked about is framed where there is one."""
    scored = [row for row in predictions if row.score]
    shown = []
    for index, reason in choose(np.array([row.score["rouge_l"] for row in scored]), seed=seed):
        row = scored[index]
        frame = [tuple(row.truth["box_px"])] if "box_px" in row.truth else []
        before = resolve_image(root, row.images[0]) if len(row.images) == 2 else None
        caption = f"answer: {one_line(row.answer) or '(nothing)'} / truth: {row.truth['references'][0]}"
        heading = f"{reason}  ROUGE-L {row.score['rouge_l']:.2f}"
        shown.append(Tile(resolve_image(root, row.images[-1]), frame, [], heading, caption, before=before))
    return shown


def _texts(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everything in answers that has to be tokenised."""
    return [text for answer in answers for text in (answer["text"], *answer.get("references", ()))]


def _mean_words(texts: Sequence[str]) -> float:
    return round(sum(len(tokens.split()) for tokens in words(texts)) / len(texts), 2)


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and any(letter.isalnum() for letter in value)
