"""The foreign layouts that are known. They are told apart by the tensors' names, never by a folder's.

A new layout is a file that offers a `Layout`, and an entry here.
"""

from __future__ import annotations

from rsunivlm.models.checkpoints.huggingface import HUGGINGFACE
from rsunivlm.models.checkpoints.official import OFFICIAL_DENSE, OFFICIAL_GMOE
from rsunivlm.models.checkpoints.parts import VISION
from rsunivlm.models.checkpoints.plan import Layout
from rsunivlm.models.checkpoints.raw import RAW
from rsunivlm.models.checkpoints.source import Source

# In the order in which they are asked: official dense would accept G-MoE, raw would accept all.
LAYOUTS = (OFFICIAL_GMOE, OFFICIAL_DENSE, HUGGINGFACE, RAW)


def detect(source: Source) -> Layout:
    """The layout of a source.

    Raises:
        ValueError: It is of none; says what was found.
    """
    if any(name.startswith(f"{VISION}.") for name in source.tensors):
        raise ValueError(f"{source} is a checkpoint of this project already; use it as it is")
    for layout in LAYOUTS:
        if layout.matches(source):
            return layout
    shown = ", ".join(list(source.tensors)[:4])
    raise ValueError(
        f"{source} is of no known layout (official RSUniVLM or LLaVA, Hugging Face LLaVA, or SigLIP with "
        f"Qwen2 as two sources); its tensors begin with {shown}"
    )
