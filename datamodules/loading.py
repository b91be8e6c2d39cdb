"""Load batches: a dataset in memory, the order of an epoch, and a loader that a checkpoint can resume."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import repeat
from threading import Thread
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.augmentation import Augmentation, augment
from datamodules.errors import InputError
from datamodules.mixing import Mixing, Partners
from datamodules.random_numbers import ORDER, random_bits

# Training images that are fetched at once, or one batch if that is more: 3 MB. With half of them, the policies take 10
# to 15 % longer: some of their operations then act on a few images at a time.
FETCHED_IMAGES = 1024
# On a GPU the number of kernels counts, about 40 for each fetch of any size, and hundreds with a policy: 50 MB.
FETCHED_ON_GPU = 16_384


class Batch(NamedTuple):
    """One batch of a data loader."""

    images: Tensor  # uint8 pixels (n, channels, side, side), in channels_last memory
    labels: Tensor  # int64 (n,)
    indices: Tensor  # int64 (n,), each sample's position in its split
    partners: Partners | None = None  # what the samples are mixed with, by mixup and CutMix

    def split(self, size: int) -> "Iterator[Batch]":
        """Return the batch in parts of `size` samples; the last one can be smaller."""
        partners: Iterable[Partners | None] = repeat(None)
        if self.partners is not None:
            partners = map(Partners._make, zip(*(tensor.split(size) for tensor in self.partners), strict=True))
        own = (tensor.split(size) for tensor in (self.images, self.labels, self.indices))
        return map(Batch._make, zip(*own, partners, strict=False))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in this thread alone: for milliseconds of work, waiting for others can take longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ImageDataset(Dataset[Batch]):
    """Images in memory as one uint8 tensor, fetched a whole batch at a time.

    Args:
        images: uint8 (n, side + 2p, side + 2p, channels), with the border p of `augmentation` (see `augmentation.pad`).
        labels: int64 (n,).
        indices: the samples' positions in their split, int64 (n,).
    """

    def __init__(
        self, images: Tensor, labels: Tensor, indices: Tensor, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.images, self.labels, self.indices = images, labels, indices
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0
        self._mixing: Mixing | None = None
        if augmentation is not None and augmentation.mixes_images:
            side = images.shape[1] - 2 * augmentation.crop_padding
            self._mixing = Mixing(augmentation.mixup, augmentation.cutmix, side)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def plain(self, n: int) -> Tensor:
        """Return the first n images without augmentation and border, uint8 (n, channels, side, side)."""
        border = self.augmentation.crop_padding if self.augmentation else 0
        end = self.images.shape[1] - border
        return self.images[:n, border:end, border:end].permute(0, 3, 1, 2)

    def to(self, device: torch.device) -> None:
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.indices = self.indices.to(device)
        if self._mixing is not None:
            self._mixing.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> Batch:
        return self.fetch(torch.tensor(positions, device=self.device))

    @_one_thread()
    def fetch(self, positions: Tensor) -> Batch:
        """Return the images at `positions`, int64 (n,), as a batch on the images' device."""
        batch, mixing = self._samples(positions), self._mixing
        if mixing is None:
            return batch
        partners, weights, boxes = mixing.draw(self.seed, self.epoch, batch.indices, len(self))
        images, labels, *_ = self._samples(partners)
        return batch._replace(partners=Partners(images, labels, weights, boxes))

    def _samples(self, positions: Tensor) -> Batch:
        indices = self.indices.index_select(0, positions)
        if self.augmentation:
            images = augment(self.images, positions, indices, self.augmentation, self.seed, self.epoch)
        else:
            images = self.images.index_select(0, positions)
        return Batch(images.permute(0, 3, 1, 2), self.labels.index_select(0, positions), indices)


class EpochSampler(DistributedSampler):
    """Shuffle by a hash of (seed, epoch), and tell the dataset which epoch it is.

    `DistributedSampler` adds seed and epoch, so the second epoch of seed 0 has the order of the first epoch of seed 1.
    Both samplers let the processes take turns, and repeat the first samples if the processes cannot share them evenly.
    """

    dataset: ImageDataset

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    @_one_thread()
    def order(self) -> Tensor:
        """Return the positions of this process's images in the epoch's order, int64 (n,), on the images' device."""
        positions = torch.arange(len(self.dataset), device=self.dataset.device)
        order = random_bits(self.seed, self.epoch, positions, ORDER).argsort()
        shared = order.repeat(-(-self.total_size // len(order)))[: self.total_size]
        return shared[self.rank :: self.num_replicas]

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.dataset.epoch = epoch


class TrainLoader(DataLoader[Batch]):
    """A `DataLoader` that a checkpoint can resume in the middle of an epoch.

    The loader fetches several batches at once: DataLoader's own work for each batch takes as long as the fetching. If
    PyTorch leaves a core free, a thread fetches the next batches during training. If a GPU holds the images, the loader
    never waits for it.
    """

    dataset: ImageDataset
    batch_size: int
    _batches = 0
    _resumed = 0

    def __iter__(self) -> Iterator[Batch]:
        self._batches, self._resumed = self._resumed, 0
        dataset, size, sampler = self.dataset, self.batch_size, self.sampler
        on_cpu = dataset.device.type == "cpu"
        order = sampler.order() if isinstance(sampler, EpochSampler) else torch.tensor([*sampler]).to(dataset.device)
        order = order[self._batches * size : len(self) * size]
        at_once = size * max(1, (FETCHED_IMAGES if on_cpu else FETCHED_ON_GPU) // size)
        blocks = (dataset.fetch(order[start : start + at_once]) for start in range(0, len(order), at_once))
        core_is_free = on_cpu and torch.get_num_threads() < (os.cpu_count() or 1)
        for block in _prefetched(blocks) if core_is_free else blocks:
            for batch in block.split(size):
                self._batches += 1
                yield batch

    def _order(self) -> dict[str, int]:
        """Return what the order of the batches depends on, without the epoch."""
        order = {"batch_size": self.batch_size, "images": len(self.dataset)}
        if isinstance(self.sampler, EpochSampler):  # Lightning's overfit_batches replaces it by a sequential sampler
            order |= {"seed": self.sampler.seed, "processes": self.sampler.num_replicas}
        return order

    def state_dict(self) -> dict[str, int]:
        return {"batches": self._batches, **self._order()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume after the batches that `state` counts; raise InputError if the loader's order is another one."""
        for name, value in self._order().items():
            if state.get(name, value) != value:
                raise InputError(
                    f"the checkpoint is of the middle of an epoch with {name} {state[name]}, and cannot go on with "
                    f"{value}: leave it as it was, or start from the end of an epoch"
                )
        self._resumed = state["batches"]


def _prefetched(blocks: Iterator[Batch]) -> Iterator[Batch]:
    """Yield blocks while a thread fetches the next one.

    Each block has a thread of its own: after an error in the loop, one thread for all would wait for ever.
    """
    following = _NextBlock(blocks)
    try:
        while (block := following.result()) is not None:
            following = _NextBlock(blocks)
            yield block
    finally:
        following.join()


class _NextBlock(Thread):
    """Fetches a block in a thread that starts at once."""

    def __init__(self, blocks: Iterator[Batch]) -> None:
        super().__init__(name="next-block")
        self._blocks, self._future = blocks, Future[Batch | None]()
        self.start()

    def run(self) -> None:
        try:
            self._future.set_result(next(self._blocks, None))
        except BaseException as error:
            self._future.set_exception(error)

    def result(self) -> Batch | None:
        """Return the block, or None at the end, once the thread has ended; or raise its error."""
        self.join()
        return self._future.result()
