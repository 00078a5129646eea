"""A sound collection is called sound; of thirty planted faults (ten kinds, three each) all are named.

Once on pictures of our own, once on a copy of the real sample where it is present.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures import save_json, save_text, save_values
from fixtures.rsvg import rsvg_xml
from handmade import save_scene

from data_tools.conversion import convert
from data_tools.converter import Settings
from data_tools.doctor.examination import Examination, examine
from data_tools.doctor.findings import Kind
from data_tools.registry import converters
from rsunivlm.codecs import MaskCodec

sys.path.insert(0, str(Path(__file__).resolve().parent))

from planting import FAULTS, Dataset, Place, World, files_of

# Numbers of the images; no two share a picture.
SPLITS = {"train": range(14), "test": range(14, 18)}
# Limits of samples per task and split that leave enough images of each part for all faults.
SAMPLE_PARTS = {
    "boxes": ("dior_rsvg", "vhr10_rsvg", 70),
    "masks": ("index_masks", "dubai", 80),
    "pairs": ("levir_mci", "levir_mci", 40),
}


def make_boxes(root: Path) -> None:
    """Every image has one object, so that the split files number images."""
    for split, numbers in SPLITS.items():
        save_text(root / f"{split}.txt", "".join(f"{number}\n" for number in numbers))
        for number in numbers:
            x, y = 2 + number, 1 + number % 13
            xml = rsvg_xml(f"{number:05}.jpg", (64, 48), [((x, y, x + 21, y + 17), f"thing {number}")])
            save_text(root / f"Annotations/{number:05}.xml", xml)
            save_scene(root / f"JPEGImages/{number:05}.jpg", 1000 + number)


def make_masks(root: Path) -> None:
    """A building of varying width, a road, and a corner that is not annotated."""
    save_json(root / "classes.json", {"0": "unlabeled", "1": "building", "2": "road", "3": "background"})
    for split, numbers in SPLITS.items():
        save_text(root / f"{split}.txt", "".join(f"t{number}\n" for number in numbers))
        for number in numbers:
            values = np.full((48, 64), 3, np.uint8)
            values[8:40, 4 : 20 + number], values[:, 50:], values[40:, :10] = 1, 2, 0
            save_values(root / f"masks/t{number}.png", values)
            save_scene(root / f"images/t{number}.jpg", 2000 + number)


def make_pairs(root: Path) -> None:
    """A building appears."""
    entries = []
    for split, numbers in SPLITS.items():
        for number in numbers:
            name = f"{split}_{number:06}.png"
            values = np.zeros((48, 64), np.uint8)
            values[10:30, 10 : 30 + number] = 255
            save_values(root / f"images/{split}/label/{name}", values)
            save_scene(root / f"images/{split}/A/{name}", 3000 + number)
            save_scene(root / f"images/{split}/B/{name}", 4000 + number)
            entry = {"filepath": split, "filename": name, "split": split, "changeflag": 1}
            entries.append(entry | {"sentences": [{"raw": " a building appears ."}]})
    save_json(root / "LevirCCcaptions.json", {"images": entries})


def our_world(folder: Path) -> World:
    """Three converted datasets of our own pictures."""
    made = {}
    for kind, make, name in (
        ("boxes", make_boxes, "dior_rsvg"),
        ("masks", make_masks, "index_masks"),
        ("pairs", make_pairs, "levir_mci"),
    ):
        root, out = folder / kind, folder / f"{kind}_out"
        make(root)
        convert(converters()[name], Settings(root, source=f"our_{kind}", masks=MaskCodec(8)), out)
        made[kind] = Dataset(f"our_{kind}", out, root)
    return World(**made)


def real_world(folder: Path, rs_sample: Callable[[str], Path]) -> World:
    """A part of the real sample, converted where it lies; then its images are copied to be spoilt."""
    made = {}
    for kind, (name, part, limit) in SAMPLE_PARTS.items():
        source, root, out = rs_sample(part), folder / kind, folder / f"{kind}_out"
        convert(converters()[name], Settings(source, source=f"real_{kind}"), out, limit=limit)
        summary = json.loads((out / "conversion.json").read_text())
        for file in summary["records"]:
            for text in (out / file).read_text().splitlines():
                for image in files_of(json.loads(text)):
                    (root / image).parent.mkdir(parents=True, exist_ok=True)
                    if not (root / image).exists():
                        shutil.copyfile(source / image, root / image)
        (out / "conversion.json").write_text(json.dumps(summary | {"images": str(root)}))
        made[kind] = Dataset(f"real_{kind}", out, root)
    return World(**made)


@pytest.fixture(params=["our own", "real sample"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Three sound datasets."""
    if request.param == "our own":
        return our_world(tmp_path)
    return real_world(tmp_path, request.getfixturevalue("rs_sample"))


def named(exam: Examination) -> Iterator[Place]:
    for finding in exam.findings.kept:
        # A mask that changed differs from the text of every class that is asked for in it.
        differs = finding.kind is Kind.MASK_DIFFERS
        place = finding.detail.partition(" differ from ")[2] if differs else finding.place
        yield finding.dataset, finding.kind, place


def test_all_planted_faults_are_found_and_nothing_else(world: World) -> None:
    assert list(named(examine(world.outs, deep=True))) == []
    planted = {fault.__name__: list(fault(world)) for fault in FAULTS}
    found = set(named(examine(world.outs, deep=True)))
    missed = {name: [place for place in places if place not in found] for name, places in planted.items()}
    assert missed == {name: [] for name in planted}
    assert found == {place for places in planted.values() for place in places}
    assert len(planted) == 10
