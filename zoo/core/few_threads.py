"""`FewThreads`: limits the threads of NumPy and PyTorch to what a small network has work for."""

from typing import Any

import lightning as L
import torch
from threadpoolctl import threadpool_limits


class FewThreads(L.Callback):
    """Limits the threads of NumPy and PyTorch while a trainer runs.

    Args:
        threads: the limit for each of the two.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._before: tuple[Any, int] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set the limit."""
        self._before = (threadpool_limits(self.threads, user_api="blas"), torch.get_num_threads())
        torch.set_num_threads(self.threads)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lift the limit."""
        if self._before is not None:
            blas, threads = self._before
            blas.restore_original_limits()
            torch.set_num_threads(threads)
            self._before = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Lift the limit."""
        self.teardown(trainer, pl_module, "")
