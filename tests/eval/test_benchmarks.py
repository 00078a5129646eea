"""Loading benchmarks: record files, the DIOR-RSVG layout, and clear refusals."""

import json

import numpy as np
import pytest
from PIL import Image

from eval import benchmarks, ss, vg
from rsunivlm.tasks import Task


def load(name, data=None, split=None):
    return benchmarks.load(name, Task.VG, vg, data, split)


def edit(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_record_file_by_path_or_by_name(tiny):
    by_path, by_name = load(str(tiny)), load("records", tiny)
    assert by_path == by_name
    assert (by_path.benchmark, by_path.split, len(by_path.records)) == ("vg", "all", 14)
    elsewhere = tiny.parent.parent / "other.jsonl"
    tiny.rename(elsewhere)
    assert len(load(str(elsewhere), data=tiny.parent).records) == 14


def test_mini_is_the_default_and_reads_one_file_per_task(tiny, monkeypatch):
    row = benchmarks.Benchmark("mini", (Task.VG,), default_data=tiny.parent)
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"mini": row})
    assert load(None).benchmark == "mini"
    assert len(load(None).records) == 14


def test_other_tasks_in_a_record_file_are_left_out_and_counted(tiny):
    def add(rows):
        turns = [{"from": "human", "value": "<image>\n[CAP] Describe it."}, {"from": "gpt", "value": "a."}]
        rows.append({"id": "c", "image": "images/0.png", "task": "cap", "conversations": turns})

    edit(tiny, add)
    questions = load(str(tiny))
    assert len(questions.records) == 14
    assert questions.notes == ("left out: 1 records of other tasks",)
    edit(tiny, lambda rows: rows.__delitem__(slice(14)))
    with pytest.raises(ValueError, match="no records of task vg, only of cap"):
        load(str(tiny))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.clear(), "dataset is empty"),
        (lambda rows: rows[3].update(id="q1"), "two records have the id 'q1'"),
        (lambda rows: rows[3].update(image="images/none.png"), "image none.png is missing"),
        (lambda rows: rows[3].update(image="../vg.jsonl"), "must be relative"),
        (lambda rows: rows[3].pop("targets"), "record q3.*targets"),
        (
            lambda rows: rows[3]["conversations"][0].update(value="<image><image>\n[VG] it"),
            r"vg\.jsonl:4 .*2 <image> mark",
        ),
    ],
)
def test_bad_record_files_are_refused(tiny, change, message):
    edit(tiny, change)
    with pytest.raises(ValueError, match=message):
        load(str(tiny))


@pytest.mark.parametrize(
    ("name", "data", "split", "message"),
    [
        ("nope", None, None, r"unknown benchmark 'nope'; known: mini, .*dior_rsvg, .*records"),
        (None, ".", None, "--data needs --benchmark"),
        ("dior_rsvg", None, None, "--data DIR is missing.*Annotations"),
        ("dior_rsvg", "missing", None, "no such data folder: .*missing"),
        ("records", None, None, "needs --data FILE.jsonl"),
        ("none.jsonl", None, None, "none.jsonl does not exist"),
        ("TINY", None, "val", "has no splits"),
    ],
)
def test_bad_names_are_refused_with_the_known_ones(tiny, tmp_path, name, data, split, message):
    name = str(tiny) if name == "TINY" else name
    with pytest.raises(ValueError, match=message):
        load(name, tmp_path / data if data else None, split)


@pytest.fixture
def dior(tmp_path):
    """Three images with 2, 1 and 2 objects in the DIOR-RSVG layout; train has objects 0, 3; test 1, 2, 4."""
    root = tmp_path / "dior"
    (root / "Annotations").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    objects = {
        1: [("a ship", (10, 10, 60, 40)), ("a tank", (100, 100, 140, 150))],
        2: [("a dot", (3, 3, 4, 4))],  # vanishes on the 0..100 scale
        3: [("a court", (20, 30, 70, 50)), ("a bridge", (5, 150, 190, 170))],
    }
    for number, entries in objects.items():
        Image.new("RGB", (400, 200)).save(root / f"JPEGImages/{number:05}.jpg")
        xml = f"<annotation><filename>{number:05}.jpg</filename>"
        xml += "<size><width>400</width><height>200</height><depth>3</depth></size>"
        for text, (x1, y1, x2, y2) in entries:
            box = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            xml += f"<object><name>x</name><bndbox>{box}</bndbox><description>{text}</description></object>"
        (root / f"Annotations/{number:05}.xml").write_text(xml + "</annotation>")
    (root / "train.txt").write_text("0\n3\n")
    (root / "test.txt").write_text("1\n2\n4\n")
    return root


