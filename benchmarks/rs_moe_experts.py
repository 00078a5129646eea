"""What decoding RS-MoE's experts in one batch saves over decoding them one after the other.

    python benchmarks/rs_moe_experts.py                  # bundled checkpoint
    python benchmarks/rs_moe_experts.py --size light     # rs_moe-light, random weights, bfloat16: 3 GB

Both ways write the same drafts of the same images with the same weights; they take turns, and the ratio is
the median over the turns. One after the other, each expert still decodes all images of the batch together.
Images are seen before, once for both. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from rsunivlm.images import open_image
from rsunivlm.inference.drafting import Draft, write_drafts
from rsunivlm.inference.loading import load_rs_moe, quiet_libraries
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.presets import preset
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
from rsunivlm.models.rs_moe.router import expert_prompts

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "playground/checkpoints/rsmoe-nano"
PICTURES = ROOT / "playground/benchmarks/mini/images/000"
INSTRUCTION = "Describe this image."


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("nano", "light"), default="nano")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4, 16], help="images of a batch")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of each draft (default 24)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    quiet_libraries()
    model, processor = load(arguments.size)
    # Drafts of one length, so that both ways decode as many tokens.
    model.generation_config.min_new_tokens = arguments.tokens
    where = {"threads": torch.get_num_threads(), "torch": torch.__version__, "dtype": str(model.dtype)}
    found = [
        compare(model, processor, count, arguments.tokens, arguments.repeats) for count in arguments.images
    ]
    for row in found:
        print(
            f"{row['images']:3d} images: one batch {row['together']:.2f} s, one after the other "
            f"{row['in_turn']:.2f} s, {row['ratio']:.2f} x"
        )
    print(json.dumps({"benchmark": "rs_moe_experts", "size": arguments.size, **where, "rows": found}))


def load(size: str) -> tuple[RSMoEForConditionalGeneration, RSMoEProcessor]:
    """The bundled model, or one of the preset's size with random weights."""
    model, processor = load_rs_moe(CHECKPOINT, device="cpu")
    if size == "nano":
        return model.eval(), processor
    config = preset("rs_moe-light")
    config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    config.text_config.pad_token_id = processor.tokenizer.pad_token_id
    torch.manual_seed(0)
    big = RSMoEForConditionalGeneration(config).to(torch.bfloat16).eval()
    return big, RSMoEProcessor.for_config(config, processor.tokenizer, processor.qformer_tokenizer)


def compare(
    model: RSMoEForConditionalGeneration, processor: RSMoEProcessor, images: int, tokens: int, repeats: int
) -> dict[str, Any]:
    """Median seconds of both ways, and their ratio.

    Raises:
        RuntimeError: They write different drafts.
    """
    paths = sorted(PICTURES.iterdir())[:images]
    pixels = processor.preprocess_images([open_image(path) for path in paths])
    with torch.inference_mode():
        features_NSC = model.get_vision_features(pixels.to(model.dtype))
    prompts = expert_prompts(model.config, INSTRUCTION)

    def write(experts: list[int]) -> list[Draft]:
        rows = [
            processor.encode_row(prompts[expert], instruction=INSTRUCTION, expert=expert)
            for expert in experts
            for _ in paths
        ]
        features_BSC = features_NSC.repeat(len(experts), 1, 1)
        return write_drafts(model, processor, rows, features_BSC, [tokens] * len(rows))

    def timed(groups: list[list[int]]) -> tuple[float, list[str]]:
        start = time.perf_counter()
        drafts = [draft.text for group in groups for draft in write(group)]
        return time.perf_counter() - start, drafts

    every = list(range(len(prompts)))
    together, in_turn = [every], [[expert] for expert in every]
    if timed(together)[1] != timed(in_turn)[1] and model.dtype == torch.float32:
        raise RuntimeError("the two ways write different drafts")
    pairs = [(timed(together)[0], timed(in_turn)[0]) for _ in range(repeats)]
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    return {"images": images, "together": first, "in_turn": second, "ratio": ratio, "repeats": repeats}


if __name__ == "__main__":
    main()
