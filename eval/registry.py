"""The benchmarks that are known by name: one small frozen row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.tasks import TASK_MODULES
from rsunivlm.tasks import Task

PROJECT = Path(__file__).resolve().parents[1]
DEFAULT = "mini"


@dataclass(frozen=True)
class Benchmark:
    """A row of the registry.

    Attributes:
        name: Its name on the command line.
        tasks: The tasks it has questions for.
        converter: The `data_tools` converter that reads it; "" when it lies there as ``<task>.jsonl`` files.
        split: The split asked by default.
        fit_split: The split that baselines may be fitted on, "" when there is none.
        default_data: The folder used when none is named; only the bundled benchmark has one.
        classes: Pixel value -> class name, for label images that come without the names.
        notes: What a reader of its scores must know.
    """

    name: str
    tasks: tuple[Task, ...]
    converter: str = ""
    split: str = "test"
    fit_split: str = ""
    default_data: Path | None = None
    classes: Mapping[int, str] | None = None
    notes: tuple[str, ...] = ()


LARGE = "scenes of about 4000 x 3000 pixels: asked as whole images unless --tile cuts them"

BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark(
            name=DEFAULT,
            tasks=tuple(TASK_MODULES),
            default_data=PROJECT / "playground/benchmarks/mini",
            notes=("synthetic scenes: shows that everything works, says little about real imagery",),
        ),
        Benchmark(
            name="aid",
            tasks=(Task.SC,),
            converter="aid",
            notes=(
                "RSICD's images are AID's, resized: who has trained on their classes is not zero-shot here",
                "all 10,000 images, as LHRS-Bot; some papers score 3,000",
            ),
        ),
        Benchmark(name="whu_rs19", tasks=(Task.SC,), converter="whu_rs19"),
        Benchmark(
            name="nwpu",
            tasks=(Task.SC,),
            converter="nwpu_resisc45",
            fit_split="train",
            notes=("the paper trains on 5,000 images of this set, it does not say which: not zero-shot",),
        ),
        Benchmark(name="siri_whu", tasks=(Task.SC,), converter="siri_whu"),
        Benchmark(
            name="rsicd",
            tasks=(Task.SC, Task.CAP),
            converter="rsicd",
            fit_split="train",
            notes=("10,000 of its 10,921 images are AID's: the two sets do not test each other",),
        ),
        Benchmark(
            name="rsitmd",
            tasks=(Task.SC, Task.CAP),
            converter="rsitmd",
            fit_split="train",
            notes=("30 of its 33 classes are AID's, and part of its images are RSICD's",),
        ),
        Benchmark(name="ucm_captions", tasks=(Task.CAP,), converter="ucm", fit_split="train"),
        Benchmark(name="sydney_captions", tasks=(Task.CAP,), converter="sydney_captions", fit_split="train"),
        Benchmark(
            name="rsieval",
            tasks=(Task.CAP, Task.VQA),
            converter="rsicap",
            fit_split="train",
            notes=(
                "what papers print as RSICap is most likely this set: 100 captions, one reference each",
                "vqa: published scores are judged by people; --match contains needs none (a lower bound)",
            ),
        ),
        Benchmark(
            name="rsvqa_lr",
            tasks=(Task.VQA,),
            converter="rsvqa_lr",
            fit_split="train",
            notes=(
                "rural_urban has 100 test questions: a difference of 1 or 2 points means nothing there",
                "the paper's Table 2 has three baseline rows in another column order",
            ),
        ),
        Benchmark(
            name="rsvqa_hr",
            tasks=(Task.VQA,),
            converter="rsvqa_hr",
            fit_split="train",
            notes=(
                "papers differ: LHRS-Bot (and most likely the paper) score test, GeoChat and SkySenseGPT "
                "test_phili (Philadelphia)",
            ),
        ),
        Benchmark(
            name="vrsbench_vqa",
            tasks=(Task.VQA,),
            converter="vrsbench",
            fit_split="train",
            notes=(
                "published scores use a language model as judge; --match contains needs none (a lower bound)",
            ),
        ),
        Benchmark(name="vrsbench_cap", tasks=(Task.CAP,), converter="vrsbench", fit_split="train"),
        Benchmark(
            name="dior_rsvg",
            tasks=(Task.VG, Task.REG),
            converter="dior_rsvg",
            fit_split="train",
            notes=("the published split is by object: its test images also occur in its training split",),
        ),
        Benchmark(
            name="opt_rsvg",
            tasks=(Task.VG, Task.REG),
            converter="opt_rsvg",
            fit_split="train",
            notes=("in-domain: its training split is part of the paper's training data",),
        ),
        Benchmark(
            name="vrsbench_ref",
            tasks=(Task.VG,),
            converter="vrsbench",
            fit_split="train",
            notes=(
                "VRSBench's own scorer adds 1 to the sides of boxes on a grid of 0..100 (--iou q100_plus1), "
                "which raises scores: never compare across conventions",
            ),
        ),
        Benchmark(
            name="levir_mci",
            tasks=(Task.CC, Task.CD),
            converter="levir_mci",
            fit_split="train",
            notes=(
                "in-domain: its training split is part of the paper's training data",
                "cd: roads are asked for only where roads have changed, buildings everywhere",
                "cc: the paper most likely scored raw strings (--cc-norm raw), its peers did not",
            ),
        ),
        Benchmark(
            name="whu_cd",
            tasks=(Task.CD,),
            converter="whu_cd",
            fit_split="train",
            notes=(
                "the paper's row for this set is not comparable: its accuracy needs about 13 % changed "
                "pixels, the tiles have 4 %; see changed_only in the details",
            ),
        ),
        Benchmark(name="vaihingen", tasks=(Task.SS,), converter="vaihingen", fit_split="train"),
        Benchmark(name="udd5", tasks=(Task.SS,), converter="udd5", fit_split="train", notes=(LARGE,)),
        Benchmark(name="vdd", tasks=(Task.SS,), converter="vdd", fit_split="train", notes=(LARGE,)),
        Benchmark(
            name="potsdam",
            tasks=(Task.SS,),
            converter="potsdam",
            notes=("in-domain: its training split is part of the paper's training data",),
        ),
        Benchmark(
            name="loveda",
            tasks=(Task.SS,),
            converter="loveda",
            split="val",
            fit_split="train",
            notes=(
                "in-domain: its training split is part of the paper's training data",
                "the labels of its test split are not public",
            ),
        ),
        Benchmark(
            name="dubai",
            tasks=(Task.SS,),
            converter="index_masks",
            fit_split="train",
            notes=("no published split; tiles differ much in size and ground resolution",),
        ),
        Benchmark(
            name="epfl_road",
            tasks=(Task.SS,),
            converter="index_masks",
            fit_split="train",
            classes={0: "background", 255: "road"},
            notes=("no published test labels: the split is the user's own",),
        ),
        Benchmark(
            name="index_masks",
            tasks=(Task.SS,),
            converter="index_masks",
            fit_split="train",
            notes=("the user's own data",),
        ),
    )
}
