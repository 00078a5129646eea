"""BoxCodec: hand-worked texts, round trips within half a step, and a reader that no text can break."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsunivlm.codecs import BoxCodec, BoxReport

SIZE = (800, 400)  # width, height: one unit of 0..100 is 8 px across and 4 px down


def read(text):
    units, report = BoxCodec().decode_units(text)
    return units.tolist(), report


def test_pixels_are_written_as_rounded_shares_of_each_side():
    assert BoxCodec().encode([[80, 81, 246, 399]], SIZE) == "[10, 20, 31, 100]"
    assert BoxCodec(range=1000).encode([[80, 81, 246, 399]], SIZE) == "[100, 202, 308, 998]"
    assert BoxCodec(decimals=1).encode([[80, 81, 246, 399]], SIZE) == "[10.0, 20.2, 30.8, 99.8]"


def test_several_boxes_are_joined_and_read_back_in_order():
    boxes = [[80, 40, 160, 80], [0, 0, 800, 400]]
    text = BoxCodec().encode(boxes, SIZE)
    assert text == "[10, 10, 20, 20], [0, 0, 100, 100]"
    decoded, report = BoxCodec().decode(text, SIZE)
    assert decoded.dtype == np.float64
    assert decoded.tolist() == boxes
    assert report == BoxReport(found=2, repaired=0, dropped=0, notes=())
    assert report.valid
    assert report.clean


def test_encoding_repairs_and_counts_what_it_drops():
    boxes = [
        [160, 80, 80, 40],  # corners swapped
        [-50, -1, 900, 200],  # beyond the frame
        [100, 100, 103, 200],  # 12.5 and 12.875 round to 12 and 13: kept
        [105, 100, 107, 200],  # both round to 13: no width left
        [900, 10, 990, 50],  # wholly outside
    ]
    text, report = BoxCodec().encode_with_report(boxes, SIZE)
    assert text == "[10, 10, 20, 20], [0, 0, 100, 50], [12, 25, 13, 50]"
    assert (report.found, report.repaired, report.dropped) == (5, 2, 2)
    assert text == BoxCodec().encode(boxes, SIZE)
    assert BoxCodec(range=1000).encode_with_report(boxes[3:4], SIZE)[1].dropped == 0
    assert BoxCodec().encode_with_report([], SIZE) == ("", BoxReport(0, 0, 0, ()))
    assert BoxCodec().encode_units([[-0.0, -1e-9, 5, 5]]) == "[0, 0, 5, 5]"  # not "-0"


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("[10, 20, 30, 40]", [[10, 20, 30, 40]]),
        ("The car is at [10,20,30,40].", [[10, 20, 30, 40]]),
        ("[ 10.5 , 20, .5, 40. ]", [[0.5, 20, 10.5, 40]]),
        ("[10 20 30 40]", [[10, 20, 30, 40]]),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ("<ref>ship</ref><box>[[1, 2, 3, 4]]</box>", [[1, 2, 3, 4]]),
        ("(10,20),(30,40)", [[10, 20, 30, 40]]),
        (
            "<|box_start|>(10,20),(30,40)<|box_end|><|box_start|>(1,2),(3,4)<|box_end|>",
            [[10, 20, 30, 40], [1, 2, 3, 4]],
        ),
        ("(10, 20, 30, 40)", [[10, 20, 30, 40]]),
        ("{<10><20><30><40>}", [[10, 20, 30, 40]]),
        ("{<10><20><30><40>|<0>}{<1><2><3><4>|<180>}", [[10, 20, 30, 40], [1, 2, 3, 4]]),
        ("{<10><20><30><40>|<35>}<delim>{<1><2><3><4>|<0>}", [[10, 20, 30, 40], [1, 2, 3, 4]]),
        ("[VG] no box (2 ships), see <p>", []),
    ],
)
def test_notations_that_mean_one_thing_are_read(text, boxes):
    decoded, report = read(text)
    assert decoded == boxes
    assert report.found == len(boxes)
    assert report.dropped == 0


def test_foreign_notations_are_noted():
    assert read("(10,20),(30,40)")[1].notes == ("written as (x1,y1),(x2,y2): 1",)
    assert read("{<10><20><30><40>|<180>}")[1].notes == ("written as <x1><y1><x2><y2>: 1",)
    report = read("{<10><20><30><40>|<90>}")[1]
    assert report.repaired == 1
    assert report.notes == ("written as <x1><y1><x2><y2>: 1", "angle ignored, upright corners kept: 1")


@pytest.mark.parametrize(
    "text",
    [
        "[10, 20, 30]",
        "[10, 20, 30, 40, 50]",
        "[10, 20, 30, x4]",
        "[10, 20, 30, 4",  # cut off: the last number may have been 40
        "[1e1, 20, 30, 40]",
        "[1.2.3, 20, 30, 40]",
        "(10,20),(30,40),(50,60)",  # a polygon?
        "(10,20),(30,40),(50,60),(70,80)",  # two boxes or four corners?
        "{<50><50><20><10><45>}",  # centre, size and angle, as FIT-RS writes?
        "[²0, 20, 30, 40]",
        "[٣, ٤, ٥, ٦, 7]",
    ],
)
def test_brackets_that_are_not_four_numbers_are_dropped_and_counted(text):
    decoded, report = read(f"{text} and")
    assert decoded == []
    assert (report.found, report.dropped, report.notes) == (1, 1, ("dropped, not four numbers: 1",))
    assert not report.valid


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 1, 0, 3), (0, 3, 2, 1), (2, 3, 0, 1)])
def test_corners_are_read_in_any_order(order):
    box = [10, 20, 30, 40]
    decoded, report = read(str([box[i] for i in order]))
    assert decoded == [box]
    assert report.repaired == (order != (0, 1, 2, 3))


def test_values_beyond_the_frame_are_clamped_and_flat_boxes_dropped():
    decoded, report = read(f"[-5, 20, {'9' * 5000}, 40] [10, 20, 10, 40] [120, 0, 150, 50] [5, 5, 6, 6]")
    assert decoded == [[0, 20, 100, 40], [5, 5, 6, 6]]
    assert (report.found, report.repaired, report.dropped) == (4, 1, 2)
    assert report.notes == ("clamped to the frame: 1", "dropped, no width or height left: 2")


def test_more_than_six_boxes_are_kept():
    boxes = [[i, i, i + 10, i + 20] for i in range(40)]
    assert read(BoxCodec().encode_units(boxes))[0] == boxes


@settings(deadline=None)
@given(
    shares=hnp.arrays(np.float64, st.tuples(st.integers(0, 9), st.just(4)), elements=st.floats(0, 1)),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    codec=st.builds(BoxCodec, range=st.sampled_from([32, 100, 1000]), decimals=st.integers(0, 2)),
)
def test_a_round_trip_errs_by_half_a_step_at_most(shares, size, codec):
    step = 10**-codec.decimals / codec.range
    low, high = np.minimum(shares[:, :2], shares[:, 2:]), np.maximum(shares[:, :2], shares[:, 2:])
    boxes = np.concatenate([low, high], axis=1)[(high - low > 1.01 * step).all(axis=1)]
    text, report = codec.encode_with_report(boxes * (size * 2), size)
    decoded, reading = codec.decode(text, size)
    assert (report.found, report.dropped) == (len(boxes), 0)  # a side of more than a step cannot vanish
    assert reading == BoxReport(found=len(boxes), repaired=0, dropped=0, notes=())
    assert np.abs(decoded / (size * 2) - boxes).max(initial=0) <= step / 2 + 1e-9


def test_twenty_thousand_broken_texts_never_raise():
    rng = random.Random(0)
    seeds = [
        "[10, 20, 30, 40], [1.5, 2, 3, 4]",
        "{<10><20><30><40>|<90>}<delim>{<1><2><3><4>|<0>}",
        "<|box_start|>(10,20),(30,40)<|box_end|>",
        "[[906,47,1000,141]] the [VG] car",
    ]
    junk = [
        *"[](){}<>|,.-+*; \n\t\0e\\",
        "²",
        "٣",
        "½",
        "５",
        "−",
        "\u2028",
        "🛰",
        "\ud800",
        "nan",
        "inf",
        "1e999",
    ]
    junk += ["9" * 4400, "[[[[", "]]]]", "<1><", "(1,2)", "0" * 50, "--", ".."]
    for _ in range(20_000):
        text = rng.choice(seeds)
        for _ in range(rng.randrange(1, 8)):
            at, upto = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
            replaced = rng.choice([rng.choice(junk), text[at:upto] * 2, rng.choice(seeds)[:upto], ""])
            text = text[:at] + replaced + text[min(upto, at + rng.randrange(4)) :]
        boxes, report = BoxCodec().decode(text, SIZE)
        assert len(boxes) == report.found - report.dropped
        assert report.repaired <= len(boxes)
        assert ((boxes >= 0) & (boxes <= [*SIZE, *SIZE])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_settings_survive_a_config_and_bad_ones_are_named():
    codec = BoxCodec(range=1000, decimals=2)
    assert BoxCodec.from_dict(codec.to_dict()) == codec
    assert BoxCodec.from_dict({}) == BoxCodec()
    with pytest.raises(ValueError, match="unknown setting rage, steps; known settings: range, decimals"):
        BoxCodec.from_dict({"rage": 1, "steps": 2})
    for bad in ({"range": 0}, {"range": 1.5}, {"range": True}, {"decimals": -1}, {"decimals": "1"}):
        with pytest.raises(ValueError, match=f"BoxCodec: {next(iter(bad))} must be a whole number"):
            BoxCodec(**bad)


def test_arrays_that_are_not_boxes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        BoxCodec().encode([1, 2, 3, 4], SIZE)
    with pytest.raises(ValueError, match="box 1 holds a value that is not finite"):
        BoxCodec().encode([[1, 2, 3, 4], [1, 2, np.nan, 4]], SIZE)
    with pytest.raises(ValueError, match="image size"):
        BoxCodec().encode([[1, 2, 3, 4]], (0, 10))
