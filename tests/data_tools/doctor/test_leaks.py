"""One picture in training and evaluation: by path, by look, by known names; and what is no leak."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from handmade import MakeFolder, line, save_scene, scene

from data_tools.doctor.examination import examine
from data_tools.doctor.findings import Kind, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def records(*images: str) -> list[dict[str, Any]]:
    target = {"answer": "yes", "type": "presence"}
    return [line(n, image, "vqa", "[VQA] Is it?", "yes", target) for n, image in enumerate(images)]


def leaks(*outs: Path) -> set[tuple[str, Kind, str, Severity]]:
    return {(f.dataset, f.kind, f.place, f.severity) for f in examine(outs).findings.kept}


def test_within_a_dataset(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = tmp_path / "images"
    for number in range(6):
        save_scene(root / f"{number}.png", number)
    scene(4).resize((40, 30)).save(root / "copy_of_4.jpg", quality=70)
    out = make_folder(
        {
            "training/vqa_train.jsonl": records("0.png", "1.png", "2.png", "copy_of_4.jpg"),
            "training/vqa_val.jsonl": records("3.png"),
            "vqa_val.jsonl": records("3.png", "2.png"),
            "vqa_test.jsonl": records("4.png", "1.png", "5.png"),
        }
    )
    assert leaks(out) == {
        ("ours", Kind.SHARED_IMAGE, "1.png", ERROR),
        ("ours", Kind.SHARED_IMAGE, "2.png", WARNING),  # validation only
        ("ours", Kind.DUPLICATE_IMAGE, "copy_of_4.jpg", ERROR),
    }


def test_across_datasets_by_their_look(tmp_path: Path, make_folder: MakeFolder) -> None:
    save_scene(tmp_path / "one/a.png", 1)
    save_scene(tmp_path / "one/b.png", 2)
    save_scene(tmp_path / "two/c.png", 2)
    one = make_folder({"training/vqa_train.jsonl": records("a.png", "b.png")}, "one", tmp_path / "one")
    two = make_folder({"vqa_test.jsonl": records("c.png")}, "two", tmp_path / "two")
    assert leaks(one) == leaks(two) == set()
    assert leaks(one, two) == {("one", Kind.DUPLICATE_IMAGE, "b.png", ERROR)}
    asked = make_folder(
        {"training/vqa_train.jsonl": records("b.png")}, "one", tmp_path / "one", include_overlap=True
    )
    assert leaks(asked, two) == {("one", Kind.DUPLICATE_IMAGE, "b.png", WARNING)}


def test_across_datasets_by_known_names(tmp_path: Path, make_folder: MakeFolder) -> None:
    names = {
        "aid": ["airport_1.jpg", "beach_2.jpg"],
        "rsicd": ["airport_1.jpg", "beach_2.jpg", "00005.jpg"],
        "dior_rsvg": ["00007.jpg", "00005.jpg"],
        "vrsbench": ["00007_0001.png", "00008_0001.png", "P0003_0001.png", "P0003_0002.png"],
    }
    seed = 0
    for dataset, files in names.items():
        for file in files:
            seed += 1
            save_scene(tmp_path / dataset / file, seed)
    # The one AID image was resized, the other replaced: only its name says that it is one.
    (tmp_path / "rsicd/airport_1.jpg").unlink()
    shutil.copy(tmp_path / "aid/airport_1.jpg", tmp_path / "rsicd/airport_1.jpg")

    def folder(dataset: str, form: str, count: int | None = None) -> Path:
        return make_folder({form: records(*names[dataset][:count])}, dataset, tmp_path / dataset)

    outs = [
        folder("aid", "vqa_test.jsonl"),
        folder("rsicd", "training/vqa_train.jsonl"),
        folder("dior_rsvg", "vqa_test.jsonl"),
    ]
    vrsbench = make_folder(
        {
            "training/vqa_train.jsonl": records(*names["vrsbench"][:3]),
            "vqa_test.jsonl": records(names["vrsbench"][3]),
        },
        "vrsbench",
        tmp_path / "vrsbench",
    )
    assert leaks(*outs, vrsbench) == {
        ("rsicd", Kind.DUPLICATE_IMAGE, "airport_1.jpg", ERROR),
        ("rsicd", Kind.KNOWN_KIN, "beach_2.jpg", WARNING),
        ("vrsbench", Kind.KNOWN_KIN, "00007_0001.png", ERROR),
        ("vrsbench", Kind.KNOWN_KIN, "P0003_0001.png", WARNING),
    }
    details = {f.place: f.detail for f in examine([*outs, vrsbench]).findings.kept}
    assert "both are AID's airport_1" in details["airport_1.jpg"]
    assert "evaluated in test as 00007.jpg of dior_rsvg" in details["00007_0001.png"]


def test_plain_pictures_are_noted(tmp_path: Path, make_folder: MakeFolder) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        scene(0).point(lambda value: 7).save(tmp_path / "images" / name)
    out = make_folder({"training/vqa_train.jsonl": records("a.png"), "vqa_test.jsonl": records("b.png")})
    assert leaks(out) == {("ours", Kind.NOT_COMPARED, name, Severity.NOTE) for name in ("a.png", "b.png")}
