"""The command `rsunivlm export`: its options, and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `rsunivlm`."""
    export = commands.add_parser("export", help="make dense models that stock code serves, one per expert")
    export.add_argument("model", type=Path, help="checkpoint folder")
    export.add_argument("destination", metavar="DST", type=Path, help="folder to make")
    export.add_argument(
        "--granularity",
        default="all",
        help="image, region or pixel; or all, each in a folder of its name (the default)",
    )
    export.add_argument(
        "--format",
        default="llava-hf",
        help="llava-hf (stock LLaVA for transformers and vLLM, the default), safetensors (a dense model of "
        "our own classes), qwen2 (the language model alone) or gguf (llama.cpp)",
    )
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from rsunivlm.inference.loading import quiet_libraries
    from rsunivlm.models.checkpoints.export import export_checkpoint

    quiet_libraries()
    folders = export_checkpoint(
        args.model, args.destination, granularity=args.granularity, format=args.format
    )
    for folder in folders:
        print("wrote", folder)
    return 0
