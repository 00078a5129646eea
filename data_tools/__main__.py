"""Command line: ``python -m data_tools {list,convert,doctor,...}``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_tools import export, listing, preview, split_captions, tokenizer
from data_tools.conversion import convert
from data_tools.converter import Manifest, Settings
from data_tools.doctor import cli as doctor
from data_tools.mix import cli as mix
from data_tools.registry import converters
from data_tools.report import ConversionReport
from data_tools.synth import cli as synth
from rsunivlm.codecs import BoxCodec, MaskCodec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for the user's mistakes)."""
    parser = argparse.ArgumentParser(prog="python -m data_tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing.add_parser(commands)
    _add_convert(commands)
    doctor.add_parser(commands)
    preview.add_parser(commands)
    mix.add_parser(commands)
    split_captions.add_parser(commands)
    export.add_parser(commands)
    synth.add_parser(commands)
    tokenizer.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "convert",
        help="turn a downloaded dataset into record files",
        description="See data_tools/conversion.py.",
    )
    masks = MaskCodec()
    add = parser.add_argument
    add("name", choices=tuple(converters()), help="which dataset")
    add("--root", type=Path, required=True, help="the dataset's folder, as downloaded and unpacked")
    add("--out", type=Path, required=True, help="folder of the record files")
    add("--source", default="", help="name that the records carry (default: NAME)")
    add("--split", action="append", default=[], help="convert only this split (may be repeated)")
    add("--limit", type=_at_least(1), help="at most so many samples per task and split")
    add("--seed", type=int, default=0, help="of the choice of prompt templates and absent classes")
    add("--turns", type=_at_least(1), default=1, help="questions about one image per training record")
    add("--box-range", type=_at_least(1), default=BoxCodec().range, help="boxes are written on 0..RANGE")
    add("--mask-grid", type=_at_least(1), default=masks.grid, help="masks are written on GRID x GRID cells")
    add("--mask-dialect", choices=("rsunivlm", "text4seg"), default=masks.dialect)
    add("--encode-rule", choices=("nearest", "area", "majority"), default=masks.encode_rule)
    add("--workers", type=_at_least(1), default=1, help="processes that convert (default: 1)")
    add("--fresh", action="store_true", help="forget what an interrupted conversion left")
    add(
        "--crop",
        type=_at_least(0),
        default=0,
        help="rasters: side of the crops (default: the dataset's)",
    )
    add("--layout", default="", help="which of several published layouts this is (default: see for itself)")
    add("--max-bad", type=_share, default=0.01, help="stop when more than this share of the samples is bad")
    add("--include-overlap", action="store_true", help="train on images of other benchmarks' test sets too")
    add(
        "--absent-labels",
        type=_at_least(0),
        default=0,
        help="segmentation: absent classes to ask for per image",
    )
    add("--classes", type=_classes, help="mask folders: pixel values and names, as 0=background,255=road")
    parser.set_defaults(run=_convert)


def _at_least(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {minimum}")
        return int(text)

    return parse


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return share


def _classes(text: str) -> dict[int, str]:
    try:
        return {int(value): name for value, name in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0=background,255=road") from error


def _convert(options: argparse.Namespace) -> None:
    converter = converters()[options.name]
    settings = Settings(
        root=options.root,
        out=options.out,
        source=options.source,
        boxes=BoxCodec(range=options.box_range),
        masks=MaskCodec(options.mask_grid, options.mask_dialect, options.encode_rule),
        seed=options.seed,
        absent_labels=options.absent_labels,
        include_overlap=options.include_overlap,
        classes=options.classes,
        crop=options.crop,
        layout=options.layout,
    )
    _check_options(converter.manifest, settings)
    conversion = convert(
        converter,
        settings,
        options.out,
        splits=options.split,
        limit=options.limit,
        turns=options.turns,
        max_bad=options.max_bad,
        workers=options.workers,
        fresh=options.fresh,
    )
    _show(conversion.report, conversion.records, options.out)


def _check_options(manifest: Manifest, settings: Settings) -> None:
    plain = Settings(settings.root)
    for name in ("absent_labels", "include_overlap", "classes", "crop", "layout"):
        if getattr(settings, name) != getattr(plain, name) and name not in manifest.options:
            raise ValueError(f"--{name.replace('_', '-')} does not apply to {manifest.name}; leave it out")


def _show(report: ConversionReport, records: dict[str, int], out: Path) -> None:
    console = Console()
    table = Table("file", "records", title=f"{report.dataset} -> {out}")
    table.columns[1].justify = "right"
    for name, count in records.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    for reason, count in report.left_out.items():
        console.print(f"left out: {count:,} samples, {reason}")
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    if report.bad:
        console.print(f"skipped: {report.bad_samples:,} bad samples ({report.bad_share:.2%})")
        console.print(report.named_problems(), markup=False)


if __name__ == "__main__":
    sys.exit(main())
