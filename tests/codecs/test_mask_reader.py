"""Imperfect mask texts: a slip costs one row at most, everything is reported, and no text raises."""

import random
import re

import numpy as np
import pytest

from rsunivlm.codecs import MaskCodec, MaskReport

LABELS = ("others", "building")
DIALECTS = ("rsunivlm", "text4seg")
REFERENCE_GRID = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
REFERENCE_TEXT = "others*4\nothers*1, building*2, others*1\nothers*4\nbuilding*4"


def read(text, labels=LABELS, grid=4, **settings):
    ids, report = MaskCodec(grid=grid, **settings).text_to_grid(text, labels)
    return ids, report


def test_reports_of_perfect_texts_are_empty():
    report = read(REFERENCE_TEXT)[1]
    assert report == MaskReport(4, 4, 0, 0, 0, (), (), 0, (), True)
    assert report.clean


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
    assert read(f"{'a' * 59} cut at a space*4")[1].unknown_labels == ("a" * 59,)


@pytest.mark.parametrize("text", ["", "\n\n", "there is no building", "****", "²*٣", "Unknown*4"])
def test_nothing_readable_is_background_and_says_so(text):
    ids, report = read(text)
    assert (ids == 0).all()
    assert not report.valid
    assert not report.clean


def test_a_sentence_around_the_mask_is_stray():
    report = read(f"It shows 3 roofs.<seg>{REFERENCE_TEXT}</seg> Done.")[1]
    assert report.stray == ("It shows 3 roofs", "Done")
    assert report.stray_chars == 20


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
