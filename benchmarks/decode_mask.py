"""What a mask costs: transformers' `generate`; our decoding plain, with forced tokens, with row drafts.

    python benchmarks/decode_mask.py --data FOLDER                    # bundled checkpoint, CPU
    python benchmarks/decode_mask.py --data FOLDER --size full        # published size, random weights
    python benchmarks/decode_mask.py --data FOLDER --identical 1000   # same text as plain, on so many masks

All contenders write the same text, that of the true mask: an oracle picks the tokens after the model has
done its work, so that the cost of a perfect answer is measured whatever the weights are. Masks are those of
the mini benchmark and, with --data, of LEVIR-MCI (`levir_mci`) and the Dubai tiles (`dubai`) below that
folder. Contenders take turns, mask by mask. Seconds are those of a whole answer, image and prompt included,
and of its writing alone, from the first token on.

With --identical the bundled checkpoint answers by itself, held to its grammar: the texts of all our ways are
compared. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from eval import benchmarks as sets
from eval.segmentation import truth_masks
from eval.tasks import task_module
from rsunivlm.data.records import resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Request
from rsunivlm.inference.loading import bundled_checkpoint, load_checkpoint, quiet_libraries
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.runner import ModelRunner
from rsunivlm.inference.scheduler import Decoding, Feed, Scheduler

WAYS = {
    "constrained": Decoding(jump=False, drafts=False),
    "forced tokens": Decoding(drafts=False),
    "row drafts": Decoding(),
}
GENERATE = "generate"
SETS = (("mini", "ss", None), ("mini", "cd", None), ("levir_mci", "cd", "test"), ("dubai", "ss", "test"))
FURTHER_SETS = (("levir_mci", "cd", "train"), ("dubai", "ss", "train"))  # for the number of texts


@dataclass(frozen=True)
class Question:
    """A question for the mask of one class, and the right answer."""

    request: Request
    mask: np.ndarray


class Cost(NamedTuple):
    """What one answer took: tokens, passes, seconds in all and from the first token on."""

    tokens: int
    passes: int
    seconds: float
    writing: float


class OracleRunner(ModelRunner):
    """Does all the work of a pass, then answers with the expected token; for one row at a time."""

    expected: Sequence[int] = ()
    prompt_length = 0
    first_token = 0.0  # when it was chosen

    def run(self, feeds: Sequence[Feed], places: Sequence[tuple[int, int]]) -> torch.Tensor:
        """As its parent; the hidden states remember which answer token they stand before."""
        hidden_MD = super().run(feeds, places)
        if places and not self.first_token:
            self.first_token = time.perf_counter()
        for m, (feed, token) in enumerate(places):
            step = feeds[feed].start + token + 1 - self.prompt_length
            hidden_MD[m, 0], hidden_MD[m, 1] = step // 128, step % 128  # exact in bfloat16 too
        return hidden_MD

    def best_tokens(self, hidden_MD: torch.Tensor) -> list[int]:
        """As its parent, at the same cost."""
        super().best_tokens(hidden_MD)
        return self._tokens(hidden_MD)

    def scores(self, hidden_MD: torch.Tensor, tokens: np.ndarray) -> np.ndarray:
        """As its parent, at the same cost."""
        scores = np.zeros_like(super().scores(hidden_MD, tokens))
        scores[np.arange(len(scores)), np.searchsorted(tokens, self._tokens(hidden_MD))] = 1
        return scores

    def _tokens(self, hidden_MD: torch.Tensor) -> list[int]:
        # A draft may run past the end of the answer; what is chosen there is never taken.
        high_low_M2 = hidden_MD[:, :2].long()
        steps = (high_low_M2[:, 0] * 128 + high_low_M2[:, 1]).tolist()
        return [self.expected[min(step, len(self.expected) - 1)] for step in steps]


class OraclePredictor(RSUniVLM):
    """A predictor whose answers are given."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        self.expected: list[int] = []
        self.prompt_length = 0
        self.runner: OracleRunner | None = None

    def scheduler(self, decoding: Decoding, slots: int) -> Scheduler:
        """One that knows the answer."""
        runner = OracleRunner(self.model, self.processor, slots, self._images, self._prefixes)
        runner.expected, runner.prompt_length = self.expected, self.prompt_length
        self.runner = runner
        return Scheduler(runner, decoding, slots)


