"""Are answers held to a grammar ever malformed? Thousands of them, from models that know nothing.

    python benchmarks/constrained_fuzz.py --answers 10000

Tiny models with random weights answer questions for masks, boxes and closed lists, in batches of mixed
experts: with grids from 2 to 24, both dialects, coordinates up to 1000 with and without decimals, labels and
choices of random words in several alphabets, one a part of another. An answer is malformed if the codec has
to repair it, if it is not one of the choices, or if it does not end by itself. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer

from rsunivlm.codecs.mask_text import label_fault, normal_label
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

ALPHABETS = ("abcdefghij klmnop", "abc-_.'()", "äöüß éè", "建筑物 道路水", "0123456789 ab", "AaBb Cc")
PER_MODEL = 100


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quiet_libraries()
    generator = random.Random(arguments.seed)
    kinds, faults = Counter[str](), Counter[str]()
    tokens = 0
    started = time.perf_counter()
    while kinds.total() < arguments.answers:
        predictor = random_predictor(generator)
        requests = [
            random_request(generator) for _ in range(min(PER_MODEL, arguments.answers - kinds.total()))
        ]
        for request, answer in zip(requests, predictor.answer_batch(requests), strict=True):
            kind = "choice" if request.choices else answer.route.task.answer_kind
            kinds[kind] += 1
            tokens += answer.decoding.tokens if answer.decoding else 0
            if not well_formed(request, answer):
                faults[kind] += 1
                print(f"malformed: {request.prompt!r} {request.labels} {request.choices}: {answer.text!r}")
    seconds = time.perf_counter() - started
    print(f"{kinds.total()} answers {dict(kinds)}, {tokens} tokens: {faults.total()} malformed")
    result = {
        "answers": dict(kinds),
        "tokens": tokens,
        "malformed": faults.total(),
        "seconds": round(seconds),
    }
    print(json.dumps({"benchmark": "constrained_fuzz", "seed": arguments.seed, **result}))


def well_formed(request: Request, answer: Answer) -> bool:
    """Whether the codec reads the answer as it stands, or it is one of the choices."""
    assert answer.decoding is not None
    if not (answer.decoding.constrained and answer.finished):
        return False
    if request.choices:
        return answer.text in [choice.strip() for choice in request.choices]
    return answer.report is not None and answer.report.clean


def random_predictor(generator: random.Random) -> RSUniVLM:
    """A model of three random experts with random codecs."""
    tokenizer = AutoTokenizer.from_pretrained(bundled_checkpoint())
    processor = RSUniVLMProcessor(RSUniVLMImageProcessor(image_size=32), tokenizer, num_image_tokens=4)
    torch.manual_seed(generator.randrange(2**31))
    tower = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False}
    config = RSUniVLMConfig(
        vision_config={
            "timm_model": "vit_tiny_patch16_224",
            "timm_args": {**tower, "global_pool": "avg"},
            "feature_index": 1,
            "image_size": 32,
            "hidden_size": 32,
            "tokens_per_side": 2,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "num_experts": 3,
            "initializer_range": generator.choice([0.05, 0.2, 0.5]),
            "max_position_embeddings": 16384,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": processor.end_token_id,
        },
        image_token_id=processor.image_token_id,
        mask_codec={
            "grid": generator.choice([2, 5, 12, 24]),
            "dialect": generator.choice(["rsunivlm", "text4seg"]),
        },
        box_codec={"range": generator.choice([10, 100, 1000]), "decimals": generator.choice([0, 0, 1])},
    )
    return RSUniVLM(RSUniVLMForConditionalGeneration(config), processor)


def random_request(generator: random.Random) -> Request:
    """A question with a grammar about noise."""
    values = np.random.default_rng(generator.randrange(2**31)).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    pictures = [Image.fromarray(values)]
    words = random_labels(generator)
    about = f"{generator.choice(words)} {generator.random()}".replace("<", "")
    kind = generator.choice(["mask", "change", "boxes", "choices", "classes"])
    if kind == "choices":
        return Request(pictures, f"[VQA] {about}", choices=words)
    if kind == "classes":
        listed = ", ".join(words)
        return Request(
            pictures,
            f"[CLS] Choose the best category describe the image from: {listed}. Only output the category.",
            choices=words,
        )
    if kind == "boxes":
        return Request(pictures, f"[VG] {about}")
    return Request(pictures * (2 if kind == "change" else 1), f"[SEG] {about}", labels=words)


def random_labels(generator: random.Random) -> list[str]:
    """One to six labels that differ by more than spelling, some of them the beginning of another."""
    labels: dict[str, str] = {}
    for _ in range(generator.randrange(1, 7)):
        start = generator.choice([*labels.values(), "", ""])
        letters = generator.choice(ALPHABETS)
        label = (start + "".join(generator.choices(letters, k=generator.randrange(1, 9)))).strip()
        if label and label_fault(label) is None and normal_label(label) != "others":
            labels.setdefault(normal_label(label), label)
    return list(labels.values()) or ["building"]


if __name__ == "__main__":
    main()
