"""From a plan to tensors: every foreign tensor has a place or a reason, every tensor of ours a source.

What has neither ends a conversion with its name, before anything is written.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rsunivlm.models.checkpoints.files import StoredTensor
from rsunivlm.models.checkpoints.parts import TEXT, VISION, Part, element_range
from rsunivlm.models.checkpoints.plan import Plan
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.tasks import Granularity

EMBEDDING, HEAD = f"{TEXT}.embed_tokens.weight", "lm_head.weight"
_NETWORKS = (".mlp.gate_up_proj", ".mlp.down_proj")


def tie_head(plan: Plan, tensors: Mapping[str, StoredTensor]) -> None:
    """Whether head and word embedding are one: where the head is absent, or an equal copy."""
    places = {part.ours: part for part in plan.parts}
    head = places[HEAD]
    tied = head.foreign not in tensors
    if not tied and _equal(tensors[head.foreign], tensors[places[EMBEDDING].foreign]):
        tied = True
        plan.unused = {**plan.unused, re.escape(head.foreign): "equal to the word embedding; they stay tied"}
    if tied:
        plan.parts.remove(head)
    plan.config.tie_word_embeddings = plan.config.text_config.tie_word_embeddings = tied


def _equal(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    pairs = zip(one.chunks(), other.chunks(), strict=True)
    return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in pairs)


def copy_to_experts(plan: Plan) -> None:
    """Begin each expert as a copy of the dense network, as `upcycling.upcycle` does."""
    if plan.config.num_experts > 1:
        raise ValueError(f"the checkpoint has {plan.config.num_experts} experts already; leave out --upcycle")
    plan.config.text_config.num_experts = len(Granularity)
    plan.parts += [
        dataclasses.replace(part, index=(expert, *part.index[1:]))
        for expert in range(1, len(Granularity))
        for part in plan.parts
        if part.ours.endswith(_NETWORKS)
    ]


def left_out(plan: Plan, source: Source) -> dict[str, str]:
    """Foreign tensors without a place, with the reason why none is needed."""
    taken = {part.foreign for part in plan.parts}
    reasons = [(re.compile(pattern), reason) for pattern, reason in plan.unused.items()]
    unused, unknown = {}, []
    for name in source.tensors:
        if name in taken:
            continue
        reason = next((reason for pattern, reason in reasons if pattern.fullmatch(name)), None)
        if reason is None:
            unknown.append(name)
        else:
            unused[name] = reason
    if unknown:
        raise ValueError(
            f"{source} holds {len(unknown)} tensors that the model has no place for: {_listed(unknown)}; "
            "it is another architecture"
        )
    return unused


def match_shapes(
    plan: Plan, source: Source, model: RSUniVLMForConditionalGeneration, rows: int
) -> tuple[dict[str, Tensor], list[str]]:
    """Check that the parts fill our tensors, shape by shape.

    Args:
        plan: Its parts lose those that the source may lack and does; those of vocabulary tensors with new
            rows are narrowed to the source's rows.
        source: The foreign tensors.
        model: Ours, on the meta device.
        rows: Of the source's vocabulary.

    Returns:
        Our tensors by name, and which of them begin fresh.
    """
    tied = set(model.all_tied_weights_keys) if plan.config.tie_word_embeddings else set()
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    missing, wrong, parts = [], [], []
    filled: dict[str, int] = defaultdict(int)
    for part in plan.parts:
        if part.foreign not in source.tensors:
            if not part.optional:
                missing.append(part.foreign)
            continue
        if part.ours in (EMBEDDING, HEAD):
            part = Part(part.ours, (slice(0, rows),), part.foreign)
            filled[part.ours] += wanted[part.ours][rows:].numel()
        shape = element_range(wanted[part.ours].shape, part.index)[1]
        if shape != source.tensors[part.foreign].shape:
            wrong.append(f"{part.foreign} {source.tensors[part.foreign].shape}, not {shape}")
        filled[part.ours] += math.prod(shape)
        parts.append(part)
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} tensors: {_listed(missing)}; copy the checkpoint again"
        )
    if wrong:
        raise ValueError(f"{source} has {len(wrong)} tensors of the wrong shape: {_listed(wrong)}")
    plan.parts = parts
    empty = [name for name, tensor in wanted.items() if filled[name] != tensor.numel()]
    allowed = plan.fresh | {f"{VISION}.norm.weight", f"{VISION}.norm.bias"}
    if unfilled := [name for name in empty if name not in allowed]:
        raise ValueError(f"{source} gives nothing for {_listed(unfilled)}; it is another architecture")
    return wanted, empty


def choose_types(
    parts: Sequence[Part],
    stored: Mapping[str, StoredTensor],
    wanted: Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """Our tensors, on the meta device, in the type of what goes into them; fresh ones in the embedding's."""
    types: dict[str, torch.dtype] = {}
    for part in parts:
        found = stored[part.foreign].dtype
        if not found.is_floating_point:
            raise ValueError(f"{stored[part.foreign].file}: {part.foreign} holds integers, not weights")
        types[part.ours] = torch.promote_types(types.get(part.ours, found), found)
    if dtype is not None:
        types = dict.fromkeys(types, dtype)
    default = types[EMBEDDING]
    return {name: tensor.to(types.get(name, default)) for name, tensor in wanted.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