@dataclass
class Expected(LogitsProcessor):
    """Makes `generate` write given tokens."""

    tokens: Sequence[int]
    passes: int = 0
    first_token: float = 0.0  # when it was chosen

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Raise the next token above all others."""
        scores[:, self.tokens[self.passes]] = torch.inf
        self.first_token = self.first_token or time.perf_counter()
        self.passes += 1
        return scores


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with levir_mci and dubai, in their native layouts")
    parser.add_argument("--size", choices=("nano", "full"), default="nano")
    parser.add_argument("--tokenizer", help="folder of the tokenizer at full size (default: nano's)")
    parser.add_argument("--masks", type=int, default=12, help="masks of each set (default 12)")
    parser.add_argument("--identical", type=int, metavar="N", help="compare the texts of N free answers")
    parser.add_argument("--dtype", help="default: float32 for nano on the CPU, else bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of masks")
    arguments = parser.parse_args()
    quiet_libraries()
    result = compare_texts(arguments) if arguments.identical else compare_cost(arguments)
    where = {"device": arguments.device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps({"benchmark": "decode_mask", "size": arguments.size, **where, **result}))


def compare_cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens, passes and seconds of each contender, set by set."""
    predictor = OraclePredictor(*load(arguments))
    results = {}
    for name, questions in question_sets(arguments, arguments.masks, SETS):
        measured: dict[str, list[Cost]] = {way: [] for way in (GENERATE, *WAYS)}
        for question in questions:
            expected = answer_tokens(predictor, question)
            measured[GENERATE].append(run_generate(predictor, question.request, expected))
            for way, decoding in WAYS.items():
                measured[way].append(run_ours(predictor, question.request, expected, decoding))
        results[name] = summary = summarise(measured)
        print(f"{name}: {len(questions)} masks, {summary[GENERATE]['tokens']:.0f} tokens")
        for way, row in summary.items():
            print(
                f"  {way:<14} {row['passes']:7.1f} passes ({row['passes_per_token']:.3f} a token) "
                f"{row['seconds']:7.3f} s, {row['speedup']:.2f} x; "
                f"writing {row['writing_s']:7.3f} s, {row['writing_speedup']:.2f} x"
            )
    return {"sets": results}


def summarise(measured: dict[str, list[Cost]]) -> dict[str, dict[str, float]]:
    """Means over the masks; the speed-up is the median of the ratios mask by mask."""
    base = measured[GENERATE]
    return {
        way: {
            "n": len(rows),
            "tokens": statistics.mean(row.tokens for row in rows),
            "passes": statistics.mean(row.passes for row in rows),
            "passes_per_token": sum(row.passes for row in rows) / sum(row.tokens for row in rows),
            "seconds": statistics.mean(row.seconds for row in rows),
            "speedup": statistics.median(b.seconds / r.seconds for b, r in zip(base, rows, strict=True)),
            "writing_s": statistics.mean(row.writing for row in rows),
            "writing_speedup": statistics.median(
                b.writing / r.writing for b, r in zip(base, rows, strict=True)
            ),
        }
        for way, rows in measured.items()
    }


def compare_texts(arguments: argparse.Namespace) -> dict[str, Any]:
    """How many free answers are the same text in all our ways."""
    predictor = RSUniVLM(*load(arguments))
    questions = [
        q for _, part in question_sets(arguments, arguments.identical, SETS + FURTHER_SETS) for q in part
    ]
    requests = [question.request for question in questions][: arguments.identical]
    texts, rows = {}, {}
    for way, decoding in WAYS.items():
        predictor.forget()
        started = time.perf_counter()
        answers = predictor.answer_batch(requests, decoding=decoding)
        reports = [answer.decoding for answer in answers if answer.decoding is not None]
        texts[way] = [answer.text for answer in answers]
        rows[way] = {
            "tokens": sum(report.tokens for report in reports),
            "passes": sum(report.passes for report in reports),
            "malformed": sum(not answer.report.clean for answer in answers if answer.report is not None),
            "seconds": round(time.perf_counter() - started, 1),
        }
        rows[way]["same_text"] = sum(a == b for a, b in zip(texts[way], texts["constrained"], strict=True))
        print(f"{way:<14} {rows[way]}")
    return {"masks": len(requests), "ways": rows}


