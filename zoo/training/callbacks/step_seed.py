"""Random numbers within a training step as a function of the seed and the step."""

from typing import Any

import lightning as L
import torch

from datamodules.random_numbers import STEPS, random_bits
from zoo.core import devices


class StepSeed(L.Callback):
    """Seeds PyTorch's generator before every training batch, from (seed, epoch, batch, process).

    Dropout then draws the same numbers in a run that was interrupted and resumed, without saving the generator's state.
    """

    every_n_steps: int | None = None  # see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._epoch = -1
        self._seeds: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch != self._epoch or batch_idx >= len(self._seeds):
            self._epoch = trainer.current_epoch
            batches = torch.arange(max(batch_idx + 1, trainer.num_training_batches))
            numbers = batches * trainer.world_size + trainer.global_rank
            self._seeds = random_bits(self.seed, self._epoch, numbers, STEPS).tolist()
        devices.seed(trainer.strategy.root_device, self._seeds[batch_idx])
