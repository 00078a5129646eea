"""Synthetic stand-ins for the paper's mixtures: the same sets in the same shares, as many samples an image.

How fast training can be depends on what samples look like: which task, how long, and how many are about the
same image. The first column below is the set's share (Tables 10 and 11; for stage 2 what `data_tools mix`
takes, 60,000 samples a granularity in equal parts). The second says what is asked about its images, one entry
an image, in turn, and comes from published counts:

    GeoChat     216,000 samples of DOTA, DIOR, FAIR1M and FloodNet tiles, of which its paper lists 109,000
    FIT-RS      160,000 samples of 1,415,000; its 32 GB of 512 px pictures are about 80,000
    VRSBench    142,390 samples of 20,264 images: a caption, 1.8 expressions, 4.2 questions
    RSVQA-LR    57,223 training questions of 572 images; stage 2 draws a sixth of them
    RSVQA-HR    about 100 questions an image (1,066,316 of 10,659); 100,000 of 625,340 are 16, stage 2 draws
                a tenth of these: 1.6 on the average image, 2 on those that are drawn at all
    DIOR-RSVG   30,820 expressions of 17,402 images; stage 2 draws half: 1.5 on those drawn
    OPT-RSVG    24,475 of 48,952 expressions of 25,452 images: 1.3 on those drawn
    LEVIR-MCI   five captions and a mask per pair; stage 2 draws 10,000 captions of 6,815 pairs
    masks       a question per class present: Potsdam 3.5, UAVid 5, LoveDA 3.2, OpenEarthMap 5, LandCover.ai
                1.6, COCO-Stuff 1.7 an image

One sample an image is taken where nothing is known (AllSeeing, GeoChat's region descriptions in stage 2),
which favours the plain way. Where a scene offers fewer questions than a set asks, they come again.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from dataclasses import replace
from pathlib import Path

from data_tools.__main__ import main as data_tools
from data_tools.mix.shares import in_proportion
from rsunivlm.data.records import Record, RecordFile, write_records

_VRSBENCH = ("cap vg vg vqa vqa vqa vqa",) * 4 + ("cap vg vqa vqa vqa vqa vqa",)
_POTSDAM = ("ss ss ss", "ss ss ss ss")
_LANDCOVER = ("ss", "ss ss", "ss ss", "ss", "ss ss")
_FIVE_CLASSES = ("ss ss ss ss ss",)
# Set -> (thousands of samples, what is asked about one image, about the next, ...).
MIXTURES: dict[int, dict[str, tuple[int, tuple[str, ...]]]] = {
    1: {
        "geochat": (216, ("vqa vg", "reg cap")),
        "vrsbench": (141, _VRSBENCH),
        "fit_rs": (160, ("vqa reg", "vg vqa")),
        "rsteller": (100, ("cap",)),
        "rsvqa_lr": (57, ("vqa " * 100,)),
        "rsvqa_hr": (100, ("vqa " * 16,)),
        "scenes": (63, ("sc",)),
        "dior_rsvg": (30, ("vg vg",) * 4 + ("vg",)),
        "opt_rsvg": (24, ("vg", "vg", "vg vg")),
        "levir_mci": (40, ("cc cc cc cc cc cd",)),
        "potsdam": (12, _POTSDAM),
        "uavid": (8, _FIVE_CLASSES),
        "loveda": (8, ("ss ss ss",)),
        "openearthmap": (14, _FIVE_CLASSES),
        "landcover": (12, _LANDCOVER),
        "sharegpt4v": (100, ("cap",)),
        "allseeing": (200, ("vg", "vqa")),
        "diagrams": (47, ("vqa",)),
        "coco_stuff": (200, ("ss ss", "ss ss", "ss")),
    },
    2: {
        "scenes": (20, ("sc",)),
        "rsvqa_lr": (10, ("vqa " * 17,)),
        "rsvqa_hr": (10, ("vqa vqa",)),
        "vrsbench_cap": (10, ("cap",)),
        "levir_cc": (10, ("cc cc", "cc cc", "cc cc", "cc")),
        "dior_rsvg": (15, ("vg", "vg vg")),
        "opt_rsvg": (15, ("vg", "vg", "vg vg")),
        "vrsbench_ref": (15, ("vg", "vg vg", "vg", "vg vg", "vg")),
        "geochat_reg": (15, ("reg",)),
        "potsdam": (12, _POTSDAM),
        "uavid": (8, _FIVE_CLASSES),
        "loveda": (8, ("ss ss ss",)),
        "openearthmap": (13, _FIVE_CLASSES),
        "landcover": (12, _LANDCOVER),
        "levir_cd": (7, ("cd",)),
    },
}


def make_images(folder: Path, samples: int, size: int, mask_grid: int) -> None:
    """Make enough synthetic scenes and pairs for a mixture of so many samples.

    Raises:
        RuntimeError: They cannot be made; the reason was printed.
    """
    scenes, pairs = samples, 20 + samples // 4  # no image twice; not every pair has changed
    command = f"synth --scenes {scenes} --pairs {pairs} --size {size} --seed 3 --turns 16"
    if data_tools([*command.split(), "--mask-grid", str(mask_grid), "--out", str(folder)]):
        raise RuntimeError("the synthetic data could not be made")


def write_mixture(stage: int, samples: int, images: Path, folder: Path) -> list[dict[str, str]]:
    """Write one record file per set of a stage, with so many samples in all.

    Args:
        stage: 1 or 2.
        samples: Of the whole mixture.
        images: What `make_images` made.
        folder: Of the record files.

    Returns:
        The datasets of the mixture, as `Mixture.load` takes them.
    """
    asked, pool = _questions(images)
    sets = MIXTURES[stage]
    counts = in_proportion(samples, [share for share, _ in sets.values()])
    entries = []
    for (name, (_, cycle)), count in zip(sets.items(), counts, strict=True):
        records: list[Record] = []
        for wanted in itertools.cycle(cycle):
            if len(records) >= count:
                break
            tasks = wanted.split()[: count - len(records)]
            image = next(image for image in pool if all(asked[image][task] for task in tasks))
            pool.remove(image)
            for number, task in enumerate(tasks):
                questions = asked[image][task]
                questions.rotate(-1)
                records.append(replace(questions[-1], id=f"{len(records)}-{task}{number}"))
        if records:
            write_records(folder / f"{name}.jsonl", records)
            entries.append({"name": name, "records": str(folder / f"{name}.jsonl"), "images": str(images)})
    return entries


def _questions(
    images: Path,
) -> tuple[dict[tuple[str, ...], dict[str, deque[Record]]], list[tuple[str, ...]]]:
    """Image or pair -> task -> records of one turn; and the images in order."""
    asked: dict[tuple[str, ...], dict[str, deque[Record]]] = defaultdict(lambda: defaultdict(deque))
    for task in ("vqa", "cap", "vg", "reg", "sc", "ss", "cc", "cd"):
        for record in RecordFile(images / f"training/{task}_train.jsonl"):
            for turn in record.turns:
                single = replace(record, turns=(turn,), targets=None)
                asked[record.images][task].append(single)
    return asked, list(asked)
