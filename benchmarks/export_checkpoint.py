"""Time and memory of exporting a checkpoint of the published size (random weights, three experts).

    python benchmarks/export_checkpoint.py                               # bfloat16, stock LLaVA, all experts
    python benchmarks/export_checkpoint.py --format safetensors --granularity pixel --dtype float32

The command runs in a process of its own; its peak memory is what the system counts, and beside it stands the
peak of a process that only imports what the command does. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rsunivlm.models.checkpoints.writing import ShardWriter  # noqa: E402
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig  # noqa: E402
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration  # noqa: E402
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor  # noqa: E402

IMPORTS = "import rsunivlm.inference.loading, rsunivlm.models.checkpoints.export, timm"


def main() -> None:
    """Make a checkpoint, export it, print what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", default="llava-hf")
    parser.add_argument("--granularity", default="all")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--keep", type=Path, help="folder to work in (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsunivlm-export-") as scratch:
        folder = args.keep or Path(scratch)
        if not (folder / "ours").is_dir():
            make_checkpoint(folder / "ours", getattr(torch, args.dtype))
        peaks = [run(["-c", IMPORTS])[1]]
        options = ["--granularity", args.granularity, "--format", args.format]
        seconds, peak = run(
            ["-m", "rsunivlm.cli", "export", str(folder / "ours"), str(folder / "out"), *options]
        )
        result = {
            "format": args.format,
            "granularity": args.granularity,
            "dtype": args.dtype,
            "read_gb": size(folder / "ours"),
            "written_gb": size(folder / "out"),
            "seconds": round(seconds, 1),
            "peak_mb": round(peak / 1e6),
            "peak_of_imports_mb": round(peaks[0] / 1e6),
        }
    print(json.dumps(result))


def make_checkpoint(folder: Path, dtype: torch.dtype) -> None:
    """Write random weights of the published size with three experts, one tensor at a time."""
    config = RSUniVLMConfig(text_config={"num_experts": 3}, dtype=dtype)
    with torch.device("meta"):
        state = RSUniVLMForConditionalGeneration(config).to(dtype).state_dict()
    del state["lm_head.weight"]  # tied
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    with ShardWriter(folder, state) as writer:
        for name, tensor in state.items():
            is_norm = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "layernorm.weight"))
            values = torch.empty(tensor.numel(), dtype=dtype).normal_(std=0.02)
            writer.write(name, 0, values + 1 if is_norm else values)
    processor = RSUniVLMProcessor.from_pretrained(ROOT / "playground/checkpoints/nano")
    processor.image_processor.image_size = config.vision_config.image_size
    processor.num_image_tokens = config.num_image_tokens
    config.image_token_id = processor.image_token_id
    config.save_pretrained(folder)
    processor.save_pretrained(folder)


def run(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a Python process."""
    began = time.perf_counter()
    code = f"import resource, subprocess, sys; subprocess.run({[sys.executable, *arguments]!r}, check=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - began, int(done.stdout.split()[-1]) * 1024


def size(folder: Path) -> float:
    """Gigabytes in a folder."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9, 2)


if __name__ == "__main__":
    main()
