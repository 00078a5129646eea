"""Export of an expert's language model alone, as stock `Qwen2ForCausalLM`.

Every serving engine knows Qwen2. It answers about images when the embeddings of the prompt come from our
vision tower and connector (vLLM calls this prompt embeds), so this layout serves any model of ours, also
those that stock LLaVA classes cannot express.
"""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2Tokenizer

from rsunivlm.models.checkpoints.parts import qwen2_parts
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.targets.weights import write_parts
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

logger = logging.getLogger(__name__)


def write_qwen2(view: DenseView, processor: RSUniVLMProcessor, folder: Path) -> None:
    """Write weights, configuration, tokenizer, chat template and generation settings into a folder."""
    dtype = write_parts(view, qwen2_parts("model.", view.config), folder)
    config = qwen2_config(view.config)
    config.dtype, config.architectures = dtype, ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.chat_template = processor.chat_template
    tokenizer.save_pretrained(folder)
    generation_config(processor).save_pretrained(folder)
    # transformers reads the tokenizer of any `qwen2` folder as Qwen2's own, whatever the file says.
    if not splits_text_as_qwen2(tokenizer):
        logger.warning(
            "%s: stock code splits text by Qwen2's rules, this model was trained with others; send token "
            "ids or embeddings that our processor made, not text",
            folder.name,
        )


def splits_text_as_qwen2(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer splits text by Qwen2's rules; those are code in other engines, not data."""
    return _split_rules(tokenizer) == _split_rules(Qwen2Tokenizer())


def _split_rules(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    rules = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    return [step.get("pattern") for step in rules.get("pretokenizers", [rules])]


def qwen2_config(config: RSUniVLMConfig) -> Qwen2Config:
    """The stock configuration of our language model; the experts' fields have no place in it."""
    stock = Qwen2Config().to_dict().keys() - {"model_type", "architectures", "transformers_version", "dtype"}
    fields = {name: value for name, value in config.text_config.to_dict().items() if name in stock}
    fields |= {"tie_word_embeddings": config.tie_word_embeddings, "use_cache": True}
    return Qwen2Config(**fields)


def generation_config(processor: RSUniVLMProcessor) -> GenerationConfig:
    """Greedy decoding up to the end of the answer, as our predictor decodes."""
    return GenerationConfig(
        do_sample=False, eos_token_id=processor.end_token_id, pad_token_id=processor.tokenizer.pad_token_id
    )
