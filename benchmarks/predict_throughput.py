"""Questions a second: the predictor's mixed batches against one question at a time through `generate`.

    python benchmarks/predict_throughput.py                # bundled checkpoint
    python benchmarks/predict_throughput.py --size full    # published size, random weights

64 questions about 8 images, of every task that looks at one image: scene class, questions, captions, boxes,
descriptions, masks. Both sides answer in free text, greedily, of at most --limit tokens, so that their texts
are the same; they are compared. The predictor held to grammars is measured beside them; its answers are cut
at full size only, where random weights find no end. The contenders take turns; the ratio is that of the
medians. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.decode_mask import load, stock_generate
from eval import benchmarks as sets
from eval.tasks import task_module
from rsunivlm.data.records import resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Request
from rsunivlm.inference.loading import quiet_libraries
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.scheduler import Decoding

FREE, HELD = Decoding(constrain=False), Decoding()
TASKS = ("sc", "vqa", "vqa", "cap", "vg", "vg", "reg", "ss")  # of the questions about one image


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("nano", "full"), default="nano")
    parser.add_argument("--tokenizer", help="folder of the tokenizer at full size (default: nano's)")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="compile the predictor's decoding passes")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit", type=int, default=64, help="most tokens of an answer (default 64)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", help="default: float32 for nano on the CPU, else bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    quiet_libraries()
    predictor = RSUniVLM(*load(arguments), compile=arguments.compile)
    requests = questions(arguments.images)
    contenders: dict[str, Callable[[], list[str]]] = {
        "generate, one by one": lambda: [generate(predictor, r, arguments.limit) for r in requests],
        "predictor, free": lambda: answer(predictor, requests, FREE, arguments),
        "predictor, held to grammars": lambda: answer(predictor, requests, HELD, arguments),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    texts: dict[str, list[str]] = {}
    if arguments.compile:
        answer(predictor, requests, HELD, arguments)  # not measured: the compiler runs now
    for _ in range(arguments.repeats):
        for name, contender in contenders.items():
            predictor.forget()
            started = time.perf_counter()
            texts[name] = contender()
            seconds[name].append(time.perf_counter() - started)
    one_by_one, free, _ = contenders
    base = statistics.median(seconds[one_by_one])
    rows: dict[str, dict[str, Any]] = {}
    for name, measured in seconds.items():
        median = statistics.median(measured)
        rows[name] = {"seconds": measured, "questions_per_s": len(requests) / median, "ratio": base / median}
        print(f"{name:<28} {len(requests) / median:7.2f} questions/s {base / median:6.2f} x")
    same = sum(a == b for a, b in zip(texts[one_by_one], texts[free], strict=True))
    print(f"same text as one by one: {same} of {len(requests)}")
    where = {"device": arguments.device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    result = {"questions": len(requests), "images": arguments.images, "same_text": same, "sides": rows}
    print(json.dumps({"benchmark": "predict_throughput", "size": arguments.size, **where, **result}))


def questions(num_images: int) -> list[Request]:
    """Eight questions about each image, those of one task in the words of the mini benchmark."""
    pictures: list[Any] = []
    prompts: dict[str, list[str]] = {}
    for name in dict.fromkeys(TASKS):
        task, module = task_module(name)
        loaded = sets.load(None, task, module, None, None)
        prompts[name] = [record.turns[0].prompt for record in loaded.records]
        if not pictures:
            files = dict.fromkeys(record.images[0] for record in loaded.records)
            pictures = [open_image(resolve_image(loaded.root, file)) for file in list(files)[:num_images]]
    return [
        Request([picture], prompts[name][(8 * place + number) % len(prompts[name])], name)
        for place, picture in enumerate(pictures)
        for number, name in enumerate(TASKS)
    ]


def answer(
    predictor: RSUniVLM, requests: list[Request], decoding: Decoding, arguments: argparse.Namespace
) -> list[str]:
    """All questions together."""
    limit = arguments.limit if decoding is FREE or arguments.size == "full" else None
    answers = predictor.answer_batch(
        requests, batch_size=arguments.batch_size, max_new_tokens=limit, decoding=decoding
    )
    return [answer.text.strip() for answer in answers]


def generate(predictor: RSUniVLM, request: Request, limit: int) -> str:
    """One question through transformers' own loop."""
    written = stock_generate(predictor, request, limit)
    end = predictor.processor.end_token_id
    return predictor.text_of(written[: written.index(end)] if end in written else written).strip()


if __name__ == "__main__":
    main()
