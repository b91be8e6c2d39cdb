"""`CIFAR10DataModule`: CIFAR-10, or synthetic images in its place, for every model of the zoo."""

from typing import Literal

from datamodules.augmentation import Augmentation, Border, Flip
from datamodules.checks import one_of
from datamodules.data_sets import DATA_SETS, Source
from datamodules.image_data_module import ImageDataModule


class CIFAR10DataModule(ImageDataModule):
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

    Raises:
        InputError: if an argument is out of its range or not one of its choices.
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
        super().__init__(
            DATA_SETS[one_of("source", source, tuple(DATA_SETS))],
            data_dir=data_dir,
            task=task,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_size=val_size,
            train_size=train_size,
            test_size=test_size,
            augmentation=Augmentation(crop_padding, crop_border, horizontal_flip, cutout),
            drop_last=drop_last,
            verify_checksums=verify_checksums,
            download=download,
            mirrors=mirrors,
            device=device,
            seed=seed,
        )
