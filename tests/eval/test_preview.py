"""The picture: boxes where they belong, in the right colour, and the right samples."""

import numpy as np
import pytest
from PIL import Image

from eval.metrics import masks
from eval.preview import (
    ANSWER_COLOUR,
    ANSWER_LINE,
    COLUMNS,
    MARGIN,
    PAIR_GAP,
    TILE,
    TINT,
    TITLE_HEIGHT,
    TRUTH_COLOUR,
    TRUTH_LINE,
    Tile,
    choose,
    draw_grid,
)


@pytest.fixture
def grey(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (160, 80), (90, 90, 90)).save(path)
    return path


def where(pixels, colour):
    """Bounding box (x1, y1, x2, y2) of all pixels of a colour."""
    ys, xs = np.nonzero((pixels == np.array(colour)).all(axis=-1))
    return xs.min(), ys.min(), xs.max(), ys.max()


def around(box, line):
    """Where a line around a box of the 160 x 80 image ends in the picture."""
    scale = TILE / 160
    return tuple(round(v * scale) + sign * line for v, sign in zip(box, (-1, -1, 1, 1), strict=True))


def test_boxes_lie_where_they_belong(grey):
    first = Tile(grey, [(10, 20, 60, 70)], [(80, 10, 150, 40)], "worst", "the pond")
    second = Tile(grey, [(0, 0, 160, 80)], [], "unreadable: 'no'", "everything " * 60)
    pixels = np.array(draw_grid([first, second], "vg on tiny"))
    shown = slice(TITLE_HEIGHT, TITLE_HEIGHT + TILE // 2)
    sample = pixels[shown, MARGIN : MARGIN + TILE]
    assert where(sample, TRUTH_COLOUR) == around((10, 20, 60, 70), TRUTH_LINE)
    assert where(sample, ANSWER_COLOUR) == around((80, 10, 150, 40), ANSWER_LINE)
    assert (sample[40:141, 20:121] == 90).all()  # the object itself stays uncovered
    # A box as large as the image stays inside it, and an unreadable answer draws nothing red.
    left = MARGIN + TILE + MARGIN
    other = pixels[shown, left : left + TILE]
    assert where(other, TRUTH_COLOUR) == (0, 0, TILE - 1, TILE // 2 - 1)
    assert not (other == np.array(ANSWER_COLOUR)).all(axis=-1).any()


def test_truth_and_answer_both_show_where_they_coincide(grey):
    box = (10, 10, 50, 50)
    pixels = np.array(draw_grid([Tile(grey, [box], [box], "best", "it")], "t"))
    sample = pixels[TITLE_HEIGHT : TITLE_HEIGHT + TILE // 2, MARGIN : MARGIN + TILE]
    assert where(sample, TRUTH_COLOUR) == around(box, TRUTH_LINE)
    assert where(sample, ANSWER_COLOUR) == around(box, ANSWER_LINE)


def test_masks_are_a_green_outline_and_a_red_tint(grey):
    truth, answer = np.zeros((2, 80, 160), bool)
    truth[20:60, 10:70], answer[30:50, 40:120] = True, True
    tile = Tile(grey, [], [], "worst", "it", truth_mask=masks.encode(truth), answer_mask=masks.encode(answer))
    pixels = np.array(draw_grid([tile], "ss"))[
        TITLE_HEIGHT : TITLE_HEIGHT + TILE // 2, MARGIN : MARGIN + TILE
    ]
    red = np.round(90 + TINT * (np.array(ANSWER_COLOUR) - 90)).astype(np.uint8)
    assert where(pixels, TRUTH_COLOUR) == (20, 40, 139, 119)
    assert (pixels[42:118, 22:78] == 90).all()  # inside the outline the picture stays as it is
    assert where(pixels, red) == (80, 60, 239, 99)
    unread = Tile(grey, [], [], "worst", "it", truth_mask=masks.encode(truth))
    pixels = np.array(draw_grid([unread], "ss"))[TITLE_HEIGHT:, MARGIN : MARGIN + TILE]
    assert not (pixels == red).all(axis=-1).any()


def test_pairs_stand_side_by_side(grey, tmp_path):
    Image.new("RGB", (160, 80), (200, 10, 10)).save(tmp_path / "before.png")
    full = masks.constant((80, 160), True)
    tile = Tile(grey, [], [], "best", "it", before=tmp_path / "before.png", truth_mask=full)
    pixels = np.array(draw_grid([tile] * 3, "cd"))
    left, right = MARGIN, MARGIN + TILE + PAIR_GAP
    sample = pixels[TITLE_HEIGHT : TITLE_HEIGHT + TILE // 2]
    assert (sample[:, left : left + TILE] == (200, 10, 10)).all()
    assert where(sample[:, right : right + TILE], TRUTH_COLOUR) == (0, 0, TILE - 1, TILE // 2 - 1)
    assert pixels.shape[1] == MARGIN + 2 * (2 * TILE + PAIR_GAP + MARGIN)  # two pairs a row
    one = draw_grid([tile], "cd")
    assert pixels.shape[0] - TITLE_HEIGHT == 2 * (one.height - TITLE_HEIGHT)


def test_grid_grows_by_rows_and_captions_are_written_below(grey):
    tile = Tile(grey, [], [], "random", "a caption")
    one, five = draw_grid([tile], "t"), draw_grid([tile] * (COLUMNS + 1), "t")
    assert five.height - TITLE_HEIGHT == 2 * (one.height - TITLE_HEIGHT)
    below = np.array(one)[TITLE_HEIGHT + TILE // 2 :, MARGIN : MARGIN + TILE]
    assert (below < 100).any()


def test_choose_takes_worst_best_and_seeded_random():
    scores = np.random.default_rng(0).permutation(40) / 40
    chosen = choose(scores, count=12, seed=5)
    by_reason = {reason: [i for i, why in chosen if why == reason] for reason in ("worst", "best", "random")}
    order = np.argsort(scores).tolist()
    assert by_reason["worst"] == order[:4]
    assert by_reason["best"] == order[-4:][::-1]
    assert len({i for i, _ in chosen}) == 12
    assert choose(scores, seed=5) == chosen != choose(scores, seed=6)
    assert sorted(i for i, _ in choose(scores[:5], count=12)) == list(range(5))
