"""The command `rsunivlm convert`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `rsunivlm`."""
    convert = commands.add_parser("convert", help="make a checkpoint of ours from another layout")
    convert.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="SRC [SRC2] DST",
        help="checkpoint folder or weight file (or SigLIP and Qwen2), then the folder to make",
    )
    convert.add_argument(
        "--image-newline",
        action=argparse.BooleanOptionalAction,
        help="a learned vector behind each image (default: as the source has it)",
    )
    convert.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="default: as stored")
    convert.add_argument("--upcycle", action="store_true", help="make three equal experts of a dense model")
    convert.add_argument("--seed", type=int, default=0, help="of what begins fresh (default 0)")
    convert.add_argument("--max-shard-size", default="5GB", help="of a weight file (default 5GB)")
    convert.add_argument("--tokenizer", type=Path, help="its folder, where the source has none")
    convert.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    convert.add_argument("--json", action="store_true", help="print the report as JSON")
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    *sources, destination = args.paths
    if not 1 <= len(sources) <= 2:
        raise ValueError("give one source (or SigLIP and Qwen2) and the folder to make")
    from rsunivlm.inference.loading import quiet_libraries
    from rsunivlm.models.checkpoints.convert import Options, convert

    quiet_libraries()
    options = Options(
        image_newline=args.image_newline,
        dtype=args.dtype,
        upcycle=args.upcycle,
        seed=args.seed,
        max_shard_size=args.max_shard_size,
        tokenizer=args.tokenizer,
    )
    report = convert(sources, destination, options, dry_run=args.dry_run)
    if args.json:
        print(json.dumps(report.to_json()))
        return 0
    print("\n".join(report.lines()))
    print(f"{'nothing written (dry run):' if args.dry_run else 'wrote'} {destination}")
    return 0