def test_dior_rsvg_is_read_in_its_native_layout(dior):
    questions = load("dior_rsvg", dior)
    assert [record.turns[0].prompt for record in questions.records] == [
        "[VG] a tank",
        "[VG] a dot",
        "[VG] a bridge",
    ]
    assert questions.records[0].targets == {"boxes_px": [[100, 100, 140, 150]], "image_size": [400, 200]}
    assert (questions.split, questions.fit_split, len(questions.fit_records)) == ("test", "train", 2)
    assert any("published test split has 7500" in note for note in questions.notes)
    assert load("dior_rsvg", dior, "train").fit_records == ()
    (dior / "train.txt").unlink()
    assert load("dior_rsvg", dior).fit_records == ()
    with pytest.raises(ValueError, match=r"no split 'val'.*found: test"):
        load("dior_rsvg", dior, "val")


def test_a_box_too_small_for_the_codec_stays_in_the_denominator(dior, oracle):
    questions = load("dior_rsvg", dior)
    yardsticks = vg.yardsticks(questions, oracle)
    assert yardsticks.answers[vg.CEILING][1] == {"boxes_px": []}
    np.testing.assert_allclose(yardsticks.answers[vg.FREQUENT][0]["boxes_px"][0], [10, 10, 60, 40])


def test_real_sample_is_read_unchanged(rs_sample):
    questions = load("dior_rsvg", rs_sample("vhr10_rsvg"))
    assert (len(questions.records), len(questions.fit_records)) == (187, 967)
    assert len({record.images for record in questions.records}) <= 82


def masks_of(name, data, cache=None):
    return benchmarks.load(name, Task.SS, ss, data, None, cache)


@pytest.fixture
def own_masks(tmp_path):
    """Two test images with roads in the layout of a user's own masks, without ``classes.json``."""
    root = tmp_path / "own"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (40, 30)).save(root / f"images/{name}.jpg")
        values = np.zeros((30, 40), np.uint8)
        values[5:9] = 255
        Image.fromarray(values).save(root / f"masks/{name}.png")
    (root / "test.txt").write_text("a\nb\n")
    return root


def test_own_masks_take_their_classes_from_the_row_or_from_the_folder(own_masks):
    questions = masks_of("epfl_road", own_masks)
    assert [record.targets["value"] for record in questions.records] == [255, 255]
    assert questions.records[0].turns[0].prompt == "[SEG] Can you segment the road in this image?"
    with pytest.raises(ValueError, match=r"classes.json does not exist"):
        masks_of("index_masks", own_masks)
    (own_masks / "classes.json").write_text('{"0": "background", "255": "small river"}')
    assert masks_of("index_masks", own_masks).records[0].targets["labels"] == ["others", "small river"]


def test_masks_that_do_not_fit_their_images_are_refused(scenes):
    records = scenes / "ss.jsonl"
    assert len(masks_of(str(records), None).records) == 20
    Image.new("L", (90, 61)).save(scenes / "mask3.png")
    with pytest.raises(
        ValueError, match=r"record ss-3-building: image 3.png is \[90, 60\].*mask3.png \[90, 61\]"
    ):
        masks_of(str(records), None)
    (scenes / "mask3.png").unlink()
    with pytest.raises(ValueError, match=r"record ss-3-building: mask mask3\.png.*missing"):
        masks_of(str(records), None)


def test_crops_go_to_the_cache_and_are_found_there(tmp_path):
    root = tmp_path / "Vaihingen"
    values = np.zeros((40, 600, 3), np.uint8)
    values[:, 300:] = (0, 0, 255)
    for folder, pixels in (("top", np.zeros_like(values)), ("gts", values)):
        (root / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(root / folder / "top_mosaic_09cm_area2.tif")
    with pytest.raises(ValueError, match="vaihingen is cut into crops; name a folder"):
        masks_of("vaihingen", root)
    questions = masks_of("vaihingen", root, tmp_path / "cache")
    assert questions.root.parent == tmp_path / "cache"
    assert questions.root.name.startswith("vaihingen-")
    assert len(questions.records) == 2 * 6  # two crops of 512 pixels, six classes
    truth = ss.truth(questions.records[1], questions.root)
    assert (questions.records[1].targets["labels"][1], truth["mask"]["size"]) == ("building", [40, 512])
    crop = questions.root / questions.records[0].images[0]
    made = crop.stat().st_mtime_ns
    assert masks_of("vaihingen", root, tmp_path / "cache") == questions
    assert crop.stat().st_mtime_ns == made
    assert not any("crops" in path.name for path in root.rglob("*"))
