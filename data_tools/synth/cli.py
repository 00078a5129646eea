"""``python -m data_tools synth``: make a collection of synthetic scenes with exact labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from data_tools.synth.writer import SPLITS, Order, write_collection
from rsunivlm.codecs import BoxCodec, MaskCodec


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``synth``."""
    masks = MaskCodec()
    parser = subparsers.add_parser(
        "synth",
        help="make synthetic aerial scenes with exact labels for every task",
        description="Write pictures, masks and record files of procedural scenes and before/after pairs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to make; must be new or empty")
    add("--scenes", type=int, default=1000, help="single pictures")
    add("--pairs", type=int, default=300, help="before/after pairs")
    add("--size", type=int, default=160, help="side of a picture in pixels")
    add("--seed", type=int, default=0, help="number of the collection; splits never share a scene")
    add(
        "--split",
        choices=SPLITS,
        default="train",
        help="train: one file of many-turn records; eval: one per task",
    )
    add("--turns", type=int, default=4, help="most questions about one picture in a training record")
    add("--box-range", type=int, default=BoxCodec().range, help="boxes are written on 0..RANGE")
    add("--mask-grid", type=int, default=masks.grid, help="masks are written on GRID x GRID cells")
    add("--mask-dialect", choices=("rsunivlm", "text4seg"), default=masks.dialect, help="spelling of masks")
    add(
        "--encode-rule",
        choices=("nearest", "area", "majority"),
        default=masks.encode_rule,
        help="mask to grid",
    )
    add("--image-format", choices=("jpeg", "webp"), help="default: jpeg for train, webp for eval")
    add("--workers", type=int, default=1, help="processes; the files do not depend on it")
    add("--force", action="store_true", help="replace an older collection in --out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make the collection that the arguments ask for and print one JSON line about it.

    Raises:
        ValueError: the arguments make no sense or the folder may not be written.
    """
    order = Order(
        scenes=args.scenes,
        pairs=args.pairs,
        size=args.size,
        seed=args.seed,
        split=args.split,
        turns=args.turns,
        boxes=BoxCodec(range=args.box_range),
        masks=MaskCodec(grid=args.mask_grid, dialect=args.mask_dialect, encode_rule=args.encode_rule),
        image_format=args.image_format or ("jpeg" if args.split == "train" else "webp"),
    )
    made = write_collection(order, args.out, workers=args.workers, force=args.force)
    print(json.dumps({"out": str(args.out), "scenes": order.scenes, "pairs": order.pairs, "records": made}))
