"""The command `rsunivlm trim`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rsunivlm.tasks import Granularity
from rsunivlm.trimming.checkpoint import Trimming, trim


def add_trim(commands: Any) -> None:
    """Add the command `trim`.

    Args:
        commands: Where argparse keeps the commands.
    """
    parser = commands.add_parser(
        "trim", help="write a smaller checkpoint: one expert, the experts' average, low-rank experts, int8"
    )
    parser.add_argument("model", help="checkpoint folder or hub id")
    parser.add_argument("out", help="folder to make")
    parser.add_argument(
        "--expert",
        choices=[level.name.lower() for level in Granularity],
        help="keep one expert: a dense model",
    )
    parser.add_argument("--average", action="store_true", help="merge the experts into a dense model")
    parser.add_argument("--shares", metavar="N,N,N", help="of the experts in the average (default: equal)")
    parser.add_argument(
        "--low-rank", type=int, metavar="R", help="make the experts changes of rank R of their average"
    )
    parser.add_argument("--int8", action="store_true", help="write int8 weights, for answering on a CPU")
    parser.add_argument("--json", action="store_true", help="print the sizes as JSON")
    parser.set_defaults(run=_trim)


def _trim(args: argparse.Namespace) -> int:
    from rsunivlm.inference.loading import quiet_libraries

    if args.shares and not args.average:
        raise ValueError("--shares is for --average")
    what = Trimming(
        expert=Granularity[args.expert.upper()] if args.expert else None,
        average=_shares(args.shares) if args.average else None,
        rank=args.low_rank,
        int8=args.int8,
    )
    what.check()  # before the libraries are loaded
    quiet_libraries()
    size = trim(args.model, args.out, what)
    if args.json:
        print(json.dumps(size.to_json()))
        return 0
    print(
        f"{args.out}: {size.bytes / 1e6:,.1f} MB, {size.stored:,} parameters, {size.active:,} for one token"
    )
    return 0


def _shares(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise ValueError(f"--shares takes numbers such as 1,1,2, not {text!r}") from error
