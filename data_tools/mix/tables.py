"""Tables 10 to 12 of the paper: which datasets make up the two stages.

Names, types and numbers are those printed (Liu and Lian 2024). Beside each stands the converter that makes
its records and, where a converter makes more than the row's type, the tasks that belong to the row.

What the paper leaves open is decided here:

* DIOR-RSVG and OPT-RSVG count train + val: only both together reach the printed 30k and 24k. No benchmark
  scores on val, and objects on test images are left out of both splits by their converter; `Row.val` marks
  them, so that a user can keep val for validation.
* VRSBench is its three published training tasks; region descriptions made from its boxes are not in 141k.
* RSITMD, RSICD and UCM are caption sets too; the tables list them for classification (SC) only.
* ``GeoChat*`` of Table 12 is its region descriptions: the row's type is REG, and nothing else in it is.
* ``RSVQA`` of Table 12 is a row for each of the two sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rsunivlm.tasks import Granularity, Task

# What the rest of the paper says about Tables 10 and 11.
TOTALS_NOTE = (
    "The paper prints both sums (Table 10: 985k, Table 11: 547k; together 1,532k) and elsewhere speaks of "
    '"1.2M" stage-1 samples; the rows are taken at their word.'
)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: its number.
        title: the dataset as printed.
        type: its type as printed.
        converter: which converter makes its records.
        samples: the printed count; 0 in Table 12, which has none.
        tasks: the converter's tasks that belong to the row; () for all.
        val: the val split belongs to the row.
        granularity: Table 12: the expert it trains.
    """

    table: int
    title: str
    type: str
    converter: str
    samples: int = 0
    tasks: tuple[Task, ...] = ()
    val: bool = False
    granularity: Granularity | None = None


REMOTE_SENSING = (
    Row(10, "GeoChat", "IF", "geochat_instruct", 216_000),
    Row(10, "VRSBench", "IF", "vrsbench", 141_000, (Task.CAP, Task.VG, Task.VQA)),
    Row(10, "FIT-RS", "IF", "fit_rs", 160_000),
    Row(10, "RSteller", "IC", "rsteller", 100_000, (Task.CAP,)),
    Row(10, "RSVQA-LR", "VQA", "rsvqa_lr", 57_000, (Task.VQA,)),
    Row(10, "RSVQA-HR", "VQA", "rsvqa_hr", 100_000, (Task.VQA,)),
    Row(10, "RSITMD", "SC", "rsitmd", 2_000, (Task.SC,)),
    Row(10, "RSICD", "SC", "rsicd", 1_000, (Task.SC,)),
    Row(10, "UCM", "SC", "ucm", 2_000, (Task.SC,)),
    Row(10, "NWPU", "SC", "nwpu_resisc45", 5_000, (Task.SC,)),
    Row(10, "fMoW", "SC", "fmow", 53_000, (Task.SC,)),
    Row(10, "DIOR-RSVG", "VG", "dior_rsvg", 30_000, (Task.VG,), val=True),
    Row(10, "OPT-RSVG", "VG", "opt_rsvg", 24_000, (Task.VG,), val=True),
    Row(10, "LEVIR-MCI", "CC & CD", "levir_mci", 40_000, (Task.CC, Task.CD)),
    Row(10, "Potsdam", "SS", "potsdam", 12_000, (Task.SS,)),
    Row(10, "UAVid", "SS", "uavid", 8_000, (Task.SS,)),
    Row(10, "LoveDA", "SS", "loveda", 8_000, (Task.SS,)),
    Row(10, "OpenEarthMap", "SS", "openearthmap", 14_000, (Task.SS,)),
    Row(10, "landcover", "SS", "landcover_ai", 12_000, (Task.SS,)),
)
GENERAL = (
    Row(11, "ShareGPT4V", "Captioning", "sharegpt4v", 100_000),
    Row(11, "AllSeeingV2", "Grounding VQA", "allseeing_v2", 200_000),
    Row(11, "DVQA", "Diagram VQA", "dvqa", 40_000),
    Row(11, "ChartQA", "Diagram VQA", "chartqa", 3_000),
    Row(11, "AI2D", "Diagram VQA", "ai2d", 2_000),
    Row(11, "DocVQA", "Document VQA", "docvqa", 2_000),
    Row(11, "COCO stuff", "Semantic Segmentation", "coco_stuff", 200_000, (Task.SS,)),
)


def _table12(granularity: Granularity, *rows: tuple[str, str, str, Task]) -> tuple[Row, ...]:
    stage1 = {row.converter: row for row in REMOTE_SENSING}
    return tuple(
        Row(12, title, kind, name, tasks=(task,), val=stage1[name].val, granularity=granularity)
        for title, kind, name, task in rows
    )


BY_GRANULARITY = (
    *_table12(
        Granularity.IMAGE,
        ("RSITMD", "SC", "rsitmd", Task.SC),
        ("RSICD", "SC", "rsicd", Task.SC),
        ("UCM", "SC", "ucm", Task.SC),
        ("NWPU", "SC", "nwpu_resisc45", Task.SC),
        ("fMoW", "SC", "fmow", Task.SC),
        ("RSVQA (LR)", "VQA", "rsvqa_lr", Task.VQA),
        ("RSVQA (HR)", "VQA", "rsvqa_hr", Task.VQA),
        ("VRSBench-Cap", "CAP", "vrsbench", Task.CAP),
        ("LEVIR-MCI", "CC", "levir_mci", Task.CC),
    ),
    *_table12(
        Granularity.REGION,
        ("DIOR-RSVG", "VG", "dior_rsvg", Task.VG),
        ("OPT-RSVG", "VG", "opt_rsvg", Task.VG),
        ("VRSBench-Ref", "VG", "vrsbench", Task.VG),
        ("GeoChat*", "REG", "geochat_instruct", Task.REG),
    ),
    *_table12(
        Granularity.PIXEL,
        ("Potsdam", "SS", "potsdam", Task.SS),
        ("UAVid", "SS", "uavid", Task.SS),
        ("LoveDA", "SS", "loveda", Task.SS),
        ("OpenEarthMap", "SS", "openearthmap", Task.SS),
        ("landcover", "SS", "landcover_ai", Task.SS),
        ("LEVIR-MCI", "CD", "levir_mci", Task.CD),
    ),
)

# Converters of the paper's evaluation sets, whose test images a mixture must not hold.
EVALUATION = (
    *("rsvqa_lr", "rsvqa_hr", "aid", "whu_rs19", "nwpu_resisc45", "siri_whu", "dior_rsvg", "vrsbench"),
    *("levir_mci", "whu_cd", "vaihingen", "udd5", "vdd"),
)

Stage = Literal["stage1", "stage2"]
STAGES: dict[Stage, tuple[Row, ...]] = {"stage1": REMOTE_SENSING + GENERAL, "stage2": BY_GRANULARITY}
