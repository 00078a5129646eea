"""COCO-Stuff: things and stuff of everyday photographs, every pixel of COCO 2017 in 182 classes.

The label images hold the numbers of the dataset's ``labels.txt`` less one, 255 where nobody annotated. The
paper has 200k questions from the 118,287 training pictures, about 1.7 each, far fewer than there are classes
in them. So one visible class is asked for in every picture, and a second one in seven of ten; which ones is
drawn by the picture's name. Validation pictures are asked in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.labelled_images import LabelledFiles, of_stem, pictures, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import draw, grid, legend, question
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="coco_stuff",
    title="COCO-Stuff",
    tasks=(Task.SS,),
    source="https://github.com/nightrome/cocostuff (label images), https://cocodataset.org (pictures)",
    licence="label images CC BY 4.0; pictures under the terms of Flickr",
    layout="[images/]{train,val}2017/*.jpg "
    "{stuffthingmaps_trainval2017,stuffthingmaps,annotations}/{train,val}2017/*.png",
    needs=(
        "train2017/*.jpg|images/train2017/*.jpg",
        "stuffthingmaps*/train2017/*.png|annotations/train2017/*.png",
    ),
    folders=("coco_stuff164k", "coco-stuff", "cocostuff", "coco_stuff", "coco", "COCO"),
    notes="One visible class per picture, a second one in seven of ten: about 1.7, the paper's 200k.",
)
_SPLITS = ("train", "val")
_PICTURES = ("{}2017", "images/{}2017")
_LABELS = ("stuffthingmaps_trainval2017/{}2017", "stuffthingmaps/{}2017", "annotations/{}2017")
# In tenths: how many pictures get a second question.
_SECOND = 7
# The published classes in the order of their numbers, which begin with 0 in the label images.
_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
    hydrant, street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
    elephant, bear, zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie,
    suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana,
    apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted
    plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote,
    keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch, bridge,
    building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
    clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
    floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit,
    furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
    mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic,
    platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea,
    shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
    tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel,
    wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
_UNLABELLED = 255
_MEANING = legend({**dict(enumerate(_NAMES.replace("\n", " ").split(","))), _UNLABELLED: "unlabeled"})


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have pictures and label images."""
    return tuple(split for split in _SPLITS if all(_folders(root, split)))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every picture of a split."""
    names = {folder: pictures(settings.root / folder) for folder in _folders(settings.root, split)}
    for stem in sorted(set().union(*names.values())):
        # MMSegmentation writes its own label images beside the published ones.
        if not stem.endswith("TrainIds"):
            yield of_stem(stem, split, names)


def samples(item: LabelledFiles, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one or two questions, about classes that are visible on the codec's grid."""
    for found in read_whole(item, _MEANING, settings, report, lost=2):
        present = sorted(found.present & _MEANING.asked.keys())
        grids = {value: grid(found, value, _MEANING, settings) for value in present}
        visible = [value for value in present if grids[value].any()]
        visible.sort(key=lambda value: draw(settings.seed, found.id, value))
        count = 2 if draw(settings.seed, found.id)[0] % 10 < _SECOND else 1
        for value in sorted(visible[:count]):
            yield question(Task.SS, found, value, grids[value], _MEANING, settings)


def _folders(root: Path, split: str) -> tuple[str, ...]:
    """The folders of the pictures and of the label images; "" where missing."""
    found = ([name.format(split) for name in names] for names in (_PICTURES, _LABELS))
    return tuple(next((name for name in names if (root / name).is_dir()), "") for names in found)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
