"""The contact sheet: what the text says and what is true, each where it belongs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from handmade import line, save_scene, write_folder
from PIL import Image, ImageColor

from data_tools.__main__ import main
from data_tools.doctor.folder import Folder
from data_tools.preview import SIDE, TRUTH, chosen, contact_sheet, draw
from rsunivlm.data.records import Record
from rsunivlm.drawing import PALETTE

SIZE = (64, 48)
SCALE = SIDE / 64


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A grey picture, one of another shade, and a mask: the left half is 255, the right half ignored."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", SIZE, (90, 90, 90)).save(images / "a.png")
    Image.new("RGB", SIZE, (120, 120, 120)).save(images / "b.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32], mask[:, 32:] = 255, 9
    Image.fromarray(mask).save(images / "m.png")
    return Folder.read(write_folder(tmp_path / "out", {}, images))


def where(pixels: np.ndarray, colour: str) -> tuple[int, int, int, int]:
    """Bounding box of all pixels of a colour."""
    ys, xs = np.nonzero((pixels == np.array(ImageColor.getrgb(colour))).all(axis=-1))
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def drawn(folder: Folder, record: dict) -> np.ndarray:
    return np.asarray(draw(folder, Record.from_json(record)))


def test_a_shifted_text_shows_beside_the_truth(folder: Folder) -> None:
    target = {"boxes_px": [[16, 12, 32, 24]], "image_size": list(SIZE)}
    pixels = drawn(folder, line(1, "a.png", "vg", "[VG] it", "[50, 50, 75, 100]", target))
    assert pixels.shape == (240, 320, 3)
    assert where(pixels, PALETTE[0]) == (160, 120, 240, 239)
    assert where(pixels, TRUTH) == (80, 60, 160, 120)


def test_region_descriptions_are_drawn_from_the_prompt_in_a_colour_per_turn(folder: Folder) -> None:
    record = line(1, "a.png", "reg", "[REF] what is [25, 25, 50, 50]?", "a ship")
    second = line(1, "a.png", "reg", "[REF] what is [0, 0, 25, 25]?", "a car")["conversations"]
    second[0]["value"] = second[0]["value"].removeprefix("<image>\n")
    record["conversations"] += second
    pixels = drawn(folder, record)
    assert where(pixels, PALETTE[0]) == (80, 60, 160, 120)
    assert where(pixels, PALETTE[1]) == (0, 0, 80, 60)


def test_masks_of_pairs_are_drawn_on_the_second_image(folder: Folder) -> None:
    text = "\n".join(["others*2, road*2"] * 4)  # the wrong half
    target = {"mask": "m.png", "labels": ["others", "road"], "value": 255, "ignore": [9]}
    pixels = drawn(folder, line(1, ["a.png", "b.png"], "cd", "[SEG] road", text, target))
    before, after = pixels[:, :320], pixels[:, 324:]
    assert (before == 90).all()
    assert where(after, TRUTH) == (0, 0, 159, 239)
    assert (after[5:-5, 5:155] == 120).all()
    assert (after[:, 160:] != 120).any(axis=-1).all()


def test_sheet_stands_alone_and_escapes(folder: Folder, tmp_path: Path) -> None:
    nasty = "<img src=https://example.org/x>"
    records = [line(n, "a.png", "vqa", f"[VQA] {nasty} {n}", "yes", {"answer": "yes"}) for n in range(30)]
    records[7] |= {"image": "none.png"}
    out = write_folder(tmp_path / "out", {"vqa_test.jsonl": records}, folder.images)
    sheet = contact_sheet(Folder.read(out), count=30, seed=0)
    assert sheet.count("data:image/jpeg;base64,") == 29
    assert sheet.count("cannot be drawn: no such image file") == 1
    assert nasty not in sheet
    assert set(re.findall(r'src="(.{5})', sheet)) == {"data:"}

    assert main(["preview", str(out), "--count", "4", "--seed", "3"]) == 0
    written = (out / "preview.html").read_text()
    numbers = [int(number) for number in re.findall(r"example.org/x&gt; (\d+)", written)]
    assert numbers == chosen(30, 4, 3, "vqa_test.jsonl") == sorted(set(numbers))
    assert numbers != chosen(30, 4, 4, "vqa_test.jsonl")
    assert chosen(3, 4, 0, "vqa_test.jsonl") == [0, 1, 2]


def test_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(tmp_path)]) == 2
    assert main(["preview", str(tmp_path), "--count", "0"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_pictures_of_a_section_are_in_file_order(tmp_path: Path, folder: Folder) -> None:
    save_scene(folder.images / "c.png", 1)
    records = [line(n, "c.png", "cap", "[CAP] What?", f"answer {n}") for n in range(5)]
    out = write_folder(tmp_path / "out", {"training/cap_train.jsonl": records}, folder.images)
    sheet = contact_sheet(Folder.read(out), count=5, seed=0)
    assert re.findall(r"answer (\d)", sheet) == list("01234")
