"""The processes of a run on one machine: the first one starts and watches the others, and each watches the first.

Lightning's own launcher ends the first process by SIGKILL if another one fails, and ends no process if the first one is
gone. If LOCAL_RANK is set, Lightning leaves the processes to the program that set it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only

from datamodules.errors import InputError, RunError, one_line, printable
from zoo.core import devices, installation
from zoo.core.signals import ENDING, Stopped

COMMAND = Path(__file__).resolve().parents[2] / "cli.py"
FIRST = "CIFAR10_ZOO_FIRST_PROCESS"  # environment variable: the process that started this one here
LOOK_EVERY = 0.2  # seconds
GRACE = 5.0  # seconds in which the main thread may notice by itself that another process has ended


class Lost(Exception):
    """Another process of the run ended early; the message says which, and how."""


def end_with_first() -> None:
    """End this process when the first process of its run ends."""
    first = os.environ.get(FIRST)
    if first is None:
        return

    def watch() -> None:
        while os.getppid() == int(first):
            time.sleep(LOOK_EVERY)
        os._exit(1)  # the main thread may wait for other processes forever

    threading.Thread(target=watch, name="watch-first-process", daemon=True).start()


def check(trainer: L.Trainer, options: Any) -> None:
    """Check the options of a trainer that concern several processes, before it runs.

    A strategy that uses multiprocessing is refused, because a run's callbacks cannot be pickled.
    """
    if devices.uses_multiprocessing(trainer):
        name = options.strategy if isinstance(options.strategy, str) else type(options.strategy).__name__
        hint = "use --trainer.strategy=ddp"
        raise InputError(f"--trainer.strategy={name} uses multiprocessing, which is not supported: {hint}")
    environment = getattr(trainer.strategy, "cluster_environment", None)
    is_launched = {"MASTER_ADDR", "NODE_RANK", "GROUP_RANK"} & os.environ.keys()
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and not is_launched:
        raise InputError(
            f"--trainer.num_nodes={trainer.num_nodes}: no launcher has started this process on every node: "
            "use torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each node"
        )
    if options.sync_batchnorm and trainer.strategy.root_device.type == "cpu":
        raise InputError("--trainer.sync_batchnorm=true needs GPUs: leave it out")
    if trainer.world_size > 1:
        installation.check_port()


def is_first() -> bool:
    """Whether this is the first or only process of a run."""
    return getattr(rank_zero_only, "rank", 0) == 0


@rank_zero_only
def say(text: str) -> None:
    """Print a line, in the first process of a run."""
    print(printable(text), flush=True)


@contextlib.contextmanager
def launched(
    trainer: L.Trainer, argv: Sequence[str], explain: Callable[[BaseException], RunError | None]
) -> Iterator[None]:
    """Start the other processes of a trainer with the command line `argv`, unless another launcher starts them.

    Raises:
        Lost, Stopped: if another process, or a signal to it, ended the run. `explain` returns the message for either.
    """
    launcher: Any = trainer.strategy.launcher
    environment: Any = getattr(launcher, "cluster_environment", None)
    is_ours = environment is not None and not environment.creates_processes_externally and launcher.num_processes > 1
    others: list[subprocess.Popen] = []
    variables: dict[str, str] = {}
    if is_ours:
        variables = {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "WORLD_SIZE": str(launcher.num_processes * launcher.num_nodes),
            "LOCAL_RANK": "0",
        }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    watch = _Watch(others, explain)
    try:
        for rank in range(1, launcher.num_processes if is_ours else 0):
            own = {"LOCAL_RANK": str(rank), FIRST: str(os.getpid())}
            others.append(subprocess.Popen([sys.executable, str(COMMAND), *argv], env=os.environ | own))
        watch.start()
        yield
        watch.end()
        for process in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
    except RuntimeError as error:
        watch.end()
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        unknown = Lost("another process of the run has ended or cannot be reached")
        raise watch.failure(GRACE) or unknown from error
    finally:
        watch.end()
        for process in others:
            process.kill()
            process.wait()
        if not is_ours and (kill := getattr(launcher, "kill", None)) is not None:
            kill(signal.SIGKILL)  # for a strategy that starts its processes itself
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Watch(threading.Thread):
    """Ends this process with one line if it waits for another process that has ended.

    The main thread notices a broken connection by itself, but may wait for minutes on a GPU.
    """

    def __init__(self, others: list[subprocess.Popen], explain: Callable[[BaseException], RunError | None]) -> None:
        super().__init__(name="watch-other-processes", daemon=True)
        self._others, self._explain = others, explain
        self._ended = threading.Event()

    def start(self) -> None:
        if self._others:
            super().start()

    def end(self) -> None:
        self._ended.set()

    def failure(self, wait: float = 0) -> BaseException | None:
        """Return the error that ended another process, or that ends one in the next `wait` seconds; else None."""
        until = time.monotonic() + wait
        while self._others:
            for rank, process in enumerate(self._others, start=1):
                if process.poll():
                    return _failure(f"process {rank + 1} of {len(self._others) + 1}", process.returncode)
            if time.monotonic() >= until:
                break
            time.sleep(LOOK_EVERY)
        return None

    def run(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            failure = self.failure()
            if failure is not None and not self._ended.wait(GRACE):
                error = self._explain(failure)
                assert error is not None
                print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
                for process in self._others:
                    process.kill()
                os._exit(error.exit_code)


def _failure(process: str, code: int) -> BaseException:
    number = -code if code < 0 else code - 128
    if number in ENDING:  # this process got the signal too, for example by Ctrl-C, and could not handle it
        return Stopped(number)
    if code < 0:
        return Lost(f"{process} was ended by {signal.Signals(-code).name}")
    return Lost(f"{process} ended with exit code {code}; see its messages above")
