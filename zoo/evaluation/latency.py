"""How fast a model classifies: many images at once, and a single one."""

import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.evaluation.stopwatch import Stopwatch
from zoo.trained import inference

TURNS = {"batch": 7, "single": 100}  # of which the median counts
WARM_UP = 3  # turns that do not count


class Latency(NamedTuple):
    """Medians of several turns.

    Attributes:
        images_per_second: in batches of `zoo.trained.inference.BATCH_SIZE` images.
        milliseconds: for one image alone.
        hardware: that it was measured on; of a CPU, with how many threads.
    """

    images_per_second: float
    milliseconds: float
    hardware: str


def measure(model: Classifier, images: np.ndarray) -> Latency:
    """Measure how long a model takes, normalization included.

    Args:
        model: on any device, in whose memory the images then lie.
        images: uint8 (n, 3, 32, 32), at least one.
    """
    many = torch.from_numpy(images[np.arange(inference.BATCH_SIZE) % len(images)]).to(model.device)
    watch = Stopwatch()
    with inference.evaluating(model), torch.inference_mode():
        _time(watch, "batch", model, many)
        _time(watch, "single", model, many[:1])
    seconds = watch.median("batch"), watch.median("single")
    return Latency(len(many) / seconds[0], 1000 * seconds[1], _hardware(model))


def _time(watch: Stopwatch, name: str, model: Classifier, images: Tensor) -> None:
    def run() -> None:
        model(images)
        devices.synchronize(images.device)

    for _ in range(WARM_UP):
        run()
    for _ in range(TURNS[name]):
        watch.time(name, run)


def _hardware(model: Classifier) -> str:
    if model.device.type != "cpu":
        return devices.name(model.device)
    return f"{_processor()}, {_threads(model)}"


def _threads(model: Classifier) -> str:
    """Return the threads of what computes."""
    found = torch.get_num_threads()
    if isinstance(model, NumPyClassifier):
        found = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    return f"{found} thread{'s' * (found > 1)}"


def _processor() -> str:
    """Return the name of the processor; its family where the system does not tell more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
