"""`FewThreads`: limits the threads of NumPy and PyTorch to what a small network has work for."""

from contextlib import ExitStack
from typing import Any

import lightning as L
import torch
from threadpoolctl import threadpool_limits


class FewThreads(L.Callback):
    """Limits NumPy and PyTorch to `threads` threads each while a trainer runs."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._limits = ExitStack()

    def setup(self, *_: Any, **__: Any) -> None:
        self._limits.callback(torch.set_num_threads, torch.get_num_threads())
        self._limits.enter_context(threadpool_limits(self.threads, user_api="blas"))
        torch.set_num_threads(self.threads)

    def teardown(self, *_: Any, **__: Any) -> None:
        self._limits.close()

    on_exception = teardown
