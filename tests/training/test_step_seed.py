"""`StepSeed`: what the random numbers of a training step depend on."""

import itertools
from types import SimpleNamespace

import torch

from datamodules.random_numbers import random_bits
from zoo.training.callbacks.step_seed import StepSeed

BATCHES = 5


def seed_of(callback: StepSeed, epoch: int, batch: int, processes: int = 1, rank: int = 0) -> int:
    """Return what the callback seeds PyTorch's generator with before a batch."""
    trainer = SimpleNamespace(
        current_epoch=epoch,
        num_training_batches=BATCHES,
        world_size=processes,
        global_rank=rank,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    callback.on_train_batch_start(trainer, None, None, batch)
    return torch.initial_seed()


def test_seeds_are_those_of_stream_2_and_all_different():
    """Stream 0 of `random_bits` belongs to the augmentation, and stream 1 to the order of an epoch."""
    seeds = []
    for seed, rank in itertools.product((0, 1), (0, 1)):
        callback = StepSeed(seed)
        for epoch, batch in itertools.product((0, 1, 2), range(BATCHES)):
            found = seed_of(callback, epoch, batch, processes=2, rank=rank)
            (expected,) = random_bits(seed, epoch, torch.tensor([2 * batch + rank]), stream=2)
            assert found % 2**64 == expected.item() % 2**64
            seeds.append(found)
    assert len(set(seeds)) == len(seeds) == 60


def test_a_resumed_run_goes_on_with_the_same_seeds():
    whole, resumed = StepSeed(7), StepSeed(7)
    seeds = {(epoch, batch): seed_of(whole, epoch, batch) for epoch in (0, 1) for batch in range(BATCHES)}
    assert [seed_of(resumed, 1, batch) for batch in (3, 4)] == [seeds[1, 3], seeds[1, 4]]


def test_a_loader_of_unknown_length():
    """More batches than the trainer expects have seeds, too."""
    assert seed_of(StepSeed(0), 0, BATCHES + 2) % 2**64 == random_bits(0, 0, torch.tensor([7]), 2).item() % 2**64
