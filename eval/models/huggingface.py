"""Models of others: any image-text-to-text model of transformers, asked through its own chat template.

Only code of the transformers package runs (no ``trust_remote_code``) and only safetensors are read. Answers
are plain greedy: what a checkpoint's generation settings say about sampling or repetition is put aside, or
two models would be asked by different rules. Boxes are read in the declared coordinate space
(`eval.models.coordinates`), masks in this project's notation with 24 x 24 cells; a model that cannot write
them has unreadable answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from eval.models.coordinates import PIXELS_OF_INPUT, codec_of, resized_by
from eval.models.identity import config_hash
from rsunivlm import RSUniVLMConfig  # noqa: F401  with it, transformers knows our own architecture too
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request, read_answer
from rsunivlm.inference.loading import weights_checksum
from rsunivlm.tasks import Task, route

if TYPE_CHECKING:
    from eval.models import Dialect


class ForeignAnswerer:
    """A model of transformers behind the face of `eval.tasks.Answerer`."""

    def __init__(self, model_id: str, model: Any, processor: Any, dialect: Dialect) -> None:
        self._id, self._model, self._processor, self._dialect = model_id, model.eval(), processor, dialect
        self.tasks = tuple(Task)
        self.mask_codec = MaskCodec()
        # Never used where no space is declared: then no task has boxes.
        self.box_codec, self._boxes = BoxCodec(), ""
        if dialect.coordinates is not None:
            resized = (
                resized_by(processor.image_processor) if dialect.coordinates == PIXELS_OF_INPUT else None
            )
            self.box_codec, self._boxes = codec_of(dialect.coordinates, resized)
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        own = model.generation_config
        self._ends = _ends(own.eos_token_id, tokenizer.eos_token_id)
        model.generation_config = transformers.GenerationConfig(
            do_sample=False,
            bos_token_id=own.bos_token_id,
            eos_token_id=self._ends,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
        )

    def describe(self) -> dict[str, Any]:
        """Name, hashes of configuration and weights, and how it was asked and read."""
        return {
            "id": self._id,
            "config_sha256": config_hash(self._model.config),
            "weights": weights_checksum(self._model),
            "coordinates": self._dialect.coordinates,
            "prompt_style": self._dialect.style.describe(),
        }

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """Answers in the order of the requests.

        Raises:
            ValueError: An image cannot be read.
        """
        answers = []
        for start in range(0, len(requests), batch_size):
            answers += self._answer(requests[start : start + batch_size], max_new_tokens)
        return answers

    @torch.inference_mode()
    def _answer(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        pictures = [[open_image(image) for image in request.images] for request in requests]
        routes = [
            route(request.prompt, num_images=len(request.images), task=request.task) for request in requests
        ]
        chats = []
        for request, images, chosen in zip(requests, pictures, routes, strict=True):
            words = self._dialect.style.prompt(
                request.prompt, chosen.task, request.labels, self._boxes, self.mask_codec
            )
            content = [{"type": "image", "image": image} for image in images]
            chats.append([{"role": "user", "content": [*content, {"type": "text", "text": words}]}])
        inputs = self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self._model.device, self._model.dtype)
        output_BL = self._model.generate(**inputs, max_new_tokens=max_new_tokens)
        if not self._model.config.is_encoder_decoder:
            output_BL = output_BL[:, inputs["input_ids"].shape[1] :]
        answers = []
        for row, request, images, chosen in zip(output_BL.tolist(), requests, pictures, routes, strict=True):
            text = self._processor.tokenizer.decode(row, skip_special_tokens=True)
            answers.append(
                read_answer(
                    text,
                    chosen,
                    images[-1].size,
                    box_codec=self.box_codec,
                    mask_codec=self.mask_codec,
                    labels=request.labels,
                    finished=any(token in self._ends for token in row),
                )
            )
        return answers


def load_foreign(
    name: str, dialect: Dialect, device: torch.device | None, dtype: torch.dtype | None
) -> ForeignAnswerer:
    """Load a model folder or hub id.

    Args:
        name: folder or hub id.
        dialect: how it is asked and read.
        device: by default the CPU.
        dtype: by default bfloat16 on a GPU, else float32.

    Raises:
        ValueError: It is no image-text-to-text model that transformers knows, lacks files, weights or a chat
            template, or its input has no one size and the declared coordinates need it.
    """
    if not Path(name).is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise ValueError(f"no model folder {name}, and it is no hub id of the form owner/name")
    if dtype is None:
        dtype = torch.bfloat16 if device is not None and device.type == "cuda" else torch.float32
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        processor = transformers.AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model, info = transformers.AutoModelForImageTextToText.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cannot load model {name}: {reason}") from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"model {name} lacks weights: {', '.join(missing[:8])}")
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ValueError(f"model {name} has no processor for images and text")
    if not processor.chat_template:
        raise ValueError(f"model {name} has no chat template, so nothing says how to ask it")
    model = model if device is None else model.to(device)
    return ForeignAnswerer(f"hf:{name}", model, processor, dialect)


def _ends(*given: int | list[int] | None) -> list[int]:
    """All tokens that end an answer."""
    ends: dict[int, None] = {}
    for tokens in given:
        ends |= dict.fromkeys(tokens if isinstance(tokens, list) else [] if tokens is None else [tokens])
    return list(ends)
