"""`ImageDataModule`: images in memory, their split, augmentation and loaders, for every model of the zoo.

Its arguments are the options `--data.*`. What is known about a data set stands in its `DataSet`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader

from datamodules.augmentation import UNCHANGED, Augmentation, Border, Flip, pad
from datamodules.checks import in_range, number_in_range, one_of
from datamodules.data_set import (
    SPLIT_SEED,
    DataSet,
    Split,
    SplitName,
    channel_statistics,
    check_names,
    mean_color,
    stratified_order,
)
from datamodules.data_sets import CIFAR10
from datamodules.difficulties import imbalanced, with_wrong_labels
from datamodules.download import fetch
from datamodules.errors import InputError
from datamodules.loading import Batch, EpochSampler, ImageDataset, TrainLoader
from datamodules.paths import default_data_dir, user_path, variable
from datamodules.policies import Policy
from datamodules.tasks import TASKS, Task, task_classes, task_title

MOST_IMBALANCE = 1_000_000
COPIED_IMAGES = 1000  # images that `setup` copies at once: 3 MB
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


class ImageDataModule(L.LightningDataModule):
    """The images of a data set, as batches of uint8 pixels.

    A data set of your own is a subclass with the name that `--data` takes. It hands its `DataSet` on, and takes all
    other options:

        class MyData(ImageDataModule):
            def __init__(self, **options: Any) -> None:
                super().__init__(MY_DATA_SET, **options)

    An entry point of its package makes it a data set of the zoo, see `zoo.catalogue.registry`.

    Args:
        data_set: the description of the data, which reads them.
        data_dir: folder of the data, and of their download; by default the environment variable
            `CIFAR10_DIR` (`MNIST_DIR` for MNIST, and so on), else `data`.
        task: "multiclass": all classes; "binary": `one_class` = 0, everything else = 1.
        one_class: name of the class that the binary task tells from the rest, by default the first one; giving it
            sets the task to "binary".
        batch_size: training images per step and process.
        eval_batch_size: images per step of validation, test and prediction.
        val_size: images held out from the training set for validation, of each class in its share; the same ones in
            every run. 0 trains on all images and selects no checkpoint. None takes a tenth. From data with validation
            images of their own, take this many of these; None takes all.
        train_size: train on this many images only, of each class in its share; None takes all that are left.
        test_size: test on this many images only, of each class in its share; None takes all.
        crop_padding: see `Augmentation`; at most half of the image's side.
        crop_border: see `Augmentation`.
        horizontal_flip: see `Augmentation`.
        policy: see `Augmentation`.
        color_jitter: see `Augmentation`; 0 to 1.
        cutout: see `Augmentation`; at most the image's side.
        random_erasing: see `Augmentation`; 0 to 1.
        mixup: the alpha of mixup, see `datamodules.mixing.Mixing`; 0 is off.
        cutmix: the alpha of CutMix, likewise.
        label_noise: share of the training images that get the label of another class at random, the same ones in every
            run; 0 to 1. Validation and test keep theirs.
        imbalance: how many times as many training images the first class keeps as the last one; the classes between
            them fall by equal factors. 1 keeps all images.
        drop_last: leave out the last batch of an epoch if it is smaller than the others.
        verify_checksums: reject files that are not the official ones.
        download: download the data if `data_dir` lacks them.
        mirrors: further addresses of the archive, tried first.
        device: the device that holds, shuffles and augments the training images. "auto": the GPU that trains the model,
            unless it is Apple's, which shares the computer's memory; 50,000 images take 240 MB there at a
            `crop_padding` of 4. "cpu": the CPU.
        seed: of shuffling and augmentation; None takes the run's seed (`--seed_everything`), or 0 without a command
            line.

    Attributes:
        chosen: the arguments, beside those above, that tell which images the data are; plain values by name. A
            checkpoint keeps them.
        normalization: mean and standard deviation of the training images, per channel on a scale of 0 to 1; None if
            they are unknown before `setup`.
        train, val, test: the images of each stage; None before `setup`, or if the stage has none.
    """

    chosen: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        data_set: DataSet,
        data_dir: str | None = None,
        task: Task = "multiclass",
        one_class: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 250,
        val_size: int | None = 5_000,
        train_size: int | None = None,
        test_size: int | None = None,
        crop_padding: int = 0,
        crop_border: Border = "zeros",
        horizontal_flip: Flip = False,
        policy: Policy | None = None,
        color_jitter: float = 0.0,
        cutout: int = 0,
        random_erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        drop_last: bool = False,
        verify_checksums: bool = True,
        download: bool = True,
        mirrors: list[str] | None = None,
        device: Literal["auto", "cpu"] = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_names(data_set.title, data_set.class_names)
        self.data_set = data_set
        self.data_dir = user_path(data_dir) if data_dir else default_data_dir(data_set.name)
        self.task = "binary" if one_class is not None else one_of("task", task, TASKS)
        self.one_class = None if one_class is None else one_of("one_class", one_class, data_set.class_names)
        self.batch_size = in_range("batch_size", batch_size, 1)
        self.eval_batch_size = in_range("eval_batch_size", eval_batch_size, 1)
        self.val_size = None if val_size is None else in_range("val_size", val_size, 0)
        self.train_size = None if train_size is None else in_range("train_size", train_size, 1)
        self.test_size = None if test_size is None else in_range("test_size", test_size, 1)
        augmentation = Augmentation(
            crop_padding, crop_border, horizontal_flip, policy, color_jitter, cutout, random_erasing, mixup, cutmix
        )
        self.augmentation = augmentation.checked(data_set)
        self.label_noise = number_in_range("label_noise", label_noise, 0, 1)
        self.imbalance = number_in_range("imbalance", imbalance, 1, MOST_IMBALANCE)
        self.device = one_of("device", device, ("auto", "cpu"))
        self.drop_last, self.verify_checksums = drop_last, verify_checksums
        self.download, self.mirrors = download, mirrors or []
        self.seed = seed or 0
        self.normalization = (data_set.mean, data_set.std) if data_set.mean else None
        self.train: ImageDataset | None = None
        self.val: ImageDataset | None = None
        self.test: ImageDataset | None = None
        self._official = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return task_classes(self.data_set.class_names, self.task, self.one_class)

    # What a model takes from the data, see `zoo.core.about.FROM_DATA`.

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.data_set.channels

    @property
    def image_size(self) -> int:
        return self.data_set.image_size

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
        if self.train is not None and self.label_noise:
            sizes.append(f"label noise {self.label_noise}")
        return f"Data: {self.source_name}, {task_title(self.task, self.class_names)}: {', '.join(sizes)}"

    def prepare_data(self) -> None:
        """Download the data set if it is missing; raise InputError if that fails."""
        data_set = self.data_set
        if data_set.find(self.data_dir) is not None:
            return
        advice = f"name its place by --data.data_dir or {variable(data_set.name)}"
        if data_set is CIFAR10:
            advice += ", or try without it: --config synthetic"
        if data_set.archives:
            packed = f" or {data_set.archives[0].name}" * (len(data_set.archives) == 1)
            advice = f"put {data_set.folder}/{packed} there, {advice}"
        if not self.download or not data_set.archives:
            raise InputError(f"{data_set.missing(self.data_dir)}: {advice}")
        try:
            fetch(data_set, self.data_dir, self.mirrors)
        except InputError as error:
            raise InputError(f"{error}; or {advice}") from error

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images of a stage, or of all; raise InputError if they are unusable or too few."""
        if stage in ("fit", "validate", None) and self.train is None:
            self._set_up_training()
        if stage in ("test", "predict", None) and self.test is None:
            self.test = self._part("test", self.test_size)

    def _set_up_training(self) -> None:
        is_limited = self.train_size is not None and self.val_size is not None
        images, labels = self._read("train", (self.train_size or 0) + (self.val_size or 0) if is_limited else None)
        self._measure(images)
        order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
        has_own_val = "val" in self.data_set.splits
        if self.val_size is None and not has_own_val:
            self.val_size = max(1, len(order) // 10)
        held_out = 0 if has_own_val else self.val_size or 0
        if held_out + (self.train_size or 1) > len(order):
            sizes = [f"--data.val_size={held_out}"] * (held_out > 0)
            sizes += [f"--data.train_size={self.train_size}"] * bool(self.train_size)
            verb = "ask" if len(sizes) > 1 else "asks"
            raise InputError(
                f"{' and '.join(sizes)} {verb} for more than the {len(order):,} training images: lower "
                f"{'them' if len(sizes) > 1 else 'it'}"
            )
        val, train = np.split(order, [held_out])
        without = sorted({*labels.tolist()} - {*labels[train].tolist()})
        if without and self.train_size is None:  # a user who asks for a handful of images gets them
            name = self.data_set.class_names[without[0]]
            raise InputError(f"--data.val_size={held_out} leaves no training image of '{name}': lower it")
        train = imbalanced(labels, train[: self.train_size], self.imbalance)
        self.train = self._dataset(images, labels, train, self.augmentation, self.label_noise)
        if has_own_val:
            self.val = None if self.val_size == 0 else self._part("val", self.val_size)
        else:
            self.val = self._dataset(images, labels, val) if held_out else None

    def _part(self, split: SplitName, size: int | None) -> ImageDataset:
        """Return images of a split, stratified; None takes all."""
        images, labels = self._read(split, size)
        if (size or 1) > len(labels):
            asked = f"--data.{split}_size={size} asks for more than the {len(labels):,} {split} images"
            raise InputError(f"{asked}: lower it")
        return self._dataset(images, labels, stratified_order(labels, np.random.default_rng(SPLIT_SEED))[:size])

    def _measure(self, images: np.ndarray) -> None:
        """Set the normalization of data that do not state it."""
        if self.normalization is None:
            mean, std = channel_statistics(images)
            self.normalization = mean, std
            self.augmentation = self.augmentation._replace(mean_color=mean_color(mean))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of its data."""
        sizes = {"val_size": self.val_size, "train_size": self.train_size, "test_size": self.test_size}
        task = {"task": self.task} | ({} if self.one_class is None else {"one_class": self.one_class})
        names = {"title": self.data_set.title, "class_names": list(self.data_set.class_names)}
        return {"source": self.source_name, **names, **task, **sizes, "chosen": dict(self.chosen)}

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
            described = (self.data_set.name, self.data_set.title, self.data_set.shape)
            origin = (split, described, files, self.verify_checksums, wanted)
            if origin not in shared:
                shared[origin] = read()
                for old in [old for old in shared if old[0] == split and old != origin]:
                    del shared[old]
            images, labels, official = shared[origin]
        self._official &= official
        return images, labels

    def _dataset(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        chosen: np.ndarray,
        augmentation: Augmentation = UNCHANGED,
        label_noise: float = 0.0,
    ) -> ImageDataset:
        """Return the chosen ones of images, uint8 (n, channels, h, w), with the augmentation's border."""
        chosen = np.sort(chosen)
        targets = labels[chosen]
        if self.task == "binary":
            zero = 0 if self.one_class is None else self.data_set.class_names.index(self.one_class)
            targets = (targets != zero).astype(np.int64)
        positions, padding = torch.from_numpy(chosen), augmentation.crop_padding
        side = images.shape[2] + 2 * padding
        pixels = torch.empty(len(chosen), side, side, images.shape[1], dtype=torch.uint8)
        # Part by part: a second copy of all images would set the peak memory of many runs.
        for part, rows in zip(pixels.split(COPIED_IMAGES), positions.split(COPIED_IMAGES), strict=True):
            part.copy_(pad(torch.from_numpy(images)[rows].permute(0, 2, 3, 1), padding, augmentation.crop_border))
        known = torch.from_numpy(targets)
        if label_noise:
            known = with_wrong_labels(known, positions, label_noise, self.num_classes, SPLIT_SEED)
        changes = augmentation if augmentation.changes_images else None
        return ImageDataset(pixels, known, positions, changes, self.seed)

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
    paths = sorted(path for path in location.rglob("*") if path.is_file()) if location.is_dir() else [location]
    return tuple((str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


def _whole_batch(batch: Any) -> Batch:
    return batch
