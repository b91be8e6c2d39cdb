"""`CIFAR10DataModule`: one data module for every model of the zoo."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any, Literal, NamedTuple, TypeVar, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules import synthetic
from datamodules.augmentation import Augmentation, augment, pad, random_bits
from datamodules.download import fetch
from datamodules.errors import InputError, did_you_mean
from datamodules.paths import user_path
from datamodules.readers import cifar

T = TypeVar("T")

# The hold-out is the same in every run, whatever the run's seed: results on `val` can be compared.
SPLIT_SEED = 10
# Of `random_bits`: 0 is the augmentation's.
ORDER_STREAM = 1
# As many images as CIFAR-10 has, where `train_size` and `test_size` do not ask the synthetic source for fewer.
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 50_000, 10_000
MOST_SYNTHETIC = 200_000  # which takes a minute, and 0.6 GB
# So many training images are fetched at once, or a batch where that is more: 1.5 MB, which a processor's cache holds.
FETCHED_IMAGES = 512
# On a GPU it is the number of kernels that counts, some 40 at a time whatever their size: 50 MB.
FETCHED_ON_GPU = 16_384
# So many are copied at once when the data are set up: 3 MB.
COPIED_IMAGES = 1000
# Kinds of devices that do not hold the training images. Apple's GPUs share the computer's memory, and TPUs are slow at
# gathering single bytes.
NOT_HOLDING = ("cpu", "mps", "xla")


class Batch(NamedTuple):
    """What a data loader yields.

    Attributes:
        images: uint8 pixels (n, 3, 32, 32), in channels_last memory.
        labels: int64 (n,).
        indices: int64 (n,), each sample's number in its split: 0..49,999 of the training images, 0..9,999 of the test
            images.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in this thread alone.

    To share out milliseconds of work gains little; and where the cores have anything else to do, waiting for the other
    thread takes many times as long as the work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ImageDataset(Dataset[Batch]):
    """Images in memory as one uint8 tensor, fetched a whole batch at a time.

    Args:
        images: uint8 (n, 32 + 2p, 32 + 2p, 3), with the border p that `augmentation` asks for (see
            `datamodules.augmentation.pad`).
        labels: int64 (n,).
        indices: the samples' numbers in their split, int64 (n,).
        augmentation: what is done to the images; None leaves them alone.
        seed: of the augmentation.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, indices: Tensor, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.images, self.labels, self.indices = images, labels, indices
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.images.device

    def to(self, device: torch.device) -> None:
        """Move the images, and all that belongs to them, to a device."""
        self.images, self.labels, self.indices = (
            tensor.to(device) for tensor in (self.images, self.labels, self.indices)
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> Batch:
        return self.fetch(torch.tensor(positions, device=self.device))

    @_one_thread()
    def fetch(self, chosen: Tensor) -> Batch:
        """Return the images at positions `chosen`, int64 (n,), as a batch; all of it on the images' device."""
        indices = self.indices.index_select(0, chosen)
        if self.augmentation:
            images = augment(self.images, chosen, indices, self.augmentation, self.seed, self.epoch)
        else:
            images = self.images.index_select(0, chosen)
        return Batch(images.permute(0, 3, 1, 2), self.labels.index_select(0, chosen), indices)


