"""Export of an expert's language model alone, as stock `Qwen2ForCausalLM`.

Every serving engine knows Qwen2. It answers about images when the embeddings of the prompt come from our
vision tower and connector (vLLM calls this prompt embeds), so this layout serves any model of ours, also
those that stock LLaVA classes cannot express.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from transformers import AutoTokenizer, GenerationConfig, Qwen2Config

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
    _warn_of_other_tokens(processor, folder)


def _warn_of_other_tokens(processor: RSUniVLMProcessor, folder: Path) -> None:
    """Say so where stock code splits text otherwise than we do.

    transformers reads the tokenizer of any `qwen2` folder as Qwen2's own and puts Qwen2's rules for splitting
    text in the place of the file's. Token ids and answers are not touched by that.
    """
    stock = AutoTokenizer.from_pretrained(folder)
    probes = [f"{token} 24 parks, [7, 31, 58, 100]\n" for token in processor.task_granularity]
    if any(stock.encode(text) != processor.tokenizer.encode(text) for text in probes):
        logger.warning(
            "%s: stock code splits text with Qwen2's rules, this model was trained with others; send token "
            "ids or embeddings that our processor made, not text",
            folder.name,
        )


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
