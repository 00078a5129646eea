"""The published numbers: Tables 2 to 8 of the RSUniVLM paper, exactly as printed, with what is wrong in them.

Source: Liu and Lian, "RSUniVLM: A Unified Vision Language Model for Remote Sensing via Granularity-oriented
Mixture of Experts" (2024). Nothing is corrected: a cell keeps its digits as printed, and what does not fit is
said in a footnote. Where three baseline rows of Table 2 stand in another column order, the printed row stays
and the re-ordered one is put below it, since only that one can be compared column by column.

The paper prints per cent (CIDEr and the other caption scores times 100); our metrics are fractions. Which
rows belong beside a run is the business of `eval.beside`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

ABSENT = "-"


@dataclass(frozen=True)
class Note:
    """A footnote.

    Attributes:
        text: what a reader has to know.
        methods: rows it is about; none for the whole table.
        columns: columns it is about; none for whole rows.
    """

    text: str
    methods: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def concerns(self, method: str, column: str | None) -> bool:
        """Whether it belongs on a cell; on the name of the method where `column` is None."""
        whole_row = column is None
        return (not self.methods or method in self.methods) and (
            not self.columns if whole_row else column in self.columns
        )


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        number: its number.
        title: what it shows.
        columns: headings, without that of the methods.
        rows: per method, the cells as printed; "-" where the paper has none.
        notes: what is wrong with it or hard to see.
        reordered: rows that are printed in another column order, in the order of `columns`.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    notes: tuple[Note, ...] = ()
    reordered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def value(self, method: str, column: str) -> Decimal | None:
        """A cell as a number (of millions where it is printed with an M); None where there is none."""
        text = self.rows[method][self.columns.index(column)]
        return None if text == ABSENT else Decimal(text.removesuffix("M"))


def _rows(text: str) -> Mapping[str, tuple[str, ...]]:
    """One row a line: method and cells, parted by bars."""
    lines = [[part.strip() for part in line.split("|")] for line in text.strip().splitlines()]
    return MappingProxyType({method: tuple(cells) for method, *cells in lines})


_TABLE_2 = _rows("""
    LLaVA-1.5         | 59.22 | 73.16 | 65.19 | 65.86 | 48.96 | 59.02 | 53.99
    MiniGPTv2         | 60.02 | 51.64 | 67.64 | 59.77 | 68.34 | 64.71 | 66.53
    QWen-VL-Chat      | 62.00 | 47.65 | 66.54 | 58.73 | 61.75 | 65.98 | 63.87
    InternLM-XCompose | 59.00 | 66.74 | 52.91 | 59.55 | 67.79 | 66.62 | 67.21
    GeoChat-7B        | 91.09 | 90.33 | 94.00 | 91.81 | 58.45 | 83.19 | 70.82
    SkyEyeGPT-7B      | 88.93 | 88.63 | 75.00 | 84.16 | 80.00 | 80.13 | 82.56
    LHRS-Bot-7B       | 89.07 | 88.51 | 90.00 | 89.19 | 92.57 | 92.53 | 92.55
    H2RSVLM-7B        | 88.00 | 89.58 | 89.79 | 89.12 | 65.00 | 83.70 | 74.35
    RSUniVLM-1B       | 92.00 | 91.51 | 92.65 | 92.05 | 90.81 | 90.88 | 90.85
