"""The `rsunivlm` command: ask about pictures and rasters, serve answers, look at sizes, plan training.

Bad input ends with one line that begins with ``error:`` and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsunivlm import __version__
from rsunivlm.card.command import add_arguments as add_card_arguments
from rsunivlm.convert_command import add_convert
from rsunivlm.demo.command import add_arguments as add_demo_arguments
from rsunivlm.export_command import add_export
from rsunivlm.geo.command import add_arguments as add_raster_arguments
from rsunivlm.serving.cli import add_serve
from rsunivlm.trimming.cli import add_trim

if TYPE_CHECKING:
    from rsunivlm.models.counts import ParameterCounts, SystemCounts
    from rsunivlm.models.rs_moe.counts import RSMoECounts
    from rsunivlm.training.adaptations import Adaptation


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
    ask.add_argument("--choices", help="comma-separated answers that are allowed, e.g. yes,no")
    ask.add_argument("--free", action="store_true", help="do not hold boxes, masks and classes to a grammar")
    ask.add_argument("--soft", action="store_true", help="draw a mask's edges by the decoder's probabilities")
    ask.add_argument("--out", type=Path, help="write a picture with the answer drawn on it")
    ask.add_argument("--json", action="store_true", help="print the answer as JSON")
    ask.add_argument("--max-new-tokens", type=int, help="limit of the answer's length")
    ask.add_argument("--device", help="torch device, e.g. cpu or cuda:0")
    ask.add_argument("--int8", action="store_true", help="make the weights int8: smaller, faster on a CPU")
    ask.set_defaults(run=_ask)

    raster = commands.add_parser("raster", help="ask about every tile of a raster; georeferenced result")
    add_raster_arguments(raster)

    demo = commands.add_parser("demo", help="open a page for the browser on this machine")
    add_demo_arguments(demo)

    info = commands.add_parser("info", help="print stored, active and trainable parameters of a model")
    _add_model(info)
    _add_adaptation(info)
    info.add_argument("--json", action="store_true", help="print the counts as JSON")
    info.set_defaults(run=_info)

    plan = commands.add_parser("plan", help="compute the memory of a training run; nothing is allocated")
    _add_model(plan)
    plan.add_argument("--gpus", type=int, default=1, help="GPUs of the run (default 1)")
    plan.add_argument(
        "--memory", type=float, default=48, help="memory of a GPU in GB of 10^9 bytes (default 48)"
    )
    plan.add_argument("--stage", type=int, choices=(1, 2), help="default: both")
    plan.add_argument("--zero", type=int, help="ZeRO stage; 0 is without DeepSpeed (default: all)")
    plan.add_argument("--offload", action="store_true", help="optimizer states in host memory")
    plan.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    plan.add_argument("--pack-length", type=int, default=4096, help="tokens of a packed row (default 4096)")
    plan.add_argument(
        "--max-images", type=int, default=0, help="most images of a row (default: as many as fit)"
    )
    plan.add_argument("--gradient-checkpointing", action="store_true", help="recompute layers")
    _add_adaptation(plan)
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.set_defaults(run=_plan)

    add_serve(commands)
    add_convert(commands)
    add_export(commands)
    add_trim(commands)

    card = commands.add_parser("card", help="write the model card of a checkpoint folder from its files")
    add_card_arguments(card)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default="rsunivlm",
        help="checkpoint folder, hub id, or a preset: 'rsunivlm' (published size, the default); for info "
        "also 'rs_moe-7b', 'rs_moe-3b', 'rs_moe-1b', 'rs_moe-light'",
    )


def _add_adaptation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--adaptation", help="system that stage 2 trains, e.g. gmoe, lora, moe")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the system, as in adaptation_options; may be repeated",
    )


def _ask(args: argparse.Namespace) -> int:
    *images, prompt = args.inputs
    if not images:
        raise ValueError('give an image and a prompt: rsunivlm ask IMAGE [IMAGE2] "PROMPT"')
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"the folder of --out does not exist: {args.out.parent}")
    from rsunivlm.images import open_image

    pictures = [open_image(image) for image in images]  # before the model is loaded: bad input fails at once
    from rsunivlm.inference.families import load_predictor
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries
    from rsunivlm.inference.scheduler import Decoding

    quiet_libraries()
    model = load_predictor(args.model or bundled_checkpoint(), device=args.device, int8=args.int8)
    answer = model.ask(
        pictures,
        prompt,
        task=args.task,
        labels=_listed(args.labels),
        choices=_listed(args.choices),
        max_new_tokens=args.max_new_tokens,
        decoding=Decoding(constrain=not args.free, soft_masks=args.soft),
    )
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


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text else None


def _info(args: argparse.Namespace) -> int:
    from rsunivlm.inference.loading import quiet_libraries
    from rsunivlm.models.counts import count_any, load_any_config, load_config

    quiet_libraries()
    counts: ParameterCounts | SystemCounts | RSMoECounts
    printed = ""
    if args.adaptation is None and not args.option:
        counts = count_any(load_any_config(args.model))
    else:
        from rsunivlm.training.adaptations import count_adaptation

        adaptation = _adaptation(args)
        counts, printed = count_adaptation(load_config(args.model), adaptation), adaptation.printed
    if args.json:
        print(json.dumps(counts.to_json()))
        return 0
    for name, value in counts.rows():
        print(f"{name:<44}{value:>16,}")
    if printed:
        print(f"{'Table 8 prints, trained / run time':<44}{printed:>16}")
    return 0


def _plan(args: argparse.Namespace) -> int:
    from rsunivlm.inference.loading import quiet_libraries
    from rsunivlm.models.counts import load_config
    from rsunivlm.training.adaptations import make_adaptation, prepared_on_meta
    from rsunivlm.training.memory import Setup
    from rsunivlm.training.plan import plan_stage

    quiet_libraries()
    if args.memory <= 0:
        raise ValueError(f"--memory must be above 0, got {args.memory:g}")
    if args.stage == 1 and (args.adaptation or args.option):
        raise ValueError("--adaptation and --option are settings of stage 2; leave out --stage 1")
    setups = [
        Setup(
            gpus=args.gpus,
            zero=zero,
            offload=args.offload,
            precision=args.precision,
            pack_length=args.pack_length,
            max_images=args.max_images,
            checkpointing=args.gradient_checkpointing,
        )
        for zero in ([args.zero] if args.zero is not None else range(2 if args.offload else 0, 4))
    ]
    config = load_config(args.model)
    systems = {1: make_adaptation("full", {}), 2: _adaptation(args)}
    plans = [
        plan_stage(stage, systems[stage].name, prepared_on_meta(config, systems[stage]), setups, args.memory)
        for stage in ([args.stage] if args.stage else (1, 2))
    ]
    if args.json:
        print(json.dumps([plan.to_json() for plan in plans]))
    else:
        print("\n\n".join(plan.table() for plan in plans))
    return 0


def _adaptation(args: argparse.Namespace) -> Adaptation:
    from rsunivlm.training.adaptations import make_adaptation
    from rsunivlm.training.recipe import parse_overrides, read_value

    options = {key: read_value(key, text) for key, text in parse_overrides(args.option).items()}
    return make_adaptation(args.adaptation or "gmoe", options)


if __name__ == "__main__":
    sys.exit(main())
