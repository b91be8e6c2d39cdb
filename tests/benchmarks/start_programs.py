"""The programs of `tests.benchmarks.start` beside the command line: functions, each called by a new Python.

They import what they need, and no more.
"""

import os
from typing import Any

import lightning as L


class EndAtFirstStep(L.Callback):
    """Ends the process after the first optimizer step, without what belongs to the end of a run."""

    def on_train_batch_end(self, *args: Any) -> None:
        """End it."""
        os._exit(0)


def plain_lightning_cli() -> None:
    """Run a LightningCLI in its own defaults, with the arguments of the process."""
    from lightning.pytorch.cli import LightningCLI

    from datamodules.cifar10 import CIFAR10DataModule
    from zoo.models.cnn import CNN

    LightningCLI(CNN, CIFAR10DataModule, save_config_callback=None)


def tiny_step() -> None:
    """Take one training step of a small convolution, and end the process."""
    import torch

    convolution = torch.nn.Conv2d(3, 8, 3)
    optimizer = torch.optim.AdamW(convolution.parameters())
    convolution(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    os._exit(0)  # to take down what was imported has a peak of its own, 0.1 GB, which is none of a fit's


def plain_script(
    model: str, folder: str, images: int, steps: int, batch_size: int, padding: int, eval_batch_size: int
) -> None:
    """Train a model's network in a bare loop, and evaluate it on one batch, with torchvision's images and transforms.

    Args:
        model: of `zoo.models.cnn`.
        folder: of CIFAR-10, or what looks like it.
        images: the first ones, that it learns from; it holds all 50,000.
        steps: of training, at most an epoch.
        batch_size: of a step.
        padding: of the random crops.
        eval_batch_size: of the evaluation.
    """
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    from datamodules.data_sets import CIFAR10
    from zoo.models import cnn

    class Unchecked(datasets.CIFAR10):
        """torchvision's, whose files may have other MD5 sums."""

        train_list = tuple((name, None) for name, _ in datasets.CIFAR10.train_list)
        test_list = tuple((name, None) for name, _ in datasets.CIFAR10.test_list)
        meta = datasets.CIFAR10.meta | {"md5": None}

    augmented = [transforms.RandomCrop(32, padding=padding), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*augmented, transforms.ToTensor(), transforms.Normalize(CIFAR10.mean, CIFAR10.std)])
    dataset: Subset[Any] = Subset(Unchecked(folder, transform=transform), range(images))
    network = getattr(cnn, model)().net
    optimizer = torch.optim.AdamW(network.parameters())
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True)
    for _, (inputs, labels) in zip(range(steps), loader, strict=False):
        loss = torch.nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        network(next(iter(DataLoader(dataset, eval_batch_size)))[0])
