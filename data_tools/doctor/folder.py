"""A folder that ``convert`` wrote, as its ``conversion.json`` describes it.

Unlike `data_tools.converted.read_converted`, this takes a folder whose record files are missing: saying so is
the doctor's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.converted import SUMMARY, ConvertedFile, converted_file
from data_tools.files import read_json
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import check_relative


@dataclass(frozen=True)
class Folder:
    """A converted dataset.

    Attributes:
        out: the folder itself.
        dataset: name that the records carry.
        converter: name of the converter.
        images: the image root.
        files: its record files, with the number of records that were written.
        boxes: codec of its boxes.
        masks: codec of its masks.
        limited: only a part was converted (--limit).
        include_overlap: overlap with other benchmarks was asked for (--include-overlap).
        samples: samples by split and task.
        skipped: bad and left-out samples, in words; "" for none.
    """

    out: Path
    dataset: str
    converter: str
    images: Path
    files: tuple[ConvertedFile, ...]
    boxes: BoxCodec
    masks: MaskCodec
    limited: bool
    include_overlap: bool
    samples: Mapping[str, Mapping[str, int]]
    skipped: str

    @classmethod
    def read(cls, out: Path) -> Folder:
        """Read a folder's ``conversion.json``.

        Raises:
            ValueError: it is missing or not of `convert`'s making, or the images are not where it says.
        """
        path = out / SUMMARY
        if not path.is_file():
            raise ValueError(f"{out} has no {SUMMARY}: name a folder that `data_tools convert` wrote")
        content = read_json(path)
        try:
            options = content["options"]
            folder = cls(
                out=out,
                dataset=str(content["dataset"]),
                converter=str(content["converter"]),
                images=Path(content["images"]),
                files=tuple(
                    converted_file(out, check_relative(name, str(path)), count)
                    for name, count in content["records"].items()
                ),
                boxes=BoxCodec.from_dict(options["box_codec"]),
                masks=MaskCodec.from_dict(options["mask_codec"]),
                limited=options["limit"] is not None,
                include_overlap=bool(options["include_overlap"]),
                samples=content["samples"],
                skipped=_skipped(content),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} was not written by this version of convert ({error!r})") from error
        if not folder.images.is_dir():
            raise ValueError(
                f"{path}: its image root {folder.images} is not there; bring it back or convert again"
            )
        return folder


def _skipped(content: Mapping[str, Any]) -> str:
    parts = [f"{content['bad_samples']} bad"] if content["bad_samples"] else []
    parts += [f"{count} left out: {reason}" for reason, count in content["left_out"].items()]
    return "; ".join(parts)