""")
_OTHER_ORDER = ("GeoChat-7B", "SkyEyeGPT-7B", "LHRS-Bot-7B")


def _rural_urban_first(cells: tuple[str, ...]) -> tuple[str, ...]:
    """A row of Table 2 that is printed as presence, compare, rural/urban."""
    presence, compare, rural_urban, *rest = cells
    return (rural_urban, presence, compare, *rest)


TABLES: Mapping[int, Table] = MappingProxyType(
    {
        2: Table(
            2,
            "RSVQA, accuracy in per cent, without counting and area questions",
            (
                "LR Rural/Urban",
                "LR Presence",
                "LR Compare",
                "LR Avg.",
                "HR Presence",
                "HR Compare",
                "HR Avg.",
            ),
            _TABLE_2,
            (
                Note(
                    "printed in its source's order (presence, compare, rural/urban): only 94.00, 75.00 and "
                    "90.00 can be shares of the 100 rural/urban questions; the row below is re-ordered",
                    _OTHER_ORDER,
                    ("LR Rural/Urban", "LR Presence", "LR Compare"),
                ),
                Note(
                    "does not follow from the row: the means are 84.19 (LR) and 80.07 (HR)",
                    ("SkyEyeGPT-7B",),
                    ("LR Avg.", "HR Avg."),
                ),
                Note(
                    "92/100, 2704/2955 and 3708/4002: the whole test split",
                    ("RSUniVLM-1B",),
                    ("LR Rural/Urban", "LR Presence", "LR Compare"),
                ),
                Note("averages are unweighted means over the question types"),
            ),
            MappingProxyType({method: _rural_urban_first(_TABLE_2[method]) for method in _OTHER_ORDER}),
        ),
        3: Table(
            3,
            "scene classification, accuracy in per cent, zero-shot except NWPU",
            ("AID", "WHU-RS19", "NWPU", "SIRI-WHU"),
            _rows("""
                LLaVA-1.5    | 31.10 | 54.55 | 34.96 | 17.71
                MiniGPTv2    | 32.96 | 64.80 | 28.15 | 35.46
                InstructBLIP | 29.50 | 36.76 | 34.01 | 18.20
                QWen-VL-Chat | 55.30 | 72.25 | 42.73 | 54.58
                GeoChat-7B   | 72.03 | 82.33 | -     | 43.67
                LHRS-Bot-7B  | 91.26 | 93.17 | 83.94 | 62.66
                RSUniVLM-1B  | 81.18 | 84.91 | 86.86 | 68.13
            """),
            (
                Note(
                    "the text of section 4.2 has these two scores in swapped order; the table is right",
                    ("RSUniVLM-1B",),
                    ("NWPU", "SIRI-WHU"),
                ),
                Note("class names and matching rule are not published; LHRS-Bot's are balanced accuracies"),
            ),
        ),
        4: Table(
            4,
            "visual grounding, accuracy in per cent at IoU 0.5 and 0.7",
            ("DIOR-RSVG @0.5", "DIOR-RSVG @0.7", "VRSBench-Ref @0.5", "VRSBench-Ref @0.7"),
            _rows("""
                CogVLM*-17B    | 44.50 | 30.2  | 20.31 | 15.22
                Florence2-0.7B | 18.95 | 11.71 | 21.69 | 12.74
                GeoChat-7B     | 27.85 | 9.50  | 39.6  | 19.1
                LHRS-Bot-7B    | 12.95 | 8.95  | 1.74  | 0.17
                H2RSVLM-7B     | 48.04 | -     | -     | -
                RSUniVLM-1B    | 72.47 | 56.17 | 69.31 | 47.47
            """),
            (
                Note("other papers print 31.4 and 19.7 for it", ("GeoChat-7B",), ("DIOR-RSVG @0.5",)),
                Note(
                    "VRSBench itself lists 49.8 / 19.9 fine-tuned and 12.9 / 3.2 not fine-tuned; the paper's "
                    "introduction compares 69.31 (IoU 0.5) with 19.1 (IoU 0.7)",
                    ("GeoChat-7B",),
                    ("VRSBench-Ref @0.5", "VRSBench-Ref @0.7"),
                ),
                Note("re-evaluated by the paper with LHRS-Bot's corrected script", ("LHRS-Bot-7B",)),
                Note("the grounding-generalist version", ("CogVLM*-17B",)),
                Note("the IoU convention is not published; LHRS-Bot's adds one pixel to both sides"),
            ),
        ),
        5: Table(
            5,
            "change captioning on LEVIR-MCI, times 100",
            ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"),
            _rows("""
                InternVL2-8B    | 25.28 | 10.74 | 3.90  | 1.19  | 16.46 | 17.11 | 3.04
                MiniCPMV2.6-17B | 17.27 | 9.08  | 4.09  | 1.70  | 15.07 | 18.85 | 1.85
                RSICCFomer      | 83.09 | 74.32 | 66.66 | 60.44 | 38.76 | 72.63 | 130.00
                Prompt-CC       | 83.66 | 75.73 | 69.10 | 63.54 | 38.82 | 73.72 | 136.44
                Sen             | 85.10 | 77.05 | 70.01 | 64.09 | 39.59 | 74.57 | 136.02
                SFT             | 84.56 | 75.87 | 68.64 | 62.87 | 39.93 | 74.69 | 137.05
                Chg2Cap         | 86.14 | 78.08 | 70.66 | 64.39 | 40.03 | 75.12 | 136.61
                RsCaMa          | 85.79 | 77.99 | 71.04 | 65.24 | 39.91 | 75.24 | 136.56
                RSUniVLM        | 86.30 | 75.86 | 67.49 | 60.27 | 40.14 | 80.09 | 139.80
            """),
            (
                Note(
                    "5 above all peers while BLEU-4 is 5 below the best: the shape of another string "
                    "convention, most likely raw strings",
                    ("RSUniVLM",),
                    ("ROUGE-L",),
                ),
                Note("string convention and METEOR implementation are not published"),
            ),
        ),
        6: Table(
            6,
            "change detection on WHU-CD, per cent; others trained on 5 % of the labels, RSUniVLM zero-shot",
            ("F1", "Pre.", "Rec.", "OA", "IoU"),
            _rows("""
                AdvNet    | 71.10 | 78.76 | 64.80 | 97.91 | 55.16
                S4GAN     | 73.39 | 81.56 | 66.70 | 98.08 | 57.96
                SemiCDNet | 70.07 | 79.97 | 62.36 | 97.89 | 53.93
                SemiCD    | 78.76 | 86.22 | 72.49 | 98.45 | 64.96
                RCL       | 71.56 | 74.63 | 68.73 | 97.83 | 55.71
                RSUniVLM  | 71.38 | 73.13 | 67.80 | 92.64 | 54.19
            """),
            (
                Note(
                    "not comparable: its precision and recall give F1 70.36 and IoU 54.28, and with its OA "
                    "they need 12.8 to 12.9 % changed pixels, against 4.0 % in the rows of all others",
                    ("RSUniVLM",),
                ),
                Note('the "chain of thought" behind the RSUniVLM row is not described'),
            ),
        ),
        7: Table(
            7,
            "zero-shot semantic segmentation, mIoU in per cent",
            ("Vaihingen", "UDD5", "VDD", "Avg."),
            _rows("""
                MaskCLIP     | 24.7  | 32.4  | 32.9 | 30.0
                SCLIP        | 28.4  | 38.7  | 37.9 | 35.0
                GEM          | 24.7  | 41.2  | 39.5 | 35.13
                ClearCLIP    | 27.3  | 41.8  | 39.3 | 36.13
                SegEarth-OV  | 29.1  | 50.6  | 45.3 | 41.67
                RSUniVLM     | 54.46 | 65.41 | 49.6 | 56.49
            """),
            (
                Note(
                    "not described: whether the background counts as a class of the mean, as in all other "
                    "rows, and how masks of single classes become one map",
                    ("RSUniVLM",),
                ),
            ),
        ),
        8: Table(
            8,
            "ways to adapt the stage-1 model; VQA and VG in per cent",
            ("Trainable parameters", "Runtime parameters", "VQA", "VG"),
            _rows("""
                LoRA           | 72M  | 987M | 90.80 | 64.56
                MoE            | 793M | 779M | 82.75 | 49.44
                Full-parameter | 893M | 893M | 90.22 | 65.27
                G-MoE          | 313M | 893M | 91.57 | 70.90
            """),
            (
                Note(
                    "counts 23 million parameters of LoRA on the vision tower that do nothing; merged, it "
                    "runs with 893.6 million",
                    ("LoRA",),
                    ("Runtime parameters",),
                ),
                Note(
                    "one set of experts (313,786,368); three are 941,359,104, and the stored model has "
                    "1,521,190,944 parameters",
                    ("G-MoE",),
                    ("Trainable parameters",),
                ),
                Note(
                    "the mean of Table 2's five types, not of its two averages (91.45)", ("G-MoE",), ("VQA",)
                ),
                Note("the mean of Table 4's two scores at IoU 0.5 is 70.89", ("G-MoE",), ("VG",)),
                Note("single runs, no intervals"),
            ),
        ),
    }
)
