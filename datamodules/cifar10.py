"""`CIFAR10DataModule`: images in memory, their split, augmentation and loaders, for every model of the zoo.

Its arguments are the options `--data.*`. What is known about a data set stands in `datamodules.data_sets`.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader

from datamodules.augmentation import Augmentation, Border, Flip, pad
from datamodules.checks import in_range, one_of
from datamodules.data_set import Split, SplitName
from datamodules.data_sets import DATA_SETS, Source
from datamodules.download import fetch
from datamodules.errors import InputError
from datamodules.loading import Batch, EpochSampler, ImageDataset, TrainLoader
from datamodules.paths import default_data_dir, user_path

# A fixed seed: every run holds out the same images, so that results on `val` can be compared.
SPLIT_SEED = 10
COPIED_IMAGES = 1000  # images that `setup` copies at once: 3 MB
UNCHANGED = Augmentation()
# Devices that do not hold the training images. Apple's GPUs share the computer's memory, and TPUs are slow at gathering
# single bytes.
NOT_HOLDING = ("cpu", "mps", "xla")

# Splits that the data modules of this context share, by what they were read from; None if each reads its own.
_SHARED: ContextVar[dict[Any, Split] | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def shared_reads(splits: dict[Any, Split]) -> Iterator[None]:
    """Let data modules share, through `splits`, what they read, so that several runs read their files once.

    Files that have changed since are read again. Of each split the last reading is kept.
    """
    token = _SHARED.set(splits)
    try:
        yield
    finally:
        _SHARED.reset(token)


class CIFAR10DataModule(L.LightningDataModule):
    """CIFAR-10 (Krizhevsky 2009), or synthetic images in its place, as batches of uint8 pixels.

    Args:
        data_dir: folder of CIFAR-10 (extracted or as `.tar.gz`), and of its download; by default the environment
            variable `CIFAR10_DIR`, else `data`.
        source: "cifar10", or "synthetic": ten geometric figures, drawn without a download (`datamodules.synthetic`).
        task: "multiclass": all ten classes; "binary": the first class (airplane) = 0, everything else = 1.
        batch_size: training images per step and process.
        eval_batch_size: images per step of validation, test and prediction.
        val_size: images held out from the training set for validation, the classes in equal parts; the same ones of
            CIFAR-10 in every run. 0 trains on all images and selects no checkpoint.
        train_size: train on this many images only, the classes in equal parts; None takes all that are left.
        test_size: test on this many images only, the classes in equal parts; None takes all.
        crop_padding: see `Augmentation`; at most 16.
        crop_border: see `Augmentation`.
        horizontal_flip: see `Augmentation`.
        cutout: see `Augmentation`; at most 32.
        drop_last: leave out the last batch of an epoch if it is smaller than the others.
        verify_checksums: reject files that are not the official ones.
        download: download CIFAR-10 if `data_dir` lacks it.
        mirrors: further addresses of the archive, tried first.
        device: the device that holds, shuffles and augments the training images. "auto": the GPU that trains the model,
            unless it is Apple's, which shares the computer's memory; 50,000 images take 240 MB there at a
            `crop_padding` of 4. "cpu": the CPU.
        seed: of shuffling and augmentation; None takes the run's seed (`--seed_everything`), or 0 without a command
            line.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        source: Source = "cifar10",
        task: Literal["multiclass", "binary"] = "multiclass",
        batch_size: int = 128,
        eval_batch_size: int = 250,
        val_size: int = 5_000,
        train_size: int | None = None,
        test_size: int | None = None,
        crop_padding: int = 0,
        crop_border: Border = "zeros",
        horizontal_flip: Flip = False,
        cutout: int = 0,
        drop_last: bool = False,
        verify_checksums: bool = True,
        download: bool = True,
        mirrors: list[str] | None = None,
        device: Literal["auto", "cpu"] = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.data_set = DATA_SETS[one_of("source", source, tuple(DATA_SETS))]
        self.data_dir = user_path(data_dir) if data_dir else default_data_dir()
        self.task = one_of("task", task, ("multiclass", "binary"))
        self.batch_size = in_range("batch_size", batch_size, 1)
        self.eval_batch_size = in_range("eval_batch_size", eval_batch_size, 1)
        self.val_size = in_range("val_size", val_size, 0)
        self.train_size = None if train_size is None else in_range("train_size", train_size, 1)
        self.test_size = None if test_size is None else in_range("test_size", test_size, 1)
        self.augmentation = Augmentation(crop_padding, crop_border, horizontal_flip, cutout).checked(self.data_set)
        self.device = one_of("device", device, ("auto", "cpu"))
        self.drop_last, self.verify_checksums = drop_last, verify_checksums
        self.download, self.mirrors = download, mirrors or []
        self.seed = seed or 0
        # The images of each stage; None before `setup`, or if the stage has none.
        self.train: ImageDataset | None = None
        self.val: ImageDataset | None = None
        self.test: ImageDataset | None = None
        self._official = True

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data_set.task_classes(self.task)

    @property
    def source_name(self) -> str:
        """Name of the data beside every metric measured on it; known after `setup`."""
        return self.data_set.title_of(self._official)

    def describe(self) -> str:
        """Return a line with data set, task and sizes; call `setup` first."""
        datasets = {"train": self.train, "val": self.val, "test": self.test}
        sizes = [f"{len(dataset):,} {name}" for name, dataset in datasets.items() if dataset is not None]
        if self.train is not None and self.val is None:
            sizes.append("no val (val_size 0: every image trains, and no checkpoint is selected)")
        return f"Data: {self.source_name}, {self.task}: {', '.join(sizes)}"

    def prepare_data(self) -> None:
        """Download the data set if it is missing; raise InputError if that fails."""
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
        """Read and split the images of a stage, or of all; raise InputError if they are unusable or too few."""
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
        """Return what a checkpoint keeps of its data."""
        sizes = {"val_size": self.val_size, "train_size": self.train_size, "test_size": self.test_size}
        return {"source": self.source_name, "task": self.task} | sizes

    def train_dataloader(self) -> DataLoader:
        """Return batches of the training images in an order set by (seed, epoch)."""
        assert self.train is not None, "call setup('fit') first"
        model = self.trainer.lightning_module if self.trainer else None
        if self.device == "auto" and model is not None and model.device.type not in NOT_HOLDING:
            self.train.to(model.device)  # NumPy models report the CPU
        else:
            self.train.to(torch.device("cpu"))
        sampler = EpochSampler(self.train, *self._processes(), seed=self.seed)
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
        assert self.test is not None, "call setup('test') first"
        return self._evaluation_loader(self.test)

    def predict_dataloader(self) -> DataLoader:
        return self.test_dataloader()

    def _read(self, split: SplitName, wanted: int | None) -> tuple[np.ndarray, np.ndarray]:
        def read() -> Split:
            return self.data_set.read(self.data_dir, split, verify_checksums=self.verify_checksums, wanted=wanted)

        shared = _SHARED.get()
        if shared is None:
            images, labels, official = read()
        else:
            files = _state(self.data_set.find(self.data_dir))
            origin = (split, self.data_set.name, files, self.verify_checksums, wanted)
            if origin not in shared:
                shared[origin] = read()
                for old in [old for old in shared if old[0] == split and old != origin]:
                    del shared[old]
            images, labels, official = shared[origin]
        self._official &= official
        return images, labels

    def _dataset(
        self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, augmentation: Augmentation = UNCHANGED
    ) -> ImageDataset:
        """Return the chosen ones of images, uint8 (n, channels, side, side), with the augmentation's border."""
        chosen = np.sort(chosen)
        targets = labels[chosen] if self.task == "multiclass" else (labels[chosen] != 0).astype(np.int64)
        positions, padding = torch.from_numpy(chosen), augmentation.crop_padding
        side = images.shape[2] + 2 * padding
        pixels = torch.empty(len(chosen), side, side, images.shape[1], dtype=torch.uint8)
        # Part by part: a second copy of all images would set the peak memory of many runs.
        for part, rows in zip(pixels.split(COPIED_IMAGES), positions.split(COPIED_IMAGES), strict=True):
            part.copy_(pad(torch.from_numpy(images)[rows].permute(0, 2, 3, 1), padding, augmentation.crop_border))
        changes = augmentation if augmentation.changes_images else None
        return ImageDataset(pixels, torch.from_numpy(targets), positions, changes, self.seed)

    def _evaluation_loader(self, dataset: ImageDataset) -> DataLoader:
        # Lightning's default for several processes repeats images until all have as many, and counts those twice.
        ranks, rank = self._processes()
        sampler = UnrepeatedDistributedSampler(dataset, ranks, rank, shuffle=False) if ranks > 1 else None
        return DataLoader(dataset=dataset, batch_size=self.eval_batch_size, sampler=sampler, collate_fn=_whole_batch)

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _state(location: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Return what tells a file, or the files in a folder, from others: paths, times and sizes."""
    if location is None or not location.exists():
        return ()
    paths = sorted(path for path in location.iterdir() if path.is_file()) if location.is_dir() else [location]
    return tuple((str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of samples with the given labels, int64 (n,): a permutation of 0..n-1, int64 (n,).

    Its first k samples are a stratified subset for any k.
    """
    shuffled = rng.permutation(len(labels))
    progress = np.empty(len(labels))
    for label in np.unique(labels):
        members = labels[shuffled] == label
        progress[members] = (np.arange(members.sum()) + rng.random()) / members.sum()
    return shuffled[np.argsort(progress, kind="stable")]


def _whole_batch(batch: Any) -> Batch:
    return batch
