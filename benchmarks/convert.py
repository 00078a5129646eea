"""Time and memory of `rsunivlm convert` on a checkpoint of the published size in the official layout.

    python benchmarks/convert.py --folder /tmp              # needs 7 GB there, and removes what it made
    python benchmarks/convert.py --layers 2 --folder /tmp   # a smaller one, to try the script

The checkpoint is random, bf16, three experts, with the copy of the head that the release carries (3.3 GB in
three shards); it is made and converted by processes of their own, so that their memory is theirs alone. The
peak is that of the converting process: all resident memory (`ru_maxrss`), and of it what no file backs
(`RssAnon`, sampled every 20 ms). The bound is 1.3 times the largest shard. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "playground/checkpoints/nano"
ROWS = 151_647
BOUND = 1.3


def main() -> None:
    """Make, convert, report; or (as the first process) make."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--shard-size", default="1.3GB", help="of the source (default 1.3GB)")
    parser.add_argument("--layers", type=int, default=24, help="of the language model (default 24)")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make is not None:
        make(args.make, args.layers, args.shard_size)
        return
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="convert-") as name:
        source, target = Path(name, "source"), Path(name, "target")
        sizes = ["--layers", str(args.layers), "--shard-size", args.shard_size]
        subprocess.run([sys.executable, __file__, "--make", str(source), *sizes], check=True, env=_here())
        largest = max(file.stat().st_size for file in source.glob("*.safetensors"))
        stored = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        command = [sys.executable, "-m", "rsunivlm.cli", "convert", str(source), str(target)]
        seconds, peak, anonymous = run([*command, "--tokenizer", str(TOKENIZER)])
        report = json.loads((target / "conversion.json").read_text(encoding="utf-8"))
    figures = {
        "parameters": report["parameters"],
        "source_gb": round(stored / 1e9, 2),
        "largest_shard_gb": round(largest / 1e9, 2),
        "seconds": round(seconds, 1),
        "peak_gb": round(peak / 1e9, 2),
        "peak_anonymous_gb": round(anonymous / 1e9, 2),
        "bound_gb": round(BOUND * largest / 1e9, 2),
        "within_bound": peak <= BOUND * largest,
    }
    print(json.dumps({"benchmark": "convert", **figures}))


def run(command: list[str]) -> tuple[float, int, int]:
    """Run a process; returns its seconds, its peak of resident bytes, and of those that no file backs."""
    begin, anonymous = time.perf_counter(), 0
    process = subprocess.Popen(command, env=_here())
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        anonymous = max(anonymous, int(fields.get("RssAnon", "0").split()[0]) * 1024)
        time.sleep(0.02)
    if status:
        raise SystemExit(f"the conversion ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024, anonymous


def make(folder: Path, layers: int, shard_size: str) -> None:
    """Write a random checkpoint in the official layout."""
    import torch

    from rsunivlm.models.checkpoints.parts import (
        element_range,
        newline_part,
        projector_parts,
        qwen2_parts,
        siglip_parts,
    )
    from rsunivlm.models.checkpoints.writing import ShardWriter
    from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration

    text = {"num_experts": 3, "vocab_size": ROWS, "num_hidden_layers": layers}
    config = RSUniVLMConfig(text_config=text, image_newline=True)
    with torch.device("meta"):
        ours = RSUniVLMForConditionalGeneration(config).state_dict()
        parts = [
            *siglip_parts("model.vision_tower.vision_tower.vision_model.", config),
            *projector_parts("model.mm_projector.0", "model.mm_projector.2"),
            *qwen2_parts("model.", config, expert=None),
            newline_part("model.image_newline"),
        ]
        shapes = {part.foreign: element_range(ours[part.ours].shape, part.index)[1] for part in parts}
        tensors = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    folder.mkdir()
    fields = {name: getattr(config.text_config, name) for name in ("num_attention_heads", "rms_norm_eps")}
    (folder / "config.json").write_text(
        json.dumps(fields | {"rope_theta": 1e6, "mm_patch_merge_type": "spatial_unpad"})
    )
    with ShardWriter(folder, tensors, shard_size) as writer:
        for name, tensor in tensors.items():
            # The head repeats the embedding, as in the release.
            torch.manual_seed(0 if name in ("lm_head.weight", "model.embed_tokens.weight") else len(name))
            writer.write(name, 0, torch.randn(tensor.numel(), dtype=torch.bfloat16))


def _here() -> dict[str, str]:
    """The environment, with this source tree first."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


if __name__ == "__main__":
    main()
