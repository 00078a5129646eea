"""Resampling by hand-worked values and independent references; settings of the codec."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsunivlm.codecs import MaskCodec

LABELS = ("others", "building")

# --- mask -> grid ---

# 4 x 6 pixels on a 2 x 2 grid: cells of 2 x 3 pixels, centre pixel at row 1 (ties go down), column 1.
SMALL_MASK = np.array(
    [
        [1, 1, 0, 0, 2, 2],
        [0, 0, 0, 0, 0, 2],
        [1, 1, 1, 9, 9, 9],
        [1, 2, 0, 9, 0, 1],
    ]
)


@pytest.mark.parametrize(
    ("rule", "grid"),
    [
        # Cells hold {1: 2 of 6}, {2: 3 of 6}, {1: 4, 2: 1 of 6}, {1: 1 of 2, the rest is ignored}.
        ("nearest", [[0, 0], [2, 0]]),
        ("area", [[0, 2], [1, 1]]),
        ("majority", [[0, 0], [1, 0]]),
    ],
)
def test_encode_rules_on_a_hand_worked_mask(rule, grid):
    codec = MaskCodec(grid=2, encode_rule=rule, area_threshold=0.35)
    assert codec.to_grid(SMALL_MASK, 3, ignore_index=9).tolist() == grid


def test_area_threshold_is_strict_and_shares_of_split_pixels_are_exact():
    # 3 pixels on a grid of 2: each cell is one whole pixel and half of the middle one, so 1/3 of a cell is 1.
    mask = np.tile([0, 1, 0], (3, 1))
    for threshold, expected in ((0.33, 1), (1 / 3, 0), (0.34, 0)):
        codec = MaskCodec(grid=2, encode_rule="area", area_threshold=threshold)
        assert codec.to_grid(mask, 2).tolist() == [[expected] * 2] * 2
    assert MaskCodec(grid=2, encode_rule="majority").to_grid(mask == 0, 2).tolist() == [[1, 1], [1, 1]]


def test_ignored_pixels_do_not_vote_and_an_empty_cell_is_background():
    mask = np.full((24, 24), 255, np.uint8)
    mask[0, 0] = 1
    for rule in ("nearest", "area", "majority"):
        grid = MaskCodec(grid=2, encode_rule=rule).to_grid(mask, 2, ignore_index=255)
        assert grid.tolist() == [[int(rule != "nearest"), 0], [0, 0]]


@settings(deadline=None)
@given(
    mask=hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 3)),
    side=st.integers(1, 12),
)
def test_majority_counts_pixels_as_a_plain_loop_does(mask, side):
    height, width = mask.shape
    fine = mask.repeat(side, axis=0).repeat(side, axis=1)  # every cell is height x width whole pixels of this
    blocks = fine.reshape(side, height, side, width).transpose(0, 2, 1, 3).reshape(side, side, -1)
    expected = [[np.bincount(block, minlength=4).argmax() for block in row] for row in blocks]
    assert MaskCodec(grid=side, encode_rule="majority").to_grid(mask, 4).tolist() == expected


def test_masks_that_do_not_fit_are_refused():
    codec = MaskCodec(grid=2)
    with pytest.raises(ValueError, match="holds class id 9, but there are 3 labels"):
        codec.to_grid(SMALL_MASK, 3)
    with pytest.raises(ValueError, match="holds class id -1"):
        codec.to_grid(np.full((2, 2), -1), 3)
    for bad in (np.zeros((2, 2)), np.zeros((2, 2, 3), int), np.zeros((0, 2), int)):
        with pytest.raises(ValueError, match="mask must be a"):
            codec.to_grid(bad, 3)
    with pytest.raises(ValueError, match="grid must have shape"):
        codec.grid_to_text(np.zeros((3, 3), int), LABELS)


# --- grid -> mask ---


def test_nearest_paints_the_cell_under_each_pixel_centre():
    codec = MaskCodec(grid=2)
    grid = np.array([[0, 1], [2, 3]])
    assert codec.grid_to_mask(grid, (5, 3)).tolist() == [[0, 0, 1, 1, 1], [2, 2, 3, 3, 3], [2, 2, 3, 3, 3]]
    assert codec.grid_to_mask(grid, (1, 1)).tolist() == [[3]]
    assert codec.grid_to_mask(grid, (1, 1)).dtype == np.uint8


@settings(deadline=None)
@given(
    side=st.integers(1, 12), size=st.tuples(st.integers(1, 60), st.integers(1, 60)), seed=st.integers(0, 99)
)
def test_bilinear_decoding_agrees_with_torch(side, size, seed):
    width, height = size
    grid = np.random.default_rng(seed).integers(0, 4, (side, side))
    planes = torch.nn.functional.one_hot(torch.from_numpy(grid), 4).permute(2, 0, 1)[None].double()
    bilinear = MaskCodec(grid=side, decode_rule="bilinear").grid_to_mask(grid, size)
    scores = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
    # Where torch's rounding leaves a tie open, the lowest of the best classes must win.
    best = (scores >= scores.amax(0) - 1e-9).int().argmax(0)
    assert bilinear.shape == (height, width)
    assert (bilinear == best.numpy()).all()


def test_bilinear_ties_go_to_the_background():
    codec = MaskCodec(grid=2, decode_rule="bilinear")
    # The middle of 3 pixels lies half-way between the two cells: exactly 0.5 is background.
    assert codec.grid_to_mask(np.array([[1, 0], [1, 0]]), (3, 1)).tolist() == [[1, 0, 0]]


@settings(deadline=None)
@given(
    side=st.integers(1, 12), size=st.tuples(st.integers(1, 60), st.integers(1, 60)), seed=st.integers(0, 99)
)
def test_soft_labels_agree_with_torch_and_sure_ones_with_bilinear_decoding(side, size, seed):
    width, height = size
    codec, draw = MaskCodec(grid=side, decode_rule="bilinear"), np.random.default_rng(seed)
    shares = draw.dirichlet(np.ones(3), (side, side)).transpose(2, 0, 1)
    scores = torch.nn.functional.interpolate(
        torch.from_numpy(shares)[None], (height, width), mode="bilinear", align_corners=False
    )[0]
    assert (codec.soft_to_mask(shares, size, rounds=0) == scores.argmax(0).numpy()).all()
    assert (codec.soft_to_mask(shares[1], size, rounds=0) == (scores[1] > 0.5).numpy()).all()
    grid = draw.integers(0, 3, (side, side))
    sure = codec.soft_to_mask(np.arange(3)[:, None, None] == grid, size, rounds=0)
    assert (sure == codec.grid_to_mask(grid, size)).all()
    assert sure.dtype == np.uint8


def test_a_soft_edge_lies_where_the_shares_say():
    # Two cells of 4 pixels, the left one covered: its neighbour's share moves the edge beyond the middle.
    for share, covered in ((0.0, 4), (0.25, 5), (0.45, 6)):
        row = MaskCodec(grid=2).soft_to_mask(np.array([[1, share], [1, share]]), (8, 2), rounds=0)[0]
        assert row.tolist() == [1] * covered + [0] * (8 - covered)
    with pytest.raises(ValueError, match=r"shares must have shape \[C, 2, 2\], got \[2, 3, 3\]"):
        MaskCodec(grid=2).soft_to_mask(np.zeros((3, 3)), (8, 2))


def test_corrected_soft_labels_keep_the_shares_of_cells():
    y, x = np.mgrid[:120, :160]
    ids = np.zeros((120, 160), np.uint8)
    ids[((y - 50) / 30) ** 2 + ((x - 60) / 45) ** 2 < 1] = 1
    ids[92:102, 122:132] = 2  # a third of the one cell it lies in
    cells = [(ids == number).reshape(8, 15, 8, 20).mean(axis=(1, 3)) for number in range(3)]
    codec = MaskCodec(grid=8)
    plain, corrected = (codec.soft_to_mask(cells, (160, 120), rounds=rounds) for rounds in (0, 8))
    assert (plain == ids).mean() < 0.985 < 0.99 < (corrected == ids).mean()
    assert not (plain == 2).any()
    assert 80 <= (corrected == 2).sum() <= 120
    for number in range(3):
        kept = (corrected == number).reshape(8, 15, 8, 20).mean(axis=(1, 3))
        assert abs(kept - cells[number]).max() < 0.15


def test_large_masks_and_many_classes_keep_their_ids():
    grid = np.arange(576).reshape(24, 24)
    for rule in ("nearest", "bilinear"):
        mask = MaskCodec(decode_rule=rule).grid_to_mask(grid, (48, 2400))
        assert mask.dtype == np.int32
        assert (mask[50::100, ::2] == grid).all()
    wide = MaskCodec(grid=2, decode_rule="bilinear").grid_to_mask(np.array([[0, 1], [0, 1]]), (5001, 1001))
    assert (wide[:, :2501] == 0).all()
    assert (wide[:, 2501:] == 1).all()


@pytest.mark.parametrize("encode_rule", ["nearest", "area", "majority"])
@pytest.mark.parametrize("decode_rule", ["nearest", "bilinear"])
def test_a_blob_survives_the_grid(encode_rule, decode_rule):
    y, x = np.mgrid[:300, :500]
    mask = (((y - 140) / 90) ** 2 + ((x - 260) / 160) ** 2 < 1).astype(np.uint8)
    codec = MaskCodec(encode_rule=encode_rule, decode_rule=decode_rule)
    decoded, report = codec.decode(codec.encode(mask, LABELS), LABELS, (500, 300))
    assert report.clean
    assert (decoded & mask).sum() / (decoded | mask).sum() > (0.9 if decode_rule == "bilinear" else 0.85)


def test_settings_survive_a_config_and_bad_ones_are_named():
    codec = MaskCodec(27, "text4seg", "area", 0.5, "bilinear", "background")
    assert MaskCodec.from_dict(codec.to_dict()) == codec
    assert MaskCodec().to_dict()["grid"] == 24
    with pytest.raises(ValueError, match="MaskCodec: unknown setting gird"):
        MaskCodec.from_dict({"gird": 24})
    for name, bad in (
        ("grid", 0),
        ("grid", 2000),
        ("dialect", "Text4Seg"),
        ("encode_rule", "any"),
        ("decode_rule", "cubic"),
        ("area_threshold", 1),
    ):
        with pytest.raises(ValueError, match=f"MaskCodec: {name} must be"):
            MaskCodec(**{name: bad})
    with pytest.raises(ValueError, match=r"label 'a\|b' holds"):
        MaskCodec(background="a|b")