def load(arguments: argparse.Namespace, experts: int = 3) -> tuple[Any, Any]:
    """The bundled checkpoint, or the published size with random weights and so many experts."""
    nano = bundled_checkpoint()
    device = torch.device(arguments.device)
    small_on_cpu = arguments.size == "nano" and device.type == "cpu"
    dtype = getattr(torch, arguments.dtype or ("float32" if small_on_cpu else "bfloat16"))
    if arguments.size == "nano":
        return load_checkpoint(nano, device=device, dtype=dtype)
    from transformers import AutoTokenizer

    from rsunivlm.models.counts import load_config
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
    from rsunivlm.models.rsunivlm.upcycling import upcycle

    torch.manual_seed(0)
    config = load_config("rsunivlm")
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer or nano)
    config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config.text_config = config.text_config.dense()
    torch.set_default_dtype(dtype)
    model = RSUniVLMForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    if experts > 1:
        upcycle(model, experts)
    processor = RSUniVLMProcessor.for_config(config, tokenizer)
    return model.to(device, dtype).eval(), processor


def question_sets(
    arguments: argparse.Namespace, count: int, wanted: Sequence[tuple[str, str, str | None]]
) -> Iterator[tuple[str, list[Question]]]:
    """Up to `count` questions of each set, drawn with the seed."""
    for name, task, split in wanted:
        if name != "mini" and (arguments.data is None or not (arguments.data / name).is_dir()):
            print(f"{name}: not here, left out (--data)", file=sys.stderr)
            continue
        task_name, module = task_module(task)
        folder = None if name == "mini" else arguments.data / name
        loaded = sets.load(None if name == "mini" else name, task_name, module, folder, split)
        generator = np.random.default_rng(arguments.seed)
        chosen = generator.permutation(len(loaded.records))[:count]
        questions = []
        for index in chosen:
            record = loaded.records[index]
            images = [open_image(resolve_image(loaded.root, image)) for image in record.images]
            labels = record.targets["labels"][1:]  # type: ignore[index, call-overload]
            request = Request(images, record.turns[0].prompt, task_name, labels)
            questions.append(Question(request, truth_masks(record, loaded.root)[0]))
        yield f"{name} {task} {split or ''}".strip(), questions


def answer_tokens(predictor: OraclePredictor, question: Question) -> list[int]:
    """The true mask in tokens, the end token included."""
    labels = (predictor.mask_codec.background, *question.request.labels)  # type: ignore[misc]
    text = predictor.mask_codec.encode(question.mask, labels)
    tokens = predictor.processor.tokenizer.encode(text, add_special_tokens=False)
    return [*tokens, predictor.processor.end_token_id]


def run_generate(predictor: OraclePredictor, request: Request, expected: list[int]) -> Cost:
    """Transformers' own loop."""
    started = time.perf_counter()
    force = Expected(expected)
    assert stock_generate(predictor, request, len(expected), force) == expected
    ended = time.perf_counter()
    return Cost(len(expected), force.passes, ended - started, ended - force.first_token)


def stock_generate(
    predictor: RSUniVLM, request: Request, limit: int, *processors: LogitsProcessor
) -> list[int]:
    """Tokens that transformers' `generate` writes, greedily, up to a limit or the end token."""
    model, processor = predictor.model, predictor.processor
    prompt = predictor.job(request, WAYS["constrained"]).prompt
    ids = torch.tensor([prompt.input_ids], device=model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=processor.preprocess_images(request.images).to(model.device, model.dtype),
            expert_ids=torch.tensor([prompt.expert]),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=processor.end_token_id,
            pad_token_id=processor.tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList(processors),
        )
    written: list[int] = output[0, ids.shape[1] :].tolist()
    return written


def run_ours(predictor: OraclePredictor, request: Request, expected: list[int], decoding: Decoding) -> Cost:
    """One of our ways."""
    predictor.forget()
    predictor.expected = expected
    predictor.prompt_length = len(predictor.job(request, decoding).prompt.input_ids)
    started = time.perf_counter()
    [answer] = predictor.answer_batch([request], decoding=decoding)
    ended = time.perf_counter()
    assert predictor.runner is not None
    assert answer.decoding is not None
    assert answer.text == predictor.text_of(expected[:-1])
    return Cost(len(expected), answer.decoding.passes, ended - started, ended - predictor.runner.first_token)


if __name__ == "__main__":
    main()
