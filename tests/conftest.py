"""Fixtures for all tests: a tiny tokenizer, tiny models, the optional sample of real data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_ARCHIVES = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def rs_sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of one part of the real sample; skips, saying so, where the sample is absent."""
    unpacked = os.environ.get("RSUNIVLM_SAMPLE")
    target = tmp_path_factory.mktemp("rs_sample")

    def part(name: str) -> Path:
        if unpacked and (Path(unpacked) / name).is_dir():
            return Path(unpacked) / name
        script = SAMPLE_ARCHIVES / "unpack.sh"
        if not script.is_file():
            pytest.skip(
                f"the real sample ({name}) is not here; set RSUNIVLM_SAMPLE to its folder to run this test"
            )
        if not (target / name).is_dir():
            archive = "vhr10" if name == "vhr10_rsvg" else name
            subprocess.run(["bash", str(script), str(target), archive], check=True, capture_output=True)
        return target / name

    return part


@pytest.fixture(scope="session")
def tiny_tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of a few hundred tokens with the control tokens of the chat format."""
    from data_tools.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [
        "the red vehicle near the airplane",
        "others*4, building*2",
        "is there a ship in the image?",
    ] * 50
    train_tokenizer(texts, vocab_size=700, out=folder)
    return folder


@pytest.fixture(scope="session")
def tiny_processor(tiny_tokenizer_dir: Path):
    """Processor of the tiny models: 32 px images, 4 tokens each."""
    from transformers import AutoTokenizer

    from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer_dir)
    return RSUniVLMProcessor(RSUniVLMImageProcessor(image_size=32), tokenizer, num_image_tokens=4)


@pytest.fixture
def make_tiny_model(tiny_processor) -> Callable[..., object]:
    """Factory of random models of about 0.2 M parameters; keywords go to `RSUniVLMConfig`."""
    import torch

    from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.upcycling import upcycle

    def make(num_experts: int = 1, seed: int = 0, **fields):
        torch.manual_seed(seed)
        config = RSUniVLMConfig(
            vision_config=fields.pop("vision_config", None)
            or {
                "timm_model": "vit_tiny_patch16_224",
                "timm_args": {
                    "img_size": 32,
                    "embed_dim": 32,
                    "depth": 2,
                    "num_heads": 2,
                    "class_token": False,
                    "global_pool": "avg",
                },
                "feature_index": 1,
                "image_size": 32,
                "hidden_size": 32,
                "tokens_per_side": 2,
            },
            text_config={
                "vocab_size": len(tiny_processor.tokenizer),
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "initializer_range": 0.1,
                "max_position_embeddings": 4096,
                "pad_token_id": tiny_processor.tokenizer.pad_token_id,
                "bos_token_id": None,
                "eos_token_id": tiny_processor.end_token_id,
            },
            image_token_id=fields.pop("image_token_id", tiny_processor.image_token_id),
            mask_codec={"grid": 4},
            **fields,
        )
        model = RSUniVLMForConditionalGeneration(config).eval()
        if num_experts > 1:
            upcycle(model, num_experts)
            with torch.no_grad():  # make the experts differ, as after training
                for name, parameter in model.named_parameters():
                    if ".mlp." in name and "language_model" in name:
                        parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture
def int8_processor() -> None:
    """Skips, saying so, on a processor that cannot add int8 products exactly."""
    import torch

    from rsunivlm.models.rsunivlm.int8 import require_int8_processor

    try:
        require_int8_processor(torch.device("cpu"), torch.float32)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture
def tiny_checkpoint(make_tiny_model, tiny_processor, tmp_path: Path) -> Path:
    """A saved tiny checkpoint with three experts."""
    folder = tmp_path / "checkpoint"
    make_tiny_model(num_experts=3).save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


TINY_VIT = {
    "timm_model": "vit_tiny_patch16_224",
    "timm_args": {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "feature_index": 1,
    "image_size": 32,
    "hidden_size": 32,
    "tokens_per_side": 2,
    "prefix_tokens": 1,
}


@pytest.fixture
def make_tiny_rs_moe(tiny_tokenizer_dir: Path) -> Callable[..., tuple]:
    """Factory of random RS-MoE models of about 0.4 M parameters and their processors.

    Keywords go to `RSMoEConfig`; by default three experts, whose adapters differ as after training.
    """
    import torch
    from transformers import AutoTokenizer

    from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
    from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
    from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor

    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer_dir)

    def make(seed: int = 0, **fields):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = RSMoEConfig(
            **{
                "vision_config": TINY_VIT,
                "qformer_config": sizes
                | {"vocab_size": len(tokenizer), "max_position_embeddings": 160, "initializer_range": 0.3},
                "text_config": sizes
                | {
                    "model_type": "qwen2",
                    "vocab_size": len(tokenizer),
                    "num_key_value_heads": 1,
                    "initializer_range": 0.2,
                    "max_position_embeddings": 512,
                    "tie_word_embeddings": True,
                    "pad_token_id": tokenizer.pad_token_id,
                    "bos_token_id": None,
                    "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
                },
                "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
                "num_query_tokens": 4,
                "num_soft_tokens": 2,
                "soft_hidden_size": 16,
                "adapter_rank": 4,
                "adapter_alpha": 8.0,
            }
            | fields
        )
        model = RSMoEForConditionalGeneration(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".adapter_b_" in name:
                    parameter.normal_(std=0.3)
        return model, RSMoEProcessor.for_config(config, tokenizer)

    return make
