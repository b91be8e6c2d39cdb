"""Keeps NumPy and PyTorch from more threads than a small network has work for."""

from typing import Any

import lightning as L
import torch
from threadpoolctl import threadpool_limits


class FewThreads(L.Callback):
    """Limits the threads of NumPy's and PyTorch's computations while a trainer runs.

    Args:
        threads: how many each may use.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._before: tuple[Any, int] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set the limit."""
        self._before = (threadpool_limits(self.threads, user_api="blas"), torch.get_num_threads())
        torch.set_num_threads(self.threads)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lift it."""
        self._lift()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Lift it."""
        self._lift()

    def _lift(self) -> None:
        if self._before is not None:
            blas, threads = self._before
            blas.restore_original_limits()
            torch.set_num_threads(threads)
            self._before = None
