"""The `rsunivlm` command: ask questions, look at a model's sizes.

Bad input ends with one line that begins with ``error:`` and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rsunivlm import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rsunivlm", description="Ask questions about aerial and satellite images."
    )
    parser.add_argument("--version", action="version", version=f"rsunivlm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ask = commands.add_parser("ask", help="ask one question about an image or a pair")
    ask.add_argument(
        "inputs", nargs="+", metavar="IMAGE [IMAGE2] PROMPT", help="one or two images, then the prompt"
    )
    ask.add_argument("--model", help="checkpoint folder or hub id (default: the bundled nano checkpoint)")
    ask.add_argument("--task", help="override the router: sc, vqa, cap, vg, reg, ss, cc, cd or a task token")
    ask.add_argument("--labels", help="comma-separated classes that a mask may hold")
    ask.add_argument("--out", type=Path, help="write a picture with the answer drawn on it")
    ask.add_argument("--json", action="store_true", help="print the answer as JSON")
    ask.add_argument("--max-new-tokens", type=int, help="limit of the answer's length")
    ask.add_argument("--device", help="torch device, e.g. cpu or cuda:0")
    ask.set_defaults(run=_ask)

    info = commands.add_parser("info", help="print stored, active and trainable parameters of a model")
    info.add_argument("model", help="checkpoint folder, hub id, or the preset 'rsunivlm' (published size)")
    info.add_argument("--json", action="store_true", help="print the counts as JSON")
    info.set_defaults(run=_info)
    return parser


def _ask(args: argparse.Namespace) -> int:
    *images, prompt = args.inputs
    if not images:
        raise ValueError('give an image and a prompt: rsunivlm ask IMAGE [IMAGE2] "PROMPT"')
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"the folder of --out does not exist: {args.out.parent}")
    from rsunivlm.images import open_image

    pictures = [open_image(image) for image in images]  # before the model is loaded: bad input fails at once
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries
    from rsunivlm.inference.predictor import RSUniVLM

    quiet_libraries()
    model = RSUniVLM.from_pretrained(args.model or bundled_checkpoint(), device=args.device)
    labels = [label.strip() for label in args.labels.split(",")] if args.labels else None
    answer = model.ask(pictures, prompt, task=args.task, labels=labels, max_new_tokens=args.max_new_tokens)
    if args.out is not None:
        from rsunivlm.inference.draw import render_answer

        render_answer(pictures, prompt, answer).save(args.out)
    result = answer.to_json()
    if args.json:
        print(json.dumps(result))
        return 0
    print(answer.text)
    if answer.boxes_px is not None:
        print("boxes in pixels (x1, y1, x2, y2):", result["boxes_px"])
    if answer.mask is not None:
        print("share of the image:", result["mask_share"])
    print(
        f"[task {result['task']}, {result['granularity']} expert, route by {answer.route.source}]",
        file=sys.stderr,
    )
    return 0


def _info(args: argparse.Namespace) -> int:
    from rsunivlm.inference.loading import quiet_libraries
    from rsunivlm.models.counts import count_parameters, load_config

    quiet_libraries()
    counts = count_parameters(load_config(args.model))
    if args.json:
        print(json.dumps(counts.to_json()))
        return 0
    for name, value in counts.rows():
        print(f"{name:<44}{value:>16,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
