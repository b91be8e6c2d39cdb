"""How fast a model classifies: many images at once, and a single one."""

import platform
import statistics
import time
import timeit
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.core.views import mean_logits
from zoo.trained import inference

TURNS = {"batch": 7, "single": 100}  # whose median is reported
WARM_UP = 3  # turns before those


class Latency(NamedTuple):
    """Medians of several turns."""

    images_per_second: float  # in batches of `zoo.trained.inference.BATCH_SIZE` images
    milliseconds: float  # for one image alone
    hardware: str  # name of the device; of a CPU, with the number of threads


def measure(model: Classifier, images: np.ndarray) -> Latency:
    """Measure a model, from pixels on its device to logits averaged over views, on images, uint8 (n, c, h, w)."""
    many = torch.from_numpy(images[np.arange(inference.BATCH_SIZE) % len(images)]).to(model.device)
    with inference.evaluating(model), torch.inference_mode():
        batch, single = _median_seconds("batch", model, many), _median_seconds("single", model, many[:1])
    return Latency(len(many) / batch, 1000 * single, _hardware(model))


def _median_seconds(name: str, model: Classifier, images: Tensor) -> float:
    def run() -> None:
        mean_logits(model, images, model.tta)
        devices.synchronize(images.device)

    for _ in range(WARM_UP):
        run()
    return statistics.median(timeit.repeat(run, timer=time.perf_counter, repeat=TURNS[name], number=1))


def _hardware(model: Classifier) -> str:
    if model.device.type != "cpu":
        return devices.name(model.device)
    threads = model.compute_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Return the name of the processor, or its family if the system knows no more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
