"""MaskCodec: both dialects round-trip, bad texts lose little and never raise, resampling is exact."""

import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsunivlm.codecs import MaskCodec, MaskReport
from rsunivlm.codecs.mask_text import normal_label

LABELS = ("others", "building")
DIALECTS = ("rsunivlm", "text4seg")
ODD_LABELS = (
    "others",
    "low-vegetation",
    "crop/pasture",
    "class1",
    "3",
    "2 white dogs, left of the road",
    "the dog. Or: the cat?",
    "Tree",
    "水域",
    "<p>x</p>",
)

REFERENCE_GRID = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
REFERENCE_TEXT = "others*4\nothers*1, building*2, others*1\nothers*4\nbuilding*4"


def read(text, labels=LABELS, grid=4, **settings):
    ids, report = MaskCodec(grid=grid, **settings).text_to_grid(text, labels)
    return ids, report


# --- text -----------------------------------------------------------------------------------------------


def test_both_dialects_are_written_as_published():
    grid = np.zeros((4, 4), int)
    grid[1, 1:3] = 1
    assert (
        MaskCodec(grid=4).grid_to_text(grid, LABELS)
        == "others*4\nothers*1, building*2, others*1\nothers*4\nothers*4"
    )
    assert MaskCodec(grid=4, dialect="text4seg").grid_to_text(grid, ("others", "white dog")) == (
        "<seg>others *4\n others *1| white dog *2| others *1\n others *4\n others *4\n</seg>"
    )


@st.composite
def _labelled_grids(draw):
    words = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="*|\n\r"), min_size=1, max_size=12
    )
    usable = words.filter(lambda word: word.strip(" ,;") == word.strip() == word and normal_label(word))
    drawn = draw(
        st.lists(st.one_of(st.sampled_from(ODD_LABELS[1:]), usable), max_size=5, unique_by=normal_label)
    )
    labels = ("others", *(label for label in drawn if normal_label(label) != "others"))
    side = draw(st.integers(1, 12))
    return draw(hnp.arrays(np.int64, (side, side), elements=st.integers(0, len(labels) - 1))), labels


@settings(deadline=None, max_examples=300)
@given(case=_labelled_grids(), written=st.sampled_from(DIALECTS), expected=st.sampled_from(DIALECTS))
def test_every_grid_round_trips_in_both_dialects(case, written, expected):
    grid, labels = case
    text = MaskCodec(grid=len(grid), dialect=written).grid_to_text(grid, labels)
    ids, report = MaskCodec(grid=len(grid), dialect=expected).text_to_grid(text, labels)
    assert (ids == grid).all()
    assert report.valid
    assert report.clean == (written == expected)
    assert report.notes == (() if written == expected else (f"written in the {written} dialect: 1",))


def test_one_wrong_count_loses_that_row_only():
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 3, (24, 24))
    codec, labels = MaskCodec(), ("others", "building", "low-vegetation")
    rows = codec.grid_to_text(grid, labels).split("\n")
    for spoiled in ("1", "99999", "x", "", "0"):
        broken = list(rows)
        broken[7] = re.sub(r"\*[0-9]+", f"*{spoiled}", broken[7], count=1)
        ids, report = codec.text_to_grid("\n".join(broken), labels)
        others = np.arange(24) != 7
        assert (ids[others] == grid[others]).all()
        assert report.rows_repaired == (broken[7] != rows[7])
        assert (report.rows_missing, report.rows_extra) == (0, 0)


