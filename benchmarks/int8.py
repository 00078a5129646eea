"""What int8 weights save on a CPU: time of each part of an answer, and memory of the weights.

    python benchmarks/int8.py                    # bundled checkpoint
    python benchmarks/int8.py --size full        # published size, one expert, random weights: 9 GB
    python benchmarks/int8.py --products         # single matrix products, by what torch offers for them
    python benchmarks/int8.py --checkpoints playground/checkpoints/nano TRIMMED [TRIMMED ...]

float32, bfloat16, and int8 weights with either of them for the rest do the same work: one image through the
tower and the connector, a prompt of 760 tokens, one token, a draft of 12 tokens, the head on 12 places, and a
whole answer of the mini benchmark's masks, whose text is given. They take turns; ratios to the first two
forms are medians over the turns. Seconds are processor seconds of all threads, so that other work on the
machine counts little.

With --products: matrices of the published size times 1, 12 and 760 rows, by float32, bfloat16, ours (rows and
weights int8), torch's weight-only kernel (input bfloat16), and oneDNN's packed int8 product with one scale
for the whole input, by which a row's result would depend on its neighbours.

With --checkpoints: 64 questions of six tasks about 8 images in one call, held to grammars; the ratio is to
the first.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.decode_mask import (
    SETS,
    OraclePredictor,
    Question,
    answer_tokens,
    load,
    question_sets,
    run_ours,
)
from benchmarks.predict_throughput import questions
from rsunivlm.inference.loading import quiet_libraries
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.scheduler import Decoding
from rsunivlm.models.rsunivlm.experts import ExpertDispatch
from rsunivlm.models.rsunivlm.int8 import int8_product, quantise, quantise_rows
from rsunivlm.models.rsunivlm.row_attention import CachedRows, RowCache, Span
from rsunivlm.models.rsunivlm.upcycling import extract_expert

PROMPT, DRAFT = 760, 12
MATRICES = {"gate, up": (9728, 896), "down": (896, 4864), "tower": (4304, 1152), "attention": (896, 896)}
FORMS = {
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "int8, float32": (torch.float32, True),
    "int8, bfloat16": (torch.bfloat16, True),
}


class Work:
    """The parts of an answer, done by one form of the model."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.predictor = model, OraclePredictor(model, processor)
        generator = torch.Generator().manual_seed(0)
        side, width = model.config.vision_config.image_size, model.config.text_config.hidden_size
        self.pixels = torch.randn(1, 3, side, side, generator=generator).to(model.dtype)
        self.embeds_1LD = 0.02 * torch.randn(1, PROMPT, width, generator=generator).to(model.dtype)
        self.cache = RowCache(model.config.text_config, 1, model.dtype, model.device)
        self.cache.reserve(PROMPT + DRAFT)

    def image(self) -> Tensor:
        """One image to embeddings."""
        return self.model.get_image_features(self.pixels).pooler_output

    def tokens(self, start: int, count: int) -> Tensor:
        """A pass of one row [count, D]."""
        return self.model.model.language_model(
            inputs_embeds=self.embeds_1LD[:, :count],
            attention_mask={"full_attention": None},
            position_ids=torch.arange(start, start + count)[None],
            use_cache=False,
            expert_dispatch=ExpertDispatch((1,)),
            cached_rows=CachedRows(self.cache, [Span(0, start, count)]),
        ).last_hidden_state[0]

    def head(self) -> Tensor:
        """Scores of all tokens at as many places as a draft has."""
        return self.model.lm_head(self.embeds_1LD[0, :DRAFT])

    def mask(self, question: Question) -> None:
        """A whole answer, drafts and all."""
        expected = answer_tokens(self.predictor, question)
        run_ours(self.predictor, question.request, expected, Decoding())

    @property
    def megabytes(self) -> float:
        """Memory of the weights."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters()) / 1e6


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("nano", "full"), default="nano")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--masks", type=int, default=2, help="whole answers, one after the other (default 2)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.set_defaults(device="cpu", dtype="bfloat16", tokenizer=None, data=None, seed=0)
    parser.add_argument("--products", action="store_true", help="compare ways to multiply instead")
    parser.add_argument("--checkpoints", nargs="+", help="compare whole checkpoints instead, in float32")
    arguments = parser.parse_args()
    quiet_libraries()
    if arguments.checkpoints:
        result = compare_checkpoints(arguments)
    else:
        result = compare_products(arguments) if arguments.products else compare_forms(arguments)
    where = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps({"benchmark": "int8", "size": arguments.size, **where, **result}))


def compare_forms(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts of an answer, by every form of the model."""
    works = make_works(arguments)
    _, asked = next(question_sets(arguments, arguments.masks, SETS))
    parts: dict[str, Callable[[Work], object]] = {
        "image": lambda work: work.image(),
        "prompt": lambda work: work.tokens(0, PROMPT),
        "token": lambda work: work.tokens(PROMPT, 1),
        "draft": lambda work: work.tokens(PROMPT, DRAFT),
        "head": lambda work: work.head(),
        "mask": lambda work: [work.mask(question) for question in asked],
    }
    with torch.inference_mode():
        seconds = {part: measure(works, do, arguments.repeats) for part, do in parts.items()}
    rows = {part: summarise(measured) for part, measured in seconds.items()}
    base = next(iter(works))
    print(f"{'':<8}" + "".join(f"{name:>26}" for name in works))
    for part, row in rows.items():
        print(
            f"{part:<8}"
            + "".join(f"{c['seconds'] * 1e3:14.2f} ms {c[f'to_{base}']:7.2f} x" for c in row.values())
        )
    megabytes = {name: round(work.megabytes, 1) for name, work in works.items()}
    print("MB of weights:", megabytes)
    return {"repeats": arguments.repeats, "parts": rows, "megabytes": megabytes}


