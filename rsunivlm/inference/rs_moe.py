"""The predictor of RS-MoE: captions by all experts together, questions by the language model of stage I.

An image is seen once. For a caption the router makes one prompt per expert, the experts write their drafts in
one batch, and the drafts become a caption, as the checkpoint's configuration says. What the paper leaves open
here is numbered as in docs/rs_moe.md: A1 router, A5 aggregation, A6 questions.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, ImageLike, Request
from rsunivlm.inference.drafting import Draft, write_drafts
from rsunivlm.inference.families import Predictor
from rsunivlm.inference.frontend import MAX_NEW_TOKENS_TEXT
from rsunivlm.inference.loading import load_rs_moe
from rsunivlm.inference.preparation import choose_route
from rsunivlm.inference.scheduler import DEFAULT_DECODING, Decoding
from rsunivlm.models.rs_moe.aggregation import best_of, concatenate, vote
from rsunivlm.models.rs_moe.experts import NO_EXPERT
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import ExpertRow, RSMoEProcessor
from rsunivlm.models.rs_moe.router import expert_prompts
from rsunivlm.tasks import IMAGE_MARK, Route, Task, without_token

if TYPE_CHECKING:
    from typing import Self

MAX_PROMPT_TOKENS = 64  # of a prompt that the language model writes for an expert


@dataclass
class _Asked:
    """A request on its way.

    Attributes:
        request: The question.
        route: Its task.
        instruction: The user's words without task token and image marks.
        limit: Most tokens of a draft; None for as many as usual.
        experts: Ids of the experts that answer, `NO_EXPERT` for the language model of stage I.
        prompts: What each of them is told.
        drafts: What each has written.
    """

    request: Request
    route: Route
    instruction: str
    limit: int | None
    experts: list[int]
    prompts: list[str]
    drafts: list[Draft] = field(default_factory=list)


class RSMoE(Predictor):
    """A loaded RS-MoE checkpoint that describes images and answers questions about them.

    Example:
        >>> model = RSMoE.from_pretrained("runs/rs_moe/stage2")
        >>> answer = model.ask("scene.png", "[CAP] Describe this image in detail.")
        >>> answer.text, answer.drafts["theme"]
    """

    tasks = (Task.CAP, Task.VQA)
    model: RSMoEForConditionalGeneration
    processor: RSMoEProcessor

    def __init__(self, model: RSMoEForConditionalGeneration, processor: RSMoEProcessor) -> None:
        """Take over a model."""
        self.model, self.processor = model.eval(), processor
        # It writes neither boxes nor masks; prompts of records are spelled with the defaults.
        self.box_codec, self.mask_codec = BoxCodec(), MaskCodec()

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """See `Predictor.from_pretrained`."""
        return cls(*load_rs_moe(checkpoint, device=device, dtype=dtype))

    def answer_batch(
        self,
        requests: Sequence[Request],
        *,
        batch_size: int = 16,
        max_new_tokens: int | None = None,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> list[Answer]:
        """See `Predictor.answer_batch`.

        `max_new_tokens` limits each draft. Captions and questions are free text, which no setting of
        `decoding` concerns.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        asked = [self._asked(request, max_new_tokens) for request in requests]
        answers: list[Answer] = []
        waiting = list(asked)
        while waiting:
            part = [waiting.pop(0)]
            rows = len(part[0].experts)
            while waiting and rows + len(waiting[0].experts) <= batch_size:
                rows += len(waiting[0].experts)
                part.append(waiting.pop(0))
            answers += self._answer(part)
        return answers

    def forget(self) -> None:
        """Nothing is kept from one call to the next."""

    def _asked(self, request: Request, max_new_tokens: int | None) -> _Asked:
        """Route a request and refuse what can be refused without opening its image.

        Raises:
            ValueError: See `Predictor.answer_batch`.
        """
        chosen = choose_route(request)
        if chosen.task not in self.tasks:
            raise ValueError(
                f"RS-MoE describes images and answers questions (cap, vqa), not task {chosen.task}: "
                f"{request.prompt!r}"
            )
        if len(request.images) != 1:
            raise ValueError(f"RS-MoE looks at one image, {len(request.images)} were given")
        for name in ("labels", "choices", "history"):
            if getattr(request, name):
                raise ValueError(f"RS-MoE writes free text about one image; it takes no {name}")
        instruction = without_token(request.prompt.replace(IMAGE_MARK, "").strip())
        experts, prompts = [NO_EXPERT], [instruction]
        config = self.model.config
        if config.num_experts and chosen.task is Task.CAP:
            experts, prompts = list(range(config.num_experts)), expert_prompts(config, instruction)
        elif config.num_experts and config.vqa != "stage1":
            experts, prompts = list(range(config.num_experts)), [instruction] * config.num_experts
        asked = _Asked(
            request, chosen, instruction, request.max_new_tokens or max_new_tokens, experts, prompts
        )
        for row in self._rows(asked):
            self._limit(asked, row)
        return asked

    def _answer(self, asked: Sequence[_Asked]) -> list[Answer]:
        """Answer requests together."""
        features = self._see(asked)
        config = self.model.config
        captions = [one for one in asked if one.route.task is Task.CAP and one.experts != [NO_EXPERT]]
        if captions and config.router == "generate":
            self._write_prompts(captions, features)
        self._write(asked, features)
        answers = {id(one): self._put_together(one) for one in asked}
        several = [one for one in captions if len(one.drafts) > 1]
        if several and config.aggregation == "fuse":
            answers |= self._fuse(several, features)
        return [answers[id(one)] for one in asked]

    @torch.inference_mode()
    def _see(self, asked: Sequence[_Asked]) -> dict[Hashable, Tensor]:
        """Vision features [S, C] of each distinct image."""
        shown = {_key(one.request.images[0]): one.request.images[0] for one in asked}
        pixels = self.processor.preprocess_images([open_image(image) for image in shown.values()])
        features = self.model.get_vision_features(pixels.to(self.model.device, self.model.dtype))
        return dict(zip(shown, features, strict=True))

    def _rows(self, one: _Asked) -> list[ExpertRow]:
        return [
            self.processor.encode_row(prompt, instruction=one.instruction, expert=expert)
            for expert, prompt in zip(one.experts, one.prompts, strict=True)
        ]

    def _limit(self, one: _Asked, row: ExpertRow) -> int:
        """Most tokens that may follow a row.

        Raises:
            ValueError: There is no room for any.
        """
        positions = int(self.model.config.text_config.max_position_embeddings)
        if len(row.input_ids) >= positions:
            raise ValueError(
                f"the prompt is too long: {len(row.input_ids)} tokens with its image, the model has "
                f"{positions} positions for prompt and answer"
            )
        return min(one.limit or MAX_NEW_TOKENS_TEXT, positions - len(row.input_ids))

    def _write(self, asked: Sequence[_Asked], features: dict[Hashable, Tensor]) -> None:
        """Fill in the drafts of requests, all rows together."""
        rows = [(one, row) for one in asked for row in self._rows(one)]
        seconds = [one.request.max_seconds for one in asked if one.request.max_seconds is not None]
        drafts = write_drafts(
            self.model,
            self.processor,
            [row for _, row in rows],
            torch.stack([features[_key(one.request.images[0])] for one, _ in rows]),
            [self._limit(one, row) for one, row in rows],
            min(seconds, default=None),
        )
        for one in asked:
            one.drafts = [drafts.pop(0) for _ in one.experts]

    def _write_prompts(self, asked: Sequence[_Asked], features: dict[Hashable, Tensor]) -> None:
        """Let the language model of stage I write the experts' prompts (router mode `generate`)."""
        template: str = self.model.config.generate_prompt
        meta = [
            _stage_one(one, template.format(instruction=one.instruction, prompt=prompt), MAX_PROMPT_TOKENS)
            for one in asked
            for prompt in one.prompts
        ]
        self._write(meta, features)
        for one in asked:
            # Where nothing came, the sub-task's own words stay.
            one.prompts = [meta.pop(0).drafts[0].text or prompt for prompt in one.prompts]

    def _fuse(self, asked: Sequence[_Asked], features: dict[Hashable, Tensor]) -> dict[int, Answer]:
        """Let the language model of stage I merge the drafts."""
        template: str = self.model.config.fuse_prompt
        merged = []
        for one in asked:
            notes = "\n".join(f"- {draft.text}" for draft in one.drafts if draft.text)
            prompt = template.format(instruction=one.instruction, drafts=notes)
            merged.append(_stage_one(one, prompt, one.limit))
        self._write(merged, features)
        return {
            id(one): self._as_answer(one, fused.drafts[0].text, [*one.drafts, fused.drafts[0]])
            for one, fused in zip(asked, merged, strict=True)
        }

    def _put_together(self, one: _Asked) -> Answer:
        if len(one.drafts) == 1:
            return self._as_answer(one, one.drafts[0].text, one.drafts)
        config = self.model.config
        way = config.vqa if one.route.task is Task.VQA else config.aggregation
        if way not in ("best", "vote"):
            return self._as_answer(one, concatenate([draft.text for draft in one.drafts]), one.drafts)
        drafts = [draft for draft in one.drafts if draft.text] or one.drafts  # an expert may be silent
        likelihoods = [draft.mean_log_prob for draft in drafts]
        if way == "best":
            chosen = drafts[best_of(likelihoods)]
        else:
            chosen = drafts[vote([draft.text for draft in drafts], likelihoods)]
        return self._as_answer(one, chosen.text, [chosen])

    def _as_answer(self, one: _Asked, text: str, used: Sequence[Draft]) -> Answer:
        names = list(self.model.config.subtasks)
        drafts = None
        if one.experts != [NO_EXPERT]:
            pairs = zip(one.experts, one.drafts, strict=True)
            drafts = {names[expert]: draft.text for expert, draft in pairs}
        return Answer(text, one.route, finished=all(draft.finished for draft in used), drafts=drafts)


def _stage_one(one: _Asked, prompt: str, limit: int | None) -> _Asked:
    """Another question about the same image, for the language model of stage I."""
    return _Asked(one.request, one.route, one.instruction, limit, [NO_EXPERT], [prompt])


def _key(image: ImageLike) -> Hashable:
    """What tells the images of a batch apart; two files are read twice though they be equal."""
    return id(image) if isinstance(image, Image.Image) else image
