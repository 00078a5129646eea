"""``python -m data_tools preview``: a contact sheet of records, drawn from the text that a model learns.

What is drawn solid comes from the *text*, decoded with the conversion's codecs: boxes from the answer (or,
for region descriptions, the prompt), masks from the answer's grid. What is drawn thin and green is the truth
in the targets. So a shifted box, a mask of another image or swapped axes are seen at once.

The page stands alone. Which records are shown depends on the seed and their line numbers only.
"""

from __future__ import annotations

import argparse
import heapq
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.converted import ConvertedFile
from data_tools.doctor.folder import Folder
from data_tools.files import write_whole
from data_tools.label_values import IGNORED, read_codes, truth_of, value_code
from data_tools.pages import page, picture, text
from rsunivlm.data.records import Record, RecordFile, Target, Turn, resolve_image
from rsunivlm.drawing import (
    PALETTE,
    blend_mask,
    dash_boxes,
    draw_boxes,
    fit_side,
    outline_mask,
    side_by_side,
)
from rsunivlm.images import open_image
from rsunivlm.tasks import Task

TRUTH = "#00E640"
SIDE = 320  # longer side of a shown picture in pixels
_GAP = 4
_STYLE = f"""
.cards {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }}
.card {{ border: 1px solid #8886; border-radius: .4rem; padding: .5rem; max-width: 44rem; min-width: 20rem; }}
.card img {{ max-width: 100%; height: auto; display: block; margin-bottom: .3rem; }}
.card p {{ margin: .2rem 0; overflow-wrap: anywhere; max-width: 40rem; }}
.truth {{ color: {TRUTH}; }} .wrong {{ color: #c62828; }}
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``preview``."""
    parser = subparsers.add_parser(
        "preview",
        help="make a contact sheet of a converted dataset, drawn from the text targets",
        description="Solid: what the text says. Thin and green: the truth.",
    )
    add = parser.add_argument
    add("out", type=Path, help="folder that `convert` wrote")
    add("--count", type=int, default=12, help="records per record file")
    add("--seed", type=int, default=0, help="of the choice")
    add("--html", type=Path, help="the page to write (default: OUT/preview.html)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the contact sheet.

    Raises:
        ValueError: the folder was not written by `convert`, or --count is not positive.
    """
    if options.count < 1:
        raise ValueError("--count must be at least 1")
    goal = options.html or options.out / "preview.html"
    write_whole(goal, contact_sheet(Folder.read(options.out), options.count, options.seed))


def contact_sheet(folder: Folder, count: int, seed: int) -> str:
    """The page with `count` records of every record file.

    Raises:
        ValueError: a record file is missing or holds an invalid record.
    """
    legend = (
        "<p>Solid boxes and tints are read from the <b>text</b>; thin green lines are the "
        '<b class="truth">truth</b> in the targets.</p>'
    )
    sections = [_section(folder, file, count, seed) for file in folder.files]
    return page(f"{folder.dataset}: records", legend + "\n".join(sections), _STYLE)


def _section(folder: Folder, file: ConvertedFile, count: int, seed: int) -> str:
    records = RecordFile(file.path)
    numbers = chosen(len(records), count, seed, file.name)
    cards = "\n".join(_card(folder, records[number]) for number in numbers)
    return f'<h2>{text(file.name)} ({len(records):,} records)</h2>\n<div class="cards">\n{cards}\n</div>'


def chosen(total: int, count: int, seed: int, name: str) -> list[int]:
    """Numbers of `count` of `total` records of a file, in file order; a function of seed and name alone."""

    def lot(number: int) -> int:
        return zlib.crc32(f"{seed}/{name}/{number}".encode())

    return sorted(heapq.nsmallest(count, range(total), key=lot))


def _card(folder: Folder, record: Record) -> str:
    turns = "".join(_turn(record.task, turn, number) for number, turn in enumerate(record.turns))
    try:
        shown = picture(draw(folder, record), f"record {record.id}")
    except ValueError as error:  # the sheet shows what is wrong; naming it all is the doctor's work
        shown = f'<p class="wrong">cannot be drawn: {text(error)}</p>'
    heading = f'<p class="faint">{text(record.id)} ({", ".join(map(text, record.images))})</p>'
    return f'<div class="card">{shown}{turns}{heading}</div>'


def _turn(task: Task, turn: Turn, number: int) -> str:
    colour = f' style="color: {PALETTE[number % len(PALETTE)]}"' if task in (Task.VG, Task.REG) else ""
    answer = text(turn.answer)
    if task.answer_kind == "mask":
        summary = f"<summary>mask of {len(turn.answer)} letters</summary>"
        answer = f'<details>{summary}<div class="text">{answer}</div></details>'
    return f"<p><b{colour}>&#9632;</b> {text(turn.prompt)}</p><p>&rarr; {answer}</p>"


def draw(folder: Folder, record: Record) -> Image.Image:
    """Draw one record: its image or pair, with what its text says and the truth.

    Boxes of all turns come on one picture, in a colour per turn; masks on a picture each.

    Raises:
        ValueError: an image or mask cannot be read, or the targets are incomplete.
    """
    pictures = [open_image(resolve_image(folder.images, image)) for image in record.images]
    *before, last = pictures
    targets = record.targets if isinstance(record.targets, list) else [record.targets]
    if record.task in (Task.VG, Task.REG):
        drawn = [_with_boxes(folder, record, targets, last)]
    elif record.task in (Task.SS, Task.CD):
        drawn = [
            _with_mask(folder, turn, target, last) for turn, target in zip(record.turns, targets, strict=True)
        ]
    else:
        drawn = [fit_side(last, SIDE)[0]]
    return side_by_side([*(fit_side(image, SIDE)[0] for image in before), *drawn], _GAP)


def _with_boxes(
    folder: Folder, record: Record, targets: Sequence[Target | None], image: Image.Image
) -> Image.Image:
    shown, scale = fit_side(image, SIDE)
    for number, turn in enumerate(record.turns):
        said = turn.answer if record.task is Task.VG else turn.prompt
        boxes_px, _ = folder.boxes.decode(said, image.size)
        draw_boxes(shown, boxes_px, PALETTE[number % len(PALETTE)], scale=scale)
    # One of several answers in training form has no targets; the evaluation form has them.
    for target in filter(None, targets):
        truth_px = _of(target, "boxes_px") if record.task is Task.VG else [_of(target, "box_px")]
        dash_boxes(shown, truth_px, TRUTH, scale=scale)
    return shown


def _with_mask(folder: Folder, turn: Turn, target: Target | None, image: Image.Image) -> Image.Image:
    shown, _ = fit_side(image, SIDE)
    said_HW, _ = folder.masks.decode(turn.answer, _of(target, "labels"), image.size)
    value = _of(target, "value")
    path = resolve_image(folder.images, _of(target, "mask"))
    codes_HW = read_codes(path, coloured=isinstance(value, list))
    ignored = [value_code(entry) for entry in (target or {}).get("ignore", [])]
    truth_HW = truth_of(codes_HW, value_code(value), ignored)
    return outline_mask(blend_mask(shown, said_HW), np.where(truth_HW == IGNORED, 0, truth_HW), TRUTH)


def _of(target: Target | None, name: str) -> Any:
    if target is None or name not in target:
        raise ValueError(f"its targets have no {name!r}")
    return target[name]
