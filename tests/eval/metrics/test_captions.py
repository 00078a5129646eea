"""BLEU, ROUGE and CIDEr from sums, against pycocoevalcap called directly on 200 random corpora."""

import numpy as np
import pytest

from eval.metrics import captions

pytest.importorskip("pycocoevalcap.bleu.bleu", reason="caption scorers are in the eval extra")
WORDS = [
    "many",
    "green",
    "trees",
    "are",
    "around",
    "a",
    "large",
    "pond",
    "near",
    "two",
    "houses",
    "and",
    "road",
]
CASES = 200


def corpora():
    """Corpora of 2 to 6 captions with 1 to 5 references; captions are spoilt references, some are empty."""
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        references, given = [], []
        for _ in range(rng.integers(2, 7)):
            refs = [" ".join(rng.choice(WORDS, rng.integers(1, 14))) for _ in range(rng.integers(1, 6))]
            words = refs[rng.integers(len(refs))].split()
            spoilt = [rng.choice(WORDS) if rng.random() < 0.3 else word for word in words]
            references.append(refs)
            given.append(" ".join(spoilt[: rng.integers(0, len(spoilt) + 1)]))
        yield given, references


def reference(scorer, given, references):
    truth = dict(enumerate(references))
    answers = {number: [caption] for number, caption in enumerate(given)}
    return scorer.compute_score(truth, answers)


def test_bleu_of_summed_statistics_is_that_of_the_corpus():
    from pycocoevalcap.bleu.bleu import Bleu

    for given, references in corpora():
        columns = captions.bleu_columns(given, references)
        truth = dict(enumerate(references))
        answers = {number: [caption] for number, caption in enumerate(given)}
        overall, each = Bleu(4).compute_score(truth, answers, verbose=0)
        np.testing.assert_allclose(captions.bleu(columns.sum(axis=0, keepdims=True))[0], overall, atol=1e-12)
        np.testing.assert_allclose(captions.bleu(columns), np.transpose(each), atol=1e-12)


def test_rouge_l_of_each_caption():
    from pycocoevalcap.rouge.rouge import Rouge

    for given, references in corpora():
        _, each = reference(Rouge(), given, references)
        np.testing.assert_allclose(captions.rouge_l(given, references), each, atol=1e-12)


def test_cider_of_each_caption():
    from pycocoevalcap.cider.cider import Cider

    for given, references in corpora():
        overall, each = reference(Cider(), given, references)
        found = captions.Cider(references).scores(given, references)
        np.testing.assert_allclose(found, each, atol=1e-12)
        assert found.mean() == pytest.approx(overall)


def test_cider_keeps_its_weights():
    given, references = next(corpora())
    cider = captions.Cider(references)
    before = cider.scores(given, references)
    one_each = cider.scores(given, [refs[:1] for refs in references])
    assert (cider.scores(given, references) == before).all()
    # A caption that equals all its references scores 10, whatever the other captions are.
    copies = cider.scores([refs[0] for refs in references], [refs[:1] * 2 for refs in references])
    assert copies.max() == pytest.approx(10)
    assert one_each.shape == before.shape


def test_rouge_1_by_hand():
    given = ["a a road", "a road", "", "pond"]
    references = [["a road by a house", "a"], ["the sea", "a road"], ["a road"], ["the sea"]]
    # "a a road": all 3 of its words are in the first reference of 5; 2 * 3 / (3 + 5).
    np.testing.assert_allclose(captions.rouge_1(given, references), [6 / 8, 1, 0, 0])


def test_an_empty_caption_scores_nothing_even_where_a_reference_has_an_empty_word():
    assert captions.rouge_l(["", " "], [[" a road ."], [" a road ."]]).tolist() == [0, 0]
    assert captions.bleu(captions.bleu_columns([""], [["a road"]]))[0].max() < 1e-3
