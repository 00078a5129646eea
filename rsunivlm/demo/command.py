"""The command `rsunivlm demo`: its options, and what it prints."""

from __future__ import annotations

import argparse

from rsunivlm.demo.limits import Limits

_LIMITS = (
    ("max_file_mb", float, "megabytes of an uploaded file"),
    ("max_seconds", float, "decoding time of an answer"),
    ("max_waiting", int, "questions that may wait"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rsunivlm demo`."""
    defaults = Limits()
    parser.add_argument("--model", help="checkpoint folder or hub id (default: the bundled nano checkpoint)")
    parser.add_argument("--device", help="torch device, e.g. cpu or cuda:0")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    for option, kind, text in _LIMITS:
        value = getattr(defaults, option)
        name = f"--{option.replace('_', '-')}"
        parser.add_argument(name, type=kind, default=value, help=f"{text} (default {value:g})")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl+C or SIGTERM; returns the exit code.

    Raises:
        ValueError: No such checkpoint, gradio is not installed, a bad limit, or the port is taken.
    """
    limits = Limits(**{option: getattr(args, option) for option, _, _ in _LIMITS})
    from rsunivlm.demo.launch import describe, serve, wait_for_signal
    from rsunivlm.inference.families import load_predictor
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries

    quiet_libraries()
    checkpoint = args.model or bundled_checkpoint()
    model = load_predictor(checkpoint, device=args.device)
    with serve(model, describe(model, checkpoint), limits, port=args.port) as address:
        print(f"demo on {address} (Ctrl+C ends it)", flush=True)
        wait_for_signal()
    return 0
