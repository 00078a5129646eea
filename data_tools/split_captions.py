"""``python -m data_tools split-captions``: give caption records the targets of RS-MoE's experts.

Every record gets ``targets`` with ``theme``, ``objects`` and ``relations`` beside whatever it had: its
caption, split by `rsunivlm.captions`. The caption itself stays as it is: one file serves both stages.

A caption of one sentence is all theme. Sets such as RSICD have five such captions per image, and apart they
would leave two of three experts without a word. ``--join`` makes one record per image of them: the distinct
sentences of its captions (and of the references in ``targets``), in order, are one caption, and of a test set
the one reference.

What the split does to a file is measured and printed: words kept, and how often each part is empty.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_tools.files import write_whole
from rsunivlm.captions import PARTS, join_captions, sentences, split_at_random, split_caption
from rsunivlm.data.records import Record, Turn, read_records, write_records
from rsunivlm.tasks import Task

SUMMARY = "split.json"  # written last: who finds it finds the records too


@dataclass
class SplitCounts:
    """What a split did.

    Attributes:
        records: Records read.
        captions: Captions split: fewer than records where some were joined.
        words: Words of the captions, parted by blanks.
        kept: Those found in the parts.
        empty: Part -> captions without it.
        sentences: Part -> sentences in it.
        words_of: Part -> words in it.
    """

    records: int = 0
    captions: int = 0
    words: int = 0
    kept: int = 0
    empty: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    words_of: Counter[str] = field(default_factory=Counter)

    @property
    def coverage(self) -> float:
        """Share of the captions' words that the parts hold."""
        return self.kept / max(1, self.words)

    def add(self, caption: str, parts: dict[str, str]) -> None:
        """Count one caption; words as multisets, so that doubled ones cannot make up for lost ones."""
        told = Counter(caption.split())
        found = sum((Counter(parts[name].split()) for name in PARTS), Counter[str]())
        self.captions += 1
        self.words += told.total()
        self.kept += (told & found).total()
        for name in PARTS:
            self.empty[name] += not parts[name]
            self.sentences[name] += len(sentences(parts[name]))
            self.words_of[name] += len(parts[name].split())

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "records": self.records,
            "captions": self.captions,
            "words": self.words,
            "coverage": self.coverage,
            "parts": {
                name: {
                    "empty": self.empty[name],
                    "sentences": self.sentences[name],
                    "words": self.words_of[name],
                }
                for name in PARTS
            },
        }


def split_records(
    records: Iterable[Record], counts: SplitCounts, *, join: bool = False, random: int | None = None
) -> Iterator[Record]:
    """Yield records with the parts of their captions in ``targets``.

    Args:
        records: Captions, one per record.
        counts: Counts what is done.
        join: Make one record of all about the same images; it has the first one's id and prompt.
        random: Seed for dealing sentences out at random instead of by what they tell.

    Raises:
        ValueError: A record is no single caption, or its caption has no word; names it.
    """
    for record in _joined(records, counts) if join else _checked(records, counts):
        caption = record.turns[0].answer
        try:
            parts = split_caption(caption) if random is None else split_at_random(caption, record.id, random)
        except ValueError as error:
            raise ValueError(f"record {record.id}: {error}") from error
        counts.add(caption, parts)
        known = record.targets if isinstance(record.targets, dict) else {}
        yield replace(record, targets=known | parts)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to ``python -m data_tools``."""
    parser = commands.add_parser(
        "split-captions",
        help="split captions into theme, objects and relations",
        description="See data_tools/split_captions.py.",
    )
    add = parser.add_argument
    add("records", type=Path, help="record file of captions, e.g. data/rsicd/training/cap_train.jsonl")
    add("--out", type=Path, required=True, help=f"folder for a file of the same name and {SUMMARY}")
    add("--join", action="store_true", help="one record per image, of all its captions")
    add("--random", action="store_true", help="deal the sentences out at random (a control)")
    add("--seed", type=int, default=0, help="of --random (default: 0)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    out: Path = options.out / f"{options.records.stem}.jsonl"
    if out.resolve() == options.records.resolve():
        raise ValueError(f"--out {options.out} would overwrite {options.records}; name another folder")
    counts = SplitCounts()
    random = options.seed if options.random else None
    split = split_records(read_records(options.records), counts, join=options.join, random=random)
    write_records(out, split)
    settings = {"source": str(options.records), "join": options.join, "random": random}
    write_whole(options.out / SUMMARY, json.dumps(settings | counts.to_json(), indent=1) + "\n")
    _show(counts, out)


def _checked(records: Iterable[Record], counts: SplitCounts) -> Iterator[Record]:
    for record in records:
        if record.task is not Task.CAP or len(record.turns) != 1:
            raise ValueError(
                f"record {record.id}: {len(record.turns)} turn(s) of task {record.task}; "
                "split-captions takes records of one caption each"
            )
        counts.records += 1
        yield record


def _joined(records: Iterable[Record], counts: SplitCounts) -> Iterator[Record]:
    about: dict[tuple[str, ...], list[Record]] = {}
    for record in _checked(records, counts):
        about.setdefault(record.images, []).append(record)
    for first, *others in about.values():
        joined = join_captions([caption for record in (first, *others) for caption in _captions(record)])
        targets = first.targets
        if isinstance(targets, dict) and "references" in targets:
            targets = targets | {"references": [joined]}
        yield replace(first, turns=(Turn(first.turns[0].prompt, joined),), targets=targets)


def _captions(record: Record) -> list[str]:
    known = record.targets if isinstance(record.targets, dict) else {}
    return [record.turns[0].answer, *known.get("references", [])]


def _show(counts: SplitCounts, out: Path) -> None:
    console = Console()
    table = Table("part", "captions without it", "sentences", "words", title=f"{counts.captions:,} captions")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in PARTS:
        share = counts.empty[name] / max(1, counts.captions)
        table.add_row(
            name,
            f"{counts.empty[name]:,} ({share:.1%})",
            f"{counts.sentences[name]:,}",
            f"{counts.words_of[name]:,}",
        )
    console.print(table)
    console.print(f"of {counts.records:,} records; words kept: {counts.coverage:.2%} of {counts.words:,}")
    console.print(f"written: {out}", soft_wrap=True)
