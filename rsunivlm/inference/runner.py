"""Runs the model for the scheduler: images to embeddings, rows of new tokens to hidden states, scores.

What two questions share is computed once. The embeddings of an image are kept for the questions that follow,
and so are the keys and values of a prompt's beginning (system text and image, most of the prompt) or of a
whole conversation. These belong to one expert: behind the first layer's feed-forward network another expert's
differ, so they are never shared between experts.

Shapes: T new tokens of all rows, M wanted places among them, S tokens an image, D hidden, V vocabulary,
P positions, G key-value heads, K size of a head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rsunivlm.images import open_image
from rsunivlm.inference.answer import ImageLike
from rsunivlm.inference.compiled import by_expert, is_decoding, keep_addresses, padded_sizes, power_of_two
from rsunivlm.inference.prefixes import PrefixStore
from rsunivlm.models.rsunivlm.experts import ExpertDispatch
from rsunivlm.models.rsunivlm.feed_forward import Kept, plan_dispatch, plan_kept
from rsunivlm.models.rsunivlm.int8 import weight_rows
from rsunivlm.models.rsunivlm.row_attention import CachedRows, RowCache, Span
from rsunivlm.models.rsunivlm.token_moe import TokenRouting

if TYPE_CHECKING:
    from rsunivlm.inference.scheduler import Feed
    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

KEPT_IMAGES = 64  # embeddings of so many images stay
ENCODED_TOGETHER = 8
KEPT_HEADS = 64  # rows of the head for so many grammars


class ModelRunner:
    """The model with the cache of its rows."""

    def __init__(
        self,
        model: RSUniVLMForConditionalGeneration,
        processor: RSUniVLMProcessor,
        slots: int,
        images: OrderedDict[Hashable, tuple[Tensor, tuple[int, int]]],
        prefixes: PrefixStore,
        compiled: Callable[..., Any] | None = None,
    ) -> None:
        """Bind a model.

        Args:
            model: In memory.
            processor: Of the same checkpoint.
            slots: Rows at a time.
            images: Embeddings and sizes of the images that are known; outlives the runner, as do prefixes.
            prefixes: Beginnings that are known.
            compiled: Its language model, compiled (see `rsunivlm.inference.compiled`), for decoding passes.
        """
        self.model, self.processor = model, processor
        self.images, self.prefixes = images, prefixes
        self.text_config = model.config.text_config
        self.compiled = compiled
        # Compiled passes are padded; what pads them needs a slot, too.
        cache_slots = slots if compiled is None else slots + 1
        self.cache = RowCache(self.text_config, cache_slots, model.dtype, model.device)
        self._head_rows: OrderedDict[int, tuple[np.ndarray, Tensor]] = OrderedDict()

    def see(self, wanted: Iterable[tuple[Hashable, ImageLike]]) -> dict[Hashable, ValueError]:
        """Encode the images that are not known yet.

        Returns:
            The images that cannot be read, and why.
        """
        new, mistakes = {}, {}
        for key, image in wanted:
            if key in self.images:
                self.images.move_to_end(key)
            elif key not in new and key not in mistakes:
                try:
                    new[key] = open_image(image)
                except ValueError as error:
                    mistakes[key] = error
        pending = list(new.items())
        for start in range(0, len(pending), ENCODED_TOGETHER):
            part = pending[start : start + ENCODED_TOGETHER]
            pixels = self.processor.preprocess_images([picture for _, picture in part])
            pixels = pixels.to(self.model.device, self.model.dtype)
            embeds_nSD = self.model.get_image_features(pixels).pooler_output
            for (key, picture), embeds_SD in zip(part, embeds_nSD, strict=True):
                self.images[key] = embeds_SD, picture.size
        return mistakes

    def forget_images(self, needed: int) -> None:
        """Let the oldest embeddings go, all but the usual number or those in need."""
        while len(self.images) > max(KEPT_IMAGES, needed):
            self.images.popitem(last=False)

    def run(self, feeds: Sequence[Feed], places: Sequence[tuple[int, int]]) -> Tensor:
        """One pass.

        Args:
            feeds: New tokens of the rows, sorted by expert.
            places: Feed and token in it whose hidden states are wanted.

        Returns:
            Final hidden states [M, D].
        """
        capacity = self.cache.capacity
        self.cache.reserve(max(feed.start + len(feed.tokens) for feed in feeds))
        if self.compiled is None or not is_decoding(feeds):
            return self._pass(self.model.model.language_model, feeds, places)
        if self.cache.capacity != capacity:
            keep_addresses(self.cache)
        # Cloned: the next run of a recorded graph overwrites what this one gave.
        parts = [self._pass(self.compiled, *part, padded=True).clone() for part in by_expert(feeds, places)]
        return torch.cat(parts)

    def _pass(
        self,
        language_model: Callable[..., Any],
        feeds: Sequence[Feed],
        places: Sequence[tuple[int, int]],
        *,
        padded: bool = False,
    ) -> Tensor:
        config, device = self.text_config, self.model.device
        spans = [Span(feed.slot, feed.start, len(feed.tokens)) for feed in feeds]
        first = np.cumsum([0, *(span.count for span in spans)])
        ids = [token for feed in feeds for token in feed.tokens]
        positions = [position for s in spans for position in range(s.start, s.start + s.count)]
        wanted = [int(first[feed]) + token for feed, token in places]
        sizes = padded_sizes(spans) if padded else None
        if sizes is not None:
            for values, size in (
                (ids, sizes.tokens),
                (positions, sizes.tokens),
                (wanted, power_of_two(len(wanted))),
            ):
                values += [0] * (size - len(values))
        ids_T = torch.tensor(ids)
        embeds_TD = self.model.get_input_embeddings()(ids_T.to(device))
        images = [self.images[key][0] for feed in feeds for key in feed.images]
        if images:
            # Found on the host, so that nothing waits for the device.
            image_places = (ids_T == self.processor.image_token_id).nonzero()[:, 0]
            embeds_TD[image_places.to(device)] = torch.cat(images).to(embeds_TD.dtype)
        wanted_M = torch.tensor(wanted, dtype=torch.long).to(device)
        dispatch: ExpertDispatch | TokenRouting
        if padded and not config.num_routed_experts:
            dispatch = ExpertDispatch((), packed=True, only=feeds[0].expert)
            kept: Kept | None = Kept(wanted_M, dispatch)
        else:
            splits, kept_splits = [0] * config.num_experts, [0] * config.num_experts
            for feed in feeds:
                splits[feed.expert] += len(feed.tokens)
            for index, _ in places:
                kept_splits[feeds[index].expert] += 1
            dispatch = plan_dispatch(
                config,
                (1, len(ids)),
                device,
                expert_ids=None,
                expert_splits=tuple(splits),
                packed=True,
                attention_mask=None,
            )
            # Behind the last layer's attention only these are read: of a prompt one token, of its beginning
            # none.
            kept = plan_kept(config, wanted_M, kept_splits)
        hidden_1TD = language_model(
            inputs_embeds=embeds_TD[None],
            attention_mask={"full_attention": None},
            position_ids=torch.tensor(positions)[None].to(device),
            use_cache=False,
            expert_dispatch=dispatch,
            cached_rows=CachedRows(self.cache, spans, sizes=sizes),
            kept=kept,
        ).last_hidden_state
        hidden_MD = hidden_1TD[0] if kept is not None else hidden_1TD[0, wanted_M]
        return hidden_MD[: len(places)]

    def best_tokens(self, hidden_MD: Tensor) -> list[int]:
        """The token with the highest score at each place."""
        return self.model.lm_head(hidden_MD).argmax(-1).tolist() if len(hidden_MD) else []

    def scores(self, hidden_MD: Tensor, tokens: np.ndarray) -> np.ndarray:
        """Scores [M, n] of some tokens only: a small part of the head's work.

        Args:
            hidden_MD: Hidden states.
            tokens: Token ids; the same array object each time, its rows of the head are kept.
        """
        if id(tokens) not in self._head_rows:
            rows = torch.from_numpy(tokens).to(self.model.device)
            # With the array itself, so that its id stays taken.
            self._head_rows[id(tokens)] = tokens, weight_rows(self.model.lm_head, rows)
            if len(self._head_rows) > KEPT_HEADS:
                self._head_rows.popitem(last=False)
        return (hidden_MD @ self._head_rows[id(tokens)][1].T).float().cpu().numpy()