def test_rows_are_cropped_filled_left_out_and_ignored():
    ids, report = read("others*3, building*9\nothers*1, building*1\nbuilding*2, others*2, others*0")
    assert ids.tolist() == [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert (report.rows_found, report.rows_repaired, report.rows_missing) == (3, 2, 1)
    assert report.notes == (
        "rows too long, cropped: 1",
        "rows too short, filled with their last label: 1",
        "runs of zero cells, ignored: 1",
    )
    ids, report = read("\n".join(["building*4"] * 1000))
    assert (ids == 1).all()
    assert (report.rows_found, report.rows_extra, report.clean) == (1000, 996, False)
    ids, report = read("building*\nothers*4")  # a row without a count keeps its place
    assert ids[:2].tolist() == [[1] * 4, [0] * 4]
    assert report.rows_repaired == 1


@pytest.mark.parametrize(
    "text",
    [
        REFERENCE_TEXT.upper(),
        REFERENCE_TEXT.replace("\n", "\n\n"),
        REFERENCE_TEXT.replace("\n", "\r\n"),
        REFERENCE_TEXT.replace("\n", ",\n") + ",",
        REFERENCE_TEXT.replace(", ", ","),
        REFERENCE_TEXT.replace(", ", " "),
        REFERENCE_TEXT.replace("*", " * "),
        REFERENCE_TEXT + ".",
        f"<seg>{REFERENCE_TEXT}</seg>",
        f"<SEG>{REFERENCE_TEXT}",
        f"Sure, here it is:\n{REFERENCE_TEXT}\nAnything else?",
        f"Here is the mask: {REFERENCE_TEXT}",
        f"The mask is {REFERENCE_TEXT}",
        f"It shows 3 roofs.<seg>{REFERENCE_TEXT}</seg> Done.",
        f"```\n{REFERENCE_TEXT}\n```",
        REFERENCE_TEXT.replace("building", "Buildings").replace("others", "background"),
        REFERENCE_TEXT.replace("others*4\nb", "others*5\nb"),
        REFERENCE_TEXT.removesuffix("*4") + "*99999999999999999999",
        f"{REFERENCE_TEXT}\nothers*4\nothers*999999",
        REFERENCE_TEXT.replace("others*4", "others*1", 1),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_breaks_the_public_demo_is_read(text, dialect):
    ids, report = read(text, dialect=dialect)
    assert (ids == REFERENCE_GRID).all()
    assert report.valid
    assert report.unknown_labels == ()


@pytest.mark.parametrize(
    "written", ["low-vegetation", "low_vegetation", "Low  Vegetation", "low vegetations"]
)
def test_spellings_and_synonyms_are_one_label(written):
    text = f"others*2, {written}*2\nothers*4, \ncrop/pasture*4\nclass1*4"
    labels = ("others", "low vegetation", "crop/pasture", "class1")
    ids, report = read(text, labels)
    assert ids.tolist() == [[0, 0, 1, 1], [0] * 4, [2] * 4, [3] * 4]
    assert report.notes == (f"label {written!r} read as 'low vegetation': 1",)
    ids, report = MaskCodec(grid=1).text_to_grid("house*1", LABELS, synonyms={"house": "building"})
    assert ids.tolist() == [[1]]
    with pytest.raises(ValueError, match="synonym 'house' stands for 'home'"):
        MaskCodec(grid=1).text_to_grid("house*1", LABELS, synonyms={"house": "home"})


def test_unknown_labels_are_background_and_named_so_that_they_can_be_asked_for():
    text = "Result: car*1, Low-Veg*1, low veg*1, *1\nothers*4\nothers*4\nothers*4"
    ids, report = read(text)
    assert (ids == 0).all()
    assert report.unknown_labels == ("car", "Low-Veg")
    assert report.stray == ("Result",)
    assert report.notes == ("runs without a readable label, background: 1",)
    ids, _ = read(text, ("others", *report.unknown_labels))
    assert ids[0].tolist() == [1, 2, 2, 0]


@pytest.mark.parametrize("text", ["", "\n\n", "there is no building", "****", "²*٣", "Unknown*4"])
def test_nothing_readable_is_background_and_says_so(text):
    ids, report = read(text)
    assert (ids == 0).all()
    assert not report.valid
    assert not report.clean


def test_a_long_tail_is_counted_not_kept():
    report = read("\n".join(f"prose number {i} {'x' * 500}" for i in range(100)))[1]
    assert len(report.stray) == 8
    assert max(map(len, report.stray)) == 60
    assert report.stray_chars > 50_000


def test_twenty_thousand_broken_texts_never_raise():
    rng = random.Random(0)
    labels = ("others", "low-vegetation", "class1")
    grid = np.array([[0, 0, 1, 2], [1, 1, 1, 1], [2, 0, 2, 0], [0, 0, 0, 0]])
    codecs = [MaskCodec(grid=4, dialect=dialect) for dialect in DIALECTS]
    seeds = [codec.grid_to_text(grid, labels) for codec in codecs]
    junk = [
        *"*|,.:;<>/-_' \n\r\t\0\\",
        "²",
        "٣",
        "５",
        "\u2028",
        "\x85",
        "🛰",
        "\ud800",
        "İ",
        "ß",
        "<seg>",
        "</seg>",
    ]
    junk += [
        "9" * 4400,
        "*" * 30,
        "*999999",
        "*-1",
        "*0",
        ", ",
        "| ",
        "others*",
        "*4",
        "Sure: ",
        "\n\n\n",
        "{[(",
    ]
    for turn in range(20_000):
        text = rng.choice(seeds)
        for _ in range(rng.randrange(1, 8)):
            at, upto = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
            replaced = rng.choice([rng.choice(junk), text[at:upto] * 2, rng.choice(seeds)[:upto], ""])
            text = text[:at] + replaced + text[min(upto, at + rng.randrange(4)) :]
        codec = codecs[turn % 2]
        ids, report = codec.text_to_grid(text, labels)
        assert ids.shape == (4, 4)
        assert 0 <= ids.min() <= ids.max() < 3
        assert report.rows_found == 4 - report.rows_missing + report.rows_extra
        assert report.rows_repaired <= 4
        assert len(report.stray) <= 8
        # Labels a report names can always be asked for.
        codec.text_to_grid(text, (*labels, *report.unknown_labels))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("building",), "must begin with the background label 'others'"),
        ((), "must begin with"),
        (("others", "a*b"), r"label 'a\*b' holds"),
        (("others", "a|b"), "holds"),
        (("others", "a\nb"), "holds"),
        (("others", "a<seg>"), "holds"),
        (("others", " a"), "label ' a' begins or ends with"),
        (("others", "a,"), "begins or ends with"),
        (("others", "-"), "nothing but punctuation"),
        (("others", "low vegetation", "Low-Vegetation"), "read alike"),
    ],
)
def test_labels_that_a_text_cannot_carry_are_refused(labels, message):
    for use in (
        lambda: MaskCodec(grid=1).grid_to_text(np.zeros((1, 1), int), labels),
        lambda: MaskCodec(grid=1).text_to_grid("others*1", labels),
    ):
        with pytest.raises(ValueError, match=message):
            use()


# --- mask -> grid ---------------------------------------------------------------------------------------

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


# --- grid -> mask ---------------------------------------------------------------------------------------


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


def test_reports_of_perfect_texts_are_empty():
    report = read(REFERENCE_TEXT)[1]
    assert report == MaskReport(4, 4, 0, 0, 0, (), (), 0, (), True)
    assert report.clean
