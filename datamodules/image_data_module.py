"""`ImageDataModule`: images in memory, their split, augmentation and loaders. Every data module here is one."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.augmentation import Augmentation, Border, pad
from datamodules.checks import in_range, one_of
from datamodules.data_set import DataSet, Split, SplitName
from datamodules.download import fetch
from datamodules.errors import InputError
from datamodules.loading import Batch, EpochSampler, ImageDataset, TrainLoader
from datamodules.paths import default_data_dir, user_path

# A fixed seed: every run holds out the same images, so that results on `val` can be compared.
SPLIT_SEED = 10
COPIED_IMAGES = 1000  # images that `setup` copies at once: 3 MB
# Devices that do not hold the training images. Apple's GPUs share the computer's memory, and TPUs are slow at gathering
# single bytes.
NOT_HOLDING = ("cpu", "mps", "xla")

# Splits that the data modules of this context share, by what they were read from; None if each reads its own.
_SHARED: ContextVar[dict[Any, Split] | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def shared_reads(splits: dict[Any, Split]) -> Iterator[None]:
    """Let data modules take from `splits` what another one has read, so that several runs read their files once.

    Files that have changed since are read again. Of each split the last reading is kept.

    Args:
        splits: empty at first; what is read is added.
    """
    token = _SHARED.set(splits)
    try:
        yield
    finally:
        _SHARED.reset(token)


class ImageDataModule(L.LightningDataModule):
    """A data set as batches of uint8 pixels.

    Args:
        data_set: the data set. For the other arguments see `datamodules.cifar10.CIFAR10DataModule`.

    Attributes:
        train, val, test: the images of each stage; None before `setup`, or if the stage has no images.

    Raises:
        InputError: if an argument is out of its range or not one of its choices.
    """

    def __init__(
        self,
        data_set: DataSet,
        *,
        data_dir: str | None,
        task: str,
        batch_size: int,
        eval_batch_size: int,
        val_size: int,
        train_size: int | None,
        test_size: int | None,
        augmentation: Augmentation,
        drop_last: bool,
        verify_checksums: bool,
        download: bool,
        mirrors: list[str] | None,
        device: str,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.data_set = data_set
        self.data_dir = user_path(data_dir) if data_dir else default_data_dir()
        self.task = one_of("task", task, ("multiclass", "binary"))
        self.batch_size = in_range("batch_size", batch_size, 1)
        self.eval_batch_size = in_range("eval_batch_size", eval_batch_size, 1)
        self.val_size = in_range("val_size", val_size, 0)
        self.train_size = None if train_size is None else in_range("train_size", train_size, 1)
        self.test_size = None if test_size is None else in_range("test_size", test_size, 1)
        self.augmentation = augmentation.checked(data_set)
        self.device = one_of("device", device, ("auto", "cpu"))
        self.drop_last, self.verify_checksums = drop_last, verify_checksums
        self.download, self.mirrors = download, mirrors or []
        self.seed = seed or 0
        self.train: ImageDataset | None = None
        self.val: ImageDataset | None = None
        self.test: ImageDataset | None = None
        self._official = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the task's classes, in the order of the labels."""
        return self.data_set.task_classes(self.task)

    @property
    def source_name(self) -> str:
        """Name of the data beside every metric measured on it; known after `setup`."""
        return self.data_set.title_of(self._official)

    def describe(self) -> str:
        """Return a line with data set, task and sizes; call `setup` first."""
        sizes = [
            f"{len(dataset):,} {name}"
            for name, dataset in (("train", self.train), ("val", self.val), ("test", self.test))
            if dataset is not None
        ]
        if self.train is not None and self.val is None:
            sizes.append("no val (val_size 0: every image trains, and no checkpoint is selected)")
        return f"Data: {self.source_name}, {self.task}: {', '.join(sizes)}"

    def prepare_data(self) -> None:
        """Download the data set if it is missing. One process downloads, the others wait.

        Raises:
            InputError: if the data set is missing and cannot be downloaded.
        """
        data_set = self.data_set
        if data_set.find(self.data_dir) is not None:
            return
        advice = "name its place by --data.data_dir or CIFAR10_DIR, or try without it: --config synthetic"
        if data_set.archive:
            advice = f"put {data_set.folder}/ or {data_set.archive.name} there, {advice}"
        if not self.download or not data_set.archive:
            raise InputError(f"{data_set.missing(self.data_dir)}: {advice}")
        try:
            fetch(data_set, self.data_dir, self.mirrors)
        except InputError as error:
            raise InputError(f"{error}; or {advice}") from error

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images of a stage, once.

        Args:
            stage: "fit", "validate", "test", "predict", or None for all.

        Raises:
            InputError: see `DataSet.read`; or if a size exceeds the number of images.
        """
        if stage in ("fit", "validate", None) and self.train is None:
            wanted = self.train_size + self.val_size if self.train_size else None
            images, labels = self._read("train", wanted)
            order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
            if self.val_size + (self.train_size or 1) > len(order):
                sizes = f"--data.val_size={self.val_size}"
                if self.train_size:
                    sizes += f" and --data.train_size={self.train_size}"
                raise InputError(f"{sizes} ask for more than the {len(order):,} training images: lower them")
            held_out, rest = np.split(order, [self.val_size])
            self.train = self._dataset(images, labels, rest[: self.train_size], self.augmentation)
            self.val = self._dataset(images, labels, held_out) if self.val_size else None
        if stage in ("test", "predict", None) and self.test is None:
            images, labels = self._read("test", self.test_size)
            order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
            if (self.test_size or 1) > len(order):
                raise InputError(
                    f"--data.test_size={self.test_size} asks for more than the {len(order):,} test images: lower it"
                )
            self.test = self._dataset(images, labels, order[: self.test_size])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of its data: the name, the task, and the sizes of the splits."""
        sizes = {"val_size": self.val_size, "train_size": self.train_size, "test_size": self.test_size}
        return {"source": self.source_name, "task": self.task} | sizes

    def train_dataloader(self) -> DataLoader:
        """Return batches of the training images in an order set by (seed, epoch)."""
        assert self.train is not None, "call setup('fit') first"
        self.train.to(self._train_device())
        ranks, rank = self._processes()
        sampler = EpochSampler(self.train, num_replicas=ranks, rank=rank, seed=self.seed)
        # No worker processes: gathering a batch from memory is cheaper than passing it through shared memory.
        # No pinned memory: a batch of bytes is too small to gain from it.
        # Keyword arguments, because Lightning rebuilds some loaders from the arguments that it finds.
        return TrainLoader(
            dataset=self.train,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=self.drop_last,
            collate_fn=_whole_batch,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Return batches of the held-out images; an empty list if `val_size` is 0."""
        return [] if self.val is None else self._evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader:
        """Return batches of the test images."""
        assert self.test is not None, "call setup('test') first"
        return self._evaluation_loader(self.test)

    def predict_dataloader(self) -> DataLoader:
        """Return batches of the test images."""
        return self.test_dataloader()

    def _read(self, split: SplitName, wanted: int | None) -> tuple[np.ndarray, np.ndarray]:
        shared = _SHARED.get()
        files = _state(self.data_set.find(self.data_dir)) if shared is not None else ()
        key = (split, self.data_set.name, files, self.verify_checksums, wanted)
        if shared is None or key not in shared:
            read = self.data_set.read(self.data_dir, split, verify_checksums=self.verify_checksums, wanted=wanted)
            if shared is not None:
                for old in [old for old in shared if old[0] == split]:
                    del shared[old]
                shared[key] = read
        images, labels, official = read if shared is None else shared[key]
        self._official &= official
        return images, labels

    def _dataset(
        self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, augmentation: Augmentation | None = None
    ) -> ImageDataset:
        chosen = np.sort(chosen)
        targets = labels[chosen] if self.task == "multiclass" else (labels[chosen] != 0).astype(np.int64)
        border = (augmentation.crop_padding, augmentation.crop_border) if augmentation else (0, "zeros")
        pixels = _padded(torch.from_numpy(images), torch.from_numpy(chosen), *border)
        augmentation = augmentation if augmentation and augmentation.changes_images else None
        return ImageDataset(pixels, torch.from_numpy(targets), torch.from_numpy(chosen), augmentation, self.seed)

    def _evaluation_loader(self, dataset: ImageDataset) -> DataLoader:
        """Return batches of each image once, in order; several processes take turns.

        Lightning's default for several processes repeats images until all have as many, and counts those twice.
        """
        ranks, rank = self._processes()
        sampler = UnrepeatedDistributedSampler(dataset, ranks, rank, shuffle=False) if ranks > 1 else None
        return DataLoader(dataset=dataset, batch_size=self.eval_batch_size, sampler=sampler, collate_fn=_whole_batch)

    def _train_device(self) -> torch.device:
        """Return the model's device if it can hold the images, else the CPU; NumPy models report the CPU."""
        model = self.trainer.lightning_module if self.trainer else None
        if self.device == "auto" and model is not None and model.device.type not in NOT_HOLDING:
            return model.device
        return torch.device("cpu")

    def _processes(self) -> tuple[int, int]:
        """Return the number of processes, and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _state(location: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Return what tells a file, or the files in a folder, from others: paths, times and sizes."""
    if location is None or not location.exists():
        return ()
    paths = sorted(path for path in location.iterdir() if path.is_file()) if location.is_dir() else [location]
    return tuple((str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


def _padded(images: Tensor, chosen: Tensor, padding: int, border: Border) -> Tensor:
    """Return chosen images (n, channels, side, side) as (n, side + 2p, side + 2p, channels), with a border.

    The images are copied part by part: a second copy of all of them would set the peak memory of many runs.
    """
    channels, side = images.shape[1], images.shape[2] + 2 * padding
    padded = torch.empty(len(chosen), side, side, channels, dtype=torch.uint8)
    for part, positions in zip(padded.split(COPIED_IMAGES), chosen.split(COPIED_IMAGES), strict=True):
        part.copy_(pad(images[positions].permute(0, 2, 3, 1), padding, border))
    return padded


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of all samples of which every prefix holds the classes in proportion.

    Args:
        labels: int64 (n,).
        rng: source of the randomness.

    Returns:
        A permutation of 0..n-1, int64 (n,). Its first k samples are a stratified subset for any k.
    """
    shuffled = rng.permutation(len(labels))
    progress = np.empty(len(labels))
    for label in np.unique(labels):
        members = labels[shuffled] == label
        progress[members] = (np.arange(members.sum()) + rng.random()) / members.sum()
    return shuffled[np.argsort(progress, kind="stable")]


def _whole_batch(batch: Any) -> Batch:
    """A collate function for a dataset that fetches whole batches."""
    return batch