class EpochSampler(DistributedSampler):
    """Shuffles by a hash of (seed, epoch), and tells the dataset which epoch it is.

    `DistributedSampler` itself adds the two up: the second epoch of seed 0 would have the order of the first of seed 1,
    and runs of several seeds would not be independent. As there, the processes take turns, and the first samples are
    repeated where they do not share evenly.
    """

    dataset: ImageDataset

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    @_one_thread()
    def order(self) -> Tensor:
        """Return the positions of this process's images, int64 (n,), in the order of the epoch; on its device."""
        positions = torch.arange(len(self.dataset), device=self.dataset.device)
        order = random_bits(self.seed, self.epoch, positions, stream=ORDER_STREAM).argsort()
        shared = order.repeat(-(-self.total_size // len(order)))[: self.total_size]
        return shared[self.rank :: self.num_replicas]

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.dataset.epoch = epoch


class TrainLoader(DataLoader[Batch]):
    """A `DataLoader` whose place in the middle of an epoch a checkpoint keeps.

    It fetches a few batches at once, with none of DataLoader's own work for each, which takes as long as the fetching;
    and while those before them are learnt from, where PyTorch leaves a core to do so. Where a GPU holds the images, it
    is told what to do, and never waited for.

    Lightning asks for `state_dict` when it saves, and calls `load_state_dict` before it goes on with an epoch.
    """

    _batches = 0
    _resumed = 0

    def __iter__(self) -> Iterator[Batch]:
        self._batches, self._resumed = self._resumed, 0
        dataset, size = cast(ImageDataset, self.dataset), cast(int, self.batch_size)
        on_cpu = dataset.device.type == "cpu"
        order = self._epoch_order()[self._batches * size : len(self) * size]
        at_once = size * max(1, (FETCHED_IMAGES if on_cpu else FETCHED_ON_GPU) // size)
        fetched = (dataset.fetch(order[start : start + at_once]) for start in range(0, len(order), at_once))
        core_is_free = on_cpu and torch.get_num_threads() < (os.cpu_count() or 1)
        for block in _ahead(fetched) if core_is_free else fetched:
            for batch in zip(*(tensor.split(size) for tensor in block), strict=True):
                self._batches += 1
                yield Batch(*batch)

    def _epoch_order(self) -> Tensor:
        if isinstance(self.sampler, EpochSampler):
            return self.sampler.order()
        return torch.tensor(list(self.sampler), device=cast(ImageDataset, self.dataset).device)

    def _order(self) -> dict[str, int]:
        """What the order of the batches depends on, beside the epoch."""
        order = {"batch_size": cast(int, self.batch_size), "images": len(cast(ImageDataset, self.dataset))}
        if isinstance(self.sampler, EpochSampler):  # Lightning's overfit_batches puts a sequential one there
            order |= {"seed": self.sampler.seed, "processes": self.sampler.num_replicas}
        return order

    def state_dict(self) -> dict[str, int]:
        """Return how many batches were handed out, and what their order depends on."""
        return {"batches": self._batches, **self._order()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after those batches.

        Raises:
            InputError: where the rest of the epoch would be other batches than those that are left.
        """
        for name, value in self._order().items():
            if state.get(name, value) != value:
                raise InputError(
                    f"the checkpoint is of the middle of an epoch with {name} {state[name]}, and cannot go on with "
                    f"{value}: leave it as it was, or start from the end of an epoch"
                )
        self._resumed = state["batches"]


class CIFAR10DataModule(L.LightningDataModule):
    """CIFAR-10 (Krizhevsky 2009), or a drawn stand-in for it, as batches of plain uint8 pixels.

    Args:
        data_dir: where CIFAR-10 lies (extracted or as `.tar.gz`) or is to be downloaded to; by default the environment
            variable `CIFAR10_DIR`, else `data`.
        source: "cifar10", or "synthetic": ten drawn figures, generated and never downloaded (`datamodules.synthetic`).
        task: "multiclass": all ten classes; "binary": the first class (airplane) = 0, everything else = 1.
        batch_size: training images a step, in each process.
        eval_batch_size: images a step of validation, test and prediction.
        val_size: images held out from the training set for validation, the classes in equal parts; of CIFAR-10 the
            same ones in every run. 0 trains on all images and selects nothing.
        train_size: train on this many images only, the classes in equal parts; None takes all that are left.
        test_size: test on this many images only, the classes in equal parts; None takes all.
        crop_padding: see `Augmentation`; at most 16.
        crop_border: see `Augmentation`.
        horizontal_flip: see `Augmentation`.
        cutout: see `Augmentation`; at most 32.
        drop_last: leave out the last batch of an epoch where it is smaller than the others.
        verify_checksums: refuse files that are not the official ones.
        download: download CIFAR-10 where `data_dir` has none.
        mirrors: further addresses of the archive, asked first.
        device: where the training images lie, are shuffled and augmented. "auto": in the memory of the GPU that a
            model learns on, unless it is Apple's, which shares the computer's memory. 50,000 images of
            (32 + 2 `crop_padding`)² pixels take 3 bytes a pixel, 240 MB at a padding of 4. "cpu": in the computer's
            memory.
        seed: of the shuffling and the augmentation; None takes the run's seed (`--seed_everything`), or 0 where there
            is no command line.

    Raises:
        InputError: for an argument out of its range, or that is none of its choices.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        source: Literal["cifar10", "synthetic"] = "cifar10",
        task: Literal["multiclass", "binary"] = "multiclass",
        batch_size: int = 128,
        eval_batch_size: int = 250,
        val_size: int = 5_000,
        train_size: int | None = None,
        test_size: int | None = None,
        crop_padding: int = 0,
        crop_border: Literal["zeros", "reflect"] = "zeros",
        horizontal_flip: bool | Literal["alternating"] = False,
        cutout: int = 0,
        drop_last: bool = False,
        verify_checksums: bool = True,
        download: bool = True,
        mirrors: list[str] | None = None,
        device: Literal["auto", "cpu"] = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.data_dir = user_path(data_dir) if data_dir else cifar.default_dir()
        self.source = _one_of("source", source, ("cifar10", "synthetic"))
        self.task = _one_of("task", task, ("multiclass", "binary"))
        self.batch_size = _in_range("batch_size", batch_size, 1)
        self.eval_batch_size = _in_range("eval_batch_size", eval_batch_size, 1)
        self.val_size = _in_range("val_size", val_size, 0)
        self.train_size = None if train_size is None else _in_range("train_size", train_size, 1)
        self.test_size = None if test_size is None else _in_range("test_size", test_size, 1)
        self.augmentation = Augmentation(
            _in_range("crop_padding", crop_padding, 0, 16),
            _one_of("crop_border", crop_border, ("zeros", "reflect")),
            _one_of("horizontal_flip", horizontal_flip, (False, True, "alternating")),
            _in_range("cutout", cutout, 0, 32),
        )
        self.device = _one_of("device", device, ("auto", "cpu"))
        self.drop_last, self.verify_checksums = drop_last, verify_checksums
        self.download, self.mirrors = download, mirrors or []
        self.seed = seed or 0
        self.train: ImageDataset | None = None
        self.val: ImageDataset | None = None
        self.test: ImageDataset | None = None
        self._official = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; two of them for the binary task."""
        names = synthetic.CLASS_NAMES if self.source == "synthetic" else cifar.CLASS_NAMES
        return names if self.task == "multiclass" else (names[0], f"not {names[0]}")

    @property
    def source_name(self) -> str:
        """The name that stands beside every figure measured on this data; known after `setup`."""
        if self.source == "synthetic":
            return "synthetic"
        return "CIFAR-10" if self._official else "CIFAR-10 copy (not the official files)"

    def describe(self) -> str:
        """One line about source, split and sizes; call it after `setup`."""
        sizes = [
            f"{len(dataset):,} {name}"
            for name, dataset in (("train", self.train), ("val", self.val), ("test", self.test))
            if dataset is not None
        ]
        if self.train is not None and self.val is None:
            sizes.append("no val (val_size 0: every image trains, and no checkpoint is selected)")
        return f"Data: {self.source_name}, {self.task}: {', '.join(sizes)}"

    def prepare_data(self) -> None:
        """Download CIFAR-10 where there is none; one process does so, and others that call it wait.

        Raises:
            InputError: where there is none and it cannot be downloaded.
        """
        if self.source == "synthetic" or cifar.find(self.data_dir) is not None:
            return
        advice = (
            f"put {cifar.FOLDER}/ or {cifar.ARCHIVE} there, name its place by --data.data_dir or CIFAR10_DIR, "
            "or try without it: --config synthetic"
        )
        if not self.download:
            raise InputError(f"{cifar.missing(self.data_dir)}: {advice}")
        try:
            fetch(self.data_dir, self.mirrors)
        except InputError as error:
            raise InputError(f"{error}; or {advice}") from error

    def setup(self, stage: str | None = None) -> None:
        """Read and split what `stage` ("fit", "validate", "test", "predict" or None for all) needs, once.

        Raises:
            InputError: see `datamodules.readers.cifar.read`; or where a size is larger than what there is.
        """
        if stage in ("fit", "validate", None) and self.train is None:
            images, labels = self._read("train")
            order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
            if self.val_size + (self.train_size or 1) > len(order):
                wanted = f"--data.val_size={self.val_size}"
                if self.train_size:
                    wanted += f" and --data.train_size={self.train_size}"
                raise InputError(f"{wanted} ask for more than the {len(order):,} training images: lower them")
            held_out, rest = np.split(order, [self.val_size])
            self.train = self._dataset(images, labels, rest[: self.train_size], self.augmentation)
            self.val = self._dataset(images, labels, held_out) if self.val_size else None
        if stage in ("test", "predict", None) and self.test is None:
            images, labels = self._read("test")
            order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
            if (self.test_size or 1) > len(order):
                raise InputError(
                    f"--data.test_size={self.test_size} asks for more than the {len(order):,} test images: lower it"
                )
            self.test = self._dataset(images, labels, order[: self.test_size])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint tells of its data: their name, the task, and which images were held out."""
        sizes = {"val_size": self.val_size, "train_size": self.train_size, "test_size": self.test_size}
        return {"source": self.source_name, "task": self.task} | sizes

    def train_dataloader(self) -> DataLoader:
        """Batches of the training images in an order set by (seed, epoch)."""
        assert self.train is not None, "call setup('fit') first"
        self.train.to(self._train_device())
        ranks, rank = self._processes()
        sampler = EpochSampler(self.train, num_replicas=ranks, rank=rank, seed=self.seed)
        # No worker processes: a batch is one gather out of memory, cheaper than its way through shared memory.
        # No pinned memory either: a batch of bytes is too small for it to show.
        # By keywords, because Lightning builds some loaders anew from the arguments that it finds.
        return TrainLoader(
            dataset=self.train,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=self.drop_last,
            collate_fn=_whole_batch,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Batches of the held-out images; nothing where `val_size` is 0."""
        return [] if self.val is None else self._evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader:
        """Batches of the test images."""
        assert self.test is not None, "call setup('test') first"
        return self._evaluation_loader(self.test)

    def predict_dataloader(self) -> DataLoader:
        """Batches of the test images."""
        return self.test_dataloader()

    def _read(self, split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
        if self.source == "synthetic":
            if split == "train":
                n = self.train_size + self.val_size if self.train_size else SYNTHETIC_TRAIN
            else:
                n = self.test_size or SYNTHETIC_TEST
            if n > MOST_SYNTHETIC:
                sizes = "--data.train_size and --data.val_size" if split == "train" else "--data.test_size"
                raise InputError(f"{sizes} ask for {n:,} drawn images: lower them to {MOST_SYNTHETIC:,} at the most")
            return synthetic.generate(n, split=split)
        images, labels, official = cifar.read(self.data_dir, split, verify_checksums=self.verify_checksums)
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
        """Each image once, in order; several processes take turns.

        Lightning's own choice for several processes repeats images until all have as many, and counts those twice.
        """
        ranks, rank = self._processes()
        sampler = UnrepeatedDistributedSampler(dataset, ranks, rank, shuffle=False) if ranks > 1 else None
        # By keywords, because Lightning builds some loaders anew from the arguments that it finds.
        return DataLoader(dataset=dataset, batch_size=self.eval_batch_size, sampler=sampler, collate_fn=_whole_batch)

    def _train_device(self) -> torch.device:
        """Where the model learns, if the images can lie there; a NumPy model says that it is on the CPU."""
        model = self.trainer.lightning_module if self.trainer else None
        if self.device == "auto" and model is not None and model.device.type not in NOT_HOLDING:
            return model.device
        return torch.device("cpu")

    def _processes(self) -> tuple[int, int]:
        """How many processes there are, and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _padded(planes: Tensor, chosen: Tensor, padding: int, border: Literal["zeros", "reflect"]) -> Tensor:
    """Return the chosen ones of images (n, 3, 32, 32) in the order of memory that batches have, with a border.

    Part by part: a second copy of them all would be the most memory that many a run ever takes.
    """
    side = 32 + 2 * padding
    padded = torch.empty(len(chosen), side, side, 3, dtype=torch.uint8)
    for part, positions in zip(padded.split(COPIED_IMAGES), chosen.split(COPIED_IMAGES), strict=True):
        part.copy_(pad(planes[positions].permute(0, 2, 3, 1), padding, border))
    return padded


def _ahead(blocks: Iterator[Batch]) -> Iterator[Batch]:
    """Yield blocks, each of which a thread makes while the one before it is in use.

    Each block has a thread of its own: one for all would wait for the next block for ever after an error in the loop.
    """
    following = _Next(blocks)
    try:
        while (block := following.result()) is not None:
            following = _Next(blocks)
            yield block
    finally:
        following.join()


class _Next(Thread):
    """Takes the next block in a thread that starts at once."""

    def __init__(self, blocks: Iterator[Batch]) -> None:
        super().__init__(name="next-block")
        self._blocks = blocks
        self._block: Batch | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._block = next(self._blocks, None)
        except BaseException as error:
            self._error = error

    def result(self) -> Batch | None:
        """Return the block, None if there is none left, or raise what kept it from being made."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._block


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of all samples in which every beginning holds the classes in proportion.

    Args:
        labels: int64 (n,).
        rng: the randomness.

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
    """A collate function for a dataset that fetches batches whole."""
    return batch


def _in_range(name: str, value: int, low: int, high: int | None = None) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InputError(f"--data.{name}={value}: give a whole number")
    if value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"--data.{name}={value} is out of range: give a number {bounds}")
    return value


def _one_of(name: str, value: T, choices: tuple[T, ...]) -> T:
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise InputError(f"--data.{name}={value} is unknown.{hint} There are: {', '.join(map(str, choices))}")
    return value
