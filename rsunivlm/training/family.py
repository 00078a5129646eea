"""What a training run has to ask a model family: everything else of a run is the same for all.

A family is made for one recipe. `rsunivlm.training.run` calls it in the order of its methods: settings first,
then processor and samples, then the model, so that whatever is wrong is found before anything large is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from rsunivlm.data.dataset import RunSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.chat import ChatProcessor
from rsunivlm.training.features import ImageEncoder
from rsunivlm.training.metrics import TrainingFlops
from rsunivlm.training.recipe import Recipe


class Family(ABC):
    """A model family under one recipe.

    Attributes:
        recipe: The run.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Check the recipe's settings as far as they need no data.

        Raises:
            ValueError: A setting does not fit the family or the stage; names it.
        """
        self.recipe = recipe

    @abstractmethod
    def read_start(self, folder: Path) -> PreTrainedConfig:
        """The configuration of a checkpoint to start from, once its files are checked.

        Raises:
            ValueError: It is missing, incomplete or of another family; names what and the mend.
        """

    @abstractmethod
    def load_processor(self) -> ChatProcessor:
        """The processor, after a check of the checkpoint that the run starts from.

        Raises:
            ValueError: The checkpoint or the description of the model is wrong; names what and the mend.
        """

    @abstractmethod
    def plan(self, mixture: Mixture, processor: Any, processes: int) -> RunSamples:
        """The samples of the run in order, all checked.

        The last step is filled from the plan of the next epoch, so that all steps weigh the same.

        Raises:
            ValueError: A record is unfit or too long; names it.
        """

    @abstractmethod
    def load_model(self, processor: Any) -> PreTrainedModel:
        """The model as the stage trains it, what is not trained frozen, in float32.

        Raises:
            ValueError: It is not what the stage starts from, or weights are missing.
        """

    @abstractmethod
    def collator(self, processor: Any) -> Callable[[Any], dict[str, Any]]:
        """Makes batches of the samples."""

    @abstractmethod
    def encoder(self, model: Any) -> ImageEncoder:
        """What makes the embeddings that `feature_cache` keeps."""

    @abstractmethod
    def flops(self, model: Any) -> TrainingFlops:
        """Operations of the model in training, as it stands."""

    def report(self, samples: RunSamples) -> dict[str, Any]:
        """What `training.json` says beside what it says of every run."""
        return {}

    def num_steps(self, samples_per_epoch: int, global_batch: int) -> int:
        """Optimizer steps of the run."""
        return self.recipe.max_steps or math.ceil(self.recipe.epochs * samples_per_epoch / global_batch)
