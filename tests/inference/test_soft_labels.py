"""Shares of the classes in each cell, from what the decoder gave the tokens it did not take."""

from __future__ import annotations

import numpy as np
import pytest

from rsunivlm.codecs import MaskCodec
from rsunivlm.codecs.grammar import MaskPieces
from rsunivlm.inference.answer import Request
from rsunivlm.inference.scheduler import Decoding
from rsunivlm.inference.soft_labels import soft_labels


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


CODEC = MaskCodec(grid=12, background="o")
PIECES = MaskPieces.of(CODEC, ["o", "b"], characters)


def grid_text(first_row: str) -> list[int]:
    return characters("\n".join([first_row] + ["o*12"] * 11))


def test_without_doubt_the_shares_are_the_grid() -> None:
    grid = np.random.default_rng(0).integers(0, 2, (12, 12))
    tokens = characters(CODEC.grid_to_text(grid, ["o", "b"]))
    shares = soft_labels(PIECES, tokens, {})
    np.testing.assert_array_equal(shares[1], grid)


def test_doubt_about_a_count_lies_on_both_sides_of_the_edge() -> None:
    tokens = grid_text("o*3, b*9")
    # The count of the first run: 3 with 0.7, 2 with 0.1, a number of two digits (10, 11 or 12) with 0.2.
    digit = {ord("3"): 0.7, ord("2"): 0.1, ord("1"): 0.2}
    shares = soft_labels(PIECES, tokens, {2: digit})
    # "1", "10", "11" and "12" share the 0.2.
    np.testing.assert_allclose(shares[0, 0, :5], [1, 0.95, 0.85, 0.15, 0.15])
    np.testing.assert_allclose(shares[0, 0, 9:], [0.15, 0.1, 0.05], atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_array_equal(shares[0, 1:], 1)


def test_doubt_whether_a_number_has_ended() -> None:
    tokens = grid_text("o*1, b*11")
    shares = soft_labels(PIECES, tokens, {3: {ord(","): 0.6, ord("0"): 0.3, ord("2"): 0.1}})
    np.testing.assert_allclose(shares[0, 0], [1] + [0.4] * 9 + [0.1] * 2)


def test_doubt_about_a_label_is_in_the_whole_run() -> None:
    tokens = grid_text("b*12")
    shares = soft_labels(PIECES, tokens, {0: {ord("b"): 0.8, ord("o"): 0.2}})
    np.testing.assert_allclose(shares[1, 0], 0.8)


@pytest.mark.parametrize("labels", [["road"], ["road", "road side", "car"]])
def test_the_text_stays_and_the_shares_agree_with_it(make_predictor, pictures, labels) -> None:
    model = make_predictor(seed=4)
    request = Request([pictures[0]], "[SEG] it", labels=labels)
    [hard] = model.answer_batch([request])
    job = model.job(request, Decoding(soft_masks=True))
    model._decode([job], Decoding(soft_masks=True), 1)
    assert model.read(job).text == hard.text
    shares = soft_labels(job.constraint.pieces, job.tokens, job.choices)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert shares.min() >= 0
    assert model.read(job).mask.shape == hard.mask.shape
    # Where the decoder was sure, the share of the class it wrote is nearly 1.
    sharp = {place: {max(given, key=given.get): 1.0} for place, given in job.choices.items()}
    grid, _ = model.mask_codec.text_to_grid(hard.text, ["others", *labels])
    np.testing.assert_array_equal(soft_labels(job.constraint.pieces, job.tokens, sharp).argmax(axis=0), grid)
