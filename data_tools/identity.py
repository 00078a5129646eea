"""Which picture an image really is: collections that went into several datasets, told by their file names.

RSICD holds AID's images, VRSBench is cut from DIOR's and DOTA's, RSICap from DOTA's, UCM-captions renumbers
UC Merced. A model trained on the one has seen the other's test images. `origin` names the picture behind a
file, so that two datasets that share one agree on it: the doctor reports such leaks, the mixtures leave them
out.

The rules read names only, and err on the side of caution: where it is not known whether a dataset kept the
numbers of the collection it drew on (OPT-RSVG, GeoChat), equal numbers count as the same picture, so a few
innocent images may be left out of a mixture but no test image gets in. The doctor looks at the pixels as well
(`data_tools.perceptual`) and so finds copies under any name.

RSTeller, FIT-RS (STAR), fMoW and the general datasets share no collection with a benchmark here, and the
names of RSVQA, LEVIR and the segmentation sets say nothing about their origin: they have no rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

Origin = tuple[str, str]

AID, DIOR, DOTA, NWPU, UCM = "AID", "DIOR", "DOTA", "NWPU-RESISC45", "UC Merced"

# Datasets whose images are patches of the collections' pictures: an equal origin means that some ground is
# shared, and the pixels need not agree.
PATCHES = frozenset({"vrsbench", "geochat_instruct", "rsicap"})

_AID_CLASSES = frozenset(
    [
        "airport",
        "bareland",
        "baseballfield",
        "beach",
        "bridge",
        "center",
        "church",
        "commercial",
        "denseresidential",
        "desert",
        "farmland",
        "forest",
        "industrial",
        "meadow",
        "mediumresidential",
        "mountain",
        "park",
        "parking",
        "playground",
        "pond",
        "port",
        "railwaystation",
        "resort",
        "river",
        "school",
        "sparseresidential",
        "square",
        "stadium",
        "storagetanks",
        "viaduct",
    ]
)
_UCM_CLASSES = [
    "agricultural",
    "airplane",
    "baseballdiamond",
    "beach",
    "buildings",
    "chaparral",
    "denseresidential",
    "forest",
    "freeway",
    "golfcourse",
    "harbor",
    "intersection",
    "mediumresidential",
    "mobilehomepark",
    "overpass",
    "parkinglot",
    "river",
    "runway",
    "sparseresidential",
    "storagetanks",
    "tenniscourt",
]
_CLASS_NUMBER = re.compile(r"([a-z]+)_(\d+)")
_DIOR_NAME = re.compile(r"(\d{5})")
_DIOR_PATCH = re.compile(r"(\d{5})_\d{4}")
_DOTA_PATCH = re.compile(r"(P\d{4})(?:_.+)?")
_NWPU_NAME = re.compile(r"[a-z]+(?:_[a-z]+)*_\d{3}")
_UCM_NAME = re.compile(r"([a-z]+)(\d{2})")
_NUMBER = re.compile(r"\d+")


def origin(dataset: str, image: str) -> Origin | None:
    """Name the picture that an image file shows, where its name tells.

    Args:
        dataset: the records' ``source``: the converter's name. Data converted under another ``--source`` is
            a user's own and has no known origin, whatever its files are called.
        image: path of the image in the records; only the file name is read.

    Returns:
        Collection and stem of the picture in that collection, equal for equal pictures in whatever dataset,
        or None where the name tells nothing. A patch has the origin of the whole picture.
    """
    rule = _RULES.get(dataset)
    return None if rule is None else rule(PurePosixPath(image).stem)


def _aid(stem: str) -> Origin | None:
    # RSICD and RSITMD took AID's class prefixes; RSITMD's three further classes and RSICD's bare numbers are
    # images of their own.
    match = _CLASS_NUMBER.fullmatch(stem.lower())
    return (AID, f"{match[1]}_{int(match[2])}") if match and match[1] in _AID_CLASSES else None


def _dior(stem: str) -> Origin | None:
    match = _DIOR_NAME.fullmatch(stem)
    return (DIOR, match[1]) if match else None


def _dota(stem: str) -> Origin | None:
    match = _DOTA_PATCH.fullmatch(stem)
    return (DOTA, match[1]) if match else None


def _dior_and_dota(stem: str) -> Origin | None:
    match = _DIOR_PATCH.fullmatch(stem)
    return (DIOR, match[1]) if match else _dota(stem)


def _nwpu(stem: str) -> Origin | None:
    return (NWPU, stem.lower()) if _NWPU_NAME.fullmatch(stem.lower()) else None


def _ucm(stem: str) -> Origin | None:
    match = _UCM_NAME.fullmatch(stem.lower())
    if match and match[1] in _UCM_CLASSES:
        return UCM, stem.lower()
    # UCM-captions counts the 21 x 100 images from 1 to 2100, class by class in alphabetical order.
    if _NUMBER.fullmatch(stem) and 1 <= int(stem) <= 100 * len(_UCM_CLASSES):
        kind, number = divmod(int(stem) - 1, 100)
        return UCM, f"{_UCM_CLASSES[kind]}{number:02}"
    return None


def _geochat(stem: str) -> Origin | None:
    return _dior_and_dota(stem) or _dior(stem) or _nwpu(stem)


_RULES: dict[str, Callable[[str], Origin | None]] = {
    "aid": _aid,
    "rsicd": _aid,
    "rsitmd": _aid,
    "dior_rsvg": _dior,
    "opt_rsvg": _dior,
    "rsicap": _dota,
    "vrsbench": _dior_and_dota,
    "geochat_instruct": _geochat,
    "nwpu_resisc45": _nwpu,
    "ucm": _ucm,
}