def compare_checkpoints(arguments: argparse.Namespace) -> dict[str, Any]:
    """Many questions, by each checkpoint."""
    predictors = {name: RSUniVLM.from_pretrained(name, device="cpu") for name in arguments.checkpoints}
    requests = questions(8)
    measured: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(arguments.repeats + 1):
        for name, predictor in predictors.items():
            predictor.forget()
            started = time.process_time()
            predictor.answer_batch(requests, batch_size=32)
            if turn:  # the first warms up
                measured[name].append(time.process_time() - started)
    rows = summarise(measured)
    base = next(iter(predictors))
    for name, row in rows.items():
        print(f"{name:<40} {len(requests) / row['seconds']:7.2f} questions/s {row[f'to_{base}']:6.2f} x")
    return {"repeats": arguments.repeats, "questions": len(requests), "checkpoints": rows}


def compare_products(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of single products, the ways in turns."""
    rows: dict[str, dict[str, float]] = {}
    for name, (N, K) in MATRICES.items():
        ways = products(torch.randn(N, K) * 0.02)
        for R in (1, DRAFT, PROMPT):
            x = torch.randn(R, K)
            measured: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(arguments.repeats + 1):
                for way, multiply in ways.items():
                    measured[way].append(seconds_of(lambda multiply=multiply, x=x: multiply(x), 0.05))
            rows[f"{name} x {R}"] = row = {
                way: statistics.median(times[1:]) for way, times in measured.items()
            }
            shown = "".join(f"{way} {seconds * 1e3:9.3f}   " for way, seconds in row.items())
            print(f"{name:<8} {R:>4} rows, ms: {shown}", flush=True)
    return {"repeats": arguments.repeats, "products": rows}


def products(weight_NK: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Ways to multiply with one matrix."""
    integers_NK, scale_N = quantise_rows(weight_NK)
    narrow_NK, narrow_scale_N = weight_NK.bfloat16(), scale_N.bfloat16()
    packed, zeros_N = (
        torch.ops.onednn.qlinear_prepack(integers_NK, None),
        torch.zeros(len(scale_N), dtype=torch.int),
    )

    def one_scale(x: Tensor) -> Tensor:
        step = float(x.abs().max() / 127)
        steps = (x / step).round_().add_(128).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            steps, step, 128, packed, scale_N, zeros_N, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return {
        "float32": lambda x: F.linear(x, weight_NK),
        "bfloat16": lambda x: F.linear(x.bfloat16(), narrow_NK),
        "ours": lambda x: int8_product(x, integers_NK, scale_N),
        "weight-only": lambda x: torch._weight_int8pack_mm(x.bfloat16(), integers_NK, narrow_scale_N),
        "one scale": one_scale,
    }


def make_works(arguments: argparse.Namespace) -> dict[str, Work]:
    """The same weights in every form; those of one expert, which is what an answer runs through."""
    model, processor = load(arguments, experts=1)
    if model.config.num_experts > 1:
        extract_expert(model, 0)
    works = {}
    for name in arguments.forms:
        dtype, int8 = FORMS[name]
        # The last takes the model itself: memory is short at full size.
        form = model if name == arguments.forms[-1] else copy.deepcopy(model)
        if int8:
            quantise(form)
        works[name] = Work(form.to(dtype), processor)
    return works


def measure(works: dict[str, Work], do: Callable[[Work], object], repeats: int) -> dict[str, list[float]]:
    """Seconds of each form, in turns; small work is repeated within a turn."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            seconds = seconds_of(lambda work=work: (do(work), work.predictor.forget()), 0.1)
            if turn:  # the first warms up
                measured[name].append(seconds)
    return measured


def seconds_of(do: Callable[[], object], at_least: float) -> float:
    """Processor seconds of one call, as the mean of as many as take so many seconds."""
    times, started = 0, time.process_time()
    while not times or time.process_time() - started < at_least:
        do()
        times += 1
    return (time.process_time() - started) / times


def summarise(measured: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median seconds; median of the ratios to the first two forms, turn by turn."""
    forms = list(measured)
    return {
        name: {"seconds": statistics.median(mine)}
        | {
            f"to_{base}": statistics.median(b / m for b, m in zip(measured[base], mine, strict=True))
            for base in forms[:2]
        }
        for name, mine in measured.items()
    }


if __name__ == "__main__":
    main()
