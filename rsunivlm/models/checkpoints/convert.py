"""Import: a checkpoint of another layout becomes one of ours, by copying ranges of bytes.

Everything is decided before anything is written: the layout from keys and shapes, the configuration, the
place of every tensor, and what is left out. What has no place, or no source, ends the conversion with its
name. Then the tensors are copied one after another, 16 MiB at a time, so that memory does not grow with the
checkpoint; the folder gets its name when all of it is on the disk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from rsunivlm.codecs.boxes import BoxCodec
from rsunivlm.codecs.masks import MaskCodec
from rsunivlm.models.checkpoints.files import StoredTensor
from rsunivlm.models.checkpoints.fresh import fresh_values
from rsunivlm.models.checkpoints.layouts import detect
from rsunivlm.models.checkpoints.matching import (
    EMBEDDING,
    choose_types,
    copy_to_experts,
    left_out,
    match_shapes,
    tie_head,
)
from rsunivlm.models.checkpoints.parts import Part, element_range
from rsunivlm.models.checkpoints.plan import Plan, Wishes
from rsunivlm.models.checkpoints.report import Report
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.checkpoints.vocabulary import fit_vocabulary, load_tokenizer
from rsunivlm.models.checkpoints.writing import ShardWriter, sync_to_disk
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

REPORT = "conversion.json"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Dtype = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class Options:
    """How to convert.

    Attributes:
        image_newline: Keep (or begin) the vector behind each image, or leave it out; None does as the source.
        dtype: Type of all weights; None keeps each as it is stored.
        upcycle: Turn a dense checkpoint into three equal experts.
        seed: Of what begins fresh.
        max_shard_size: Bytes, or text such as "5GB".
        tokenizer: Folder of the tokenizer; None takes it from the source.
    """

    image_newline: bool | None = None
    dtype: Dtype | None = None
    upcycle: bool = False
    seed: int = 0
    max_shard_size: int | str = "5GB"
    tokenizer: Path | None = None


def convert(
    sources: Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    options: Options = Options(),
    *,
    dry_run: bool = False,
) -> Report:
    """Convert a checkpoint of any known layout (see docs/checkpoints.md) into one of ours.

    Args:
        sources: One folder or weight file; for raw parts two, or one folder that holds the two.
        destination: Folder to make; must not exist.
        options: How.
        dry_run: Check everything, write nothing.

    Returns:
        What was done; also in the new folder as `conversion.json`.

    Raises:
        ValueError: A file is missing, damaged or malicious, the layout is unknown, a tensor is missing,
            unknown or of the wrong shape, or the destination cannot be written. Nothing is left behind.
    """
    target = Path(destination)
    if target.exists() and not dry_run:
        raise ValueError(f"{target} exists; remove it, or name another folder")
    source = Source([Path(path) for path in sources])
    layout = detect(source)
    plan = layout.plan(source, Wishes(image_newline=options.image_newline))
    embedding = next(part.foreign for part in plan.parts if part.ours == EMBEDDING)
    tokenizer_folder = options.tokenizer or source.tensors[embedding].file.parent
    tokenizer, added = load_tokenizer(tokenizer_folder)
    tie_head(plan, source.tensors)
    vocabulary = fit_vocabulary(plan.config, tokenizer, added=added)
    if options.upcycle:
        copy_to_experts(plan)
    unused = left_out(plan, source)
    with torch.device("meta"):
        model = RSUniVLMForConditionalGeneration(plan.config)
    # The released model's language, spelled out: the code's defaults may change, a checkpoint does not.
    plan.config.box_codec = plan.config.box_codec or BoxCodec().to_dict()
    plan.config.mask_codec = plan.config.mask_codec or MaskCodec().to_dict()
    wanted, fresh = match_shapes(plan, source, model, vocabulary.rows)
    dtype = DTYPES[options.dtype] if options.dtype else None
    tensors = choose_types(plan.parts, source.tensors, wanted, dtype)
    plan.config.dtype = tensors[EMBEDDING].dtype
    taken = {part.foreign for part in plan.parts}
    report = Report(
        layout=layout.name,
        sources=[path.resolve().name for path in source.paths],
        read=dict(Counter(source.tensors[name].file.name for name in taken)),
        num_experts=plan.config.num_experts,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())),
        image_newline=plan.config.image_newline,
        tied=plan.config.tie_word_embeddings,
        vocabulary=vocabulary,
        fresh=fresh,
        unused=unused,
        notes=plan.notes,
        bytes=sum(tensor.nbytes for tensor in tensors.values()),
        files=[],
    )
    if dry_run:
        return report
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a conversion that was killed
        partial.mkdir(parents=True)
        _check_space(partial, report.bytes)
        with ShardWriter(partial, tensors, options.max_shard_size) as writer:
            _copy(plan.parts, source.tensors, tensors, writer)
            for name, values in fresh_values(model, fresh, options.seed).items():
                writer.write(name, 0, values.flatten())
        report = dataclasses.replace(report, files=writer.file_names)
        _write_rest(partial, plan, tokenizer, report)
        os.replace(partial, target)
        sync_to_disk(target.parent)
    except OSError as error:
        raise ValueError(f"cannot write {target}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _copy(
    parts: Sequence[Part],
    stored: Mapping[str, StoredTensor],
    tensors: Mapping[str, Tensor],
    writer: ShardWriter,
) -> None:
    """Copy every foreign tensor, in the order of the files, to its places."""
    places = defaultdict(list)
    for part in parts:
        first, _ = element_range(tensors[part.ours].shape, part.index)
        places[part.foreign].append((part.ours, first))
    for name, tensor in stored.items():
        if name not in places:
            continue
        done = 0
        for chunk in tensor.chunks():
            for ours, first in places[name]:
                writer.write(ours, first + done, chunk)
            done += len(chunk)


def _write_rest(folder: Path, plan: Plan, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    """Configuration, processor, generation settings and the report; all synced to the disk."""
    plan.config.architectures = [RSUniVLMForConditionalGeneration.__name__]
    plan.config.save_pretrained(folder)
    GenerationConfig.from_model_config(plan.config).save_pretrained(folder)
    RSUniVLMProcessor.for_config(plan.config, tokenizer).save_pretrained(folder)
    (folder / REPORT).write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        sync_to_disk(path)
    sync_to_disk(folder)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(f"{folder.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed")
