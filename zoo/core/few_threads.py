"""`FewThreads`: limits the threads of NumPy and PyTorch to what a NumPy network has work for."""

from contextlib import ExitStack
from typing import Any, cast

import lightning as L
import torch
from threadpoolctl import threadpool_limits


class FewThreads(L.Callback):
    """Limits NumPy and PyTorch to `threads` threads each while a trainer runs; None does not limit them.

    The network's convolutions divide their images among as many threads as PyTorch had before, which are as many as
    there are cores, or fewer where several processes share them or OMP_NUM_THREADS says so.
    """

    def __init__(self, threads: int | None) -> None:
        self.threads = threads
        self._limits = ExitStack()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.threads is None:
            return
        cast(Any, pl_module).network.set_threads(torch.get_num_threads())
        self._limits.callback(torch.set_num_threads, torch.get_num_threads())
        self._limits.enter_context(threadpool_limits(self.threads, user_api="blas"))
        torch.set_num_threads(self.threads)

    def teardown(self, *_: Any, **__: Any) -> None:
        self._limits.close()

    on_exception = teardown
