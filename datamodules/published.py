"""Data modules of the published data sets beside CIFAR-10. What is known of each stands in `datamodules.data_sets`."""

from typing import Any

from datamodules.checks import one_of
from datamodules.data_sets import CIFAR100_LABELS, PUBLISHED, Labels
from datamodules.image_data_module import ImageDataModule


class CIFAR100(ImageDataModule):
    """CIFAR-100 (Krizhevsky 2009): 60,000 color images of 32 x 32 pixels in 100 classes, which form 20 superclasses.

    Args:
        labels: "fine": the 100 classes; "coarse": the 20 superclasses.
        options: see `ImageDataModule`.
    """

    def __init__(self, labels: Labels = "fine", **options: Any) -> None:
        super().__init__(CIFAR100_LABELS[one_of("labels", labels, tuple(CIFAR100_LABELS))], **options)
        self.chosen = {"labels": labels}


class FashionMNIST(ImageDataModule):
    """Fashion-MNIST (Xiao et al. 2017): 70,000 gray images of 28 x 28 pixels in ten kinds of clothes.

    Args:
        options: see `ImageDataModule`. `data_dir` is a folder with the four files, packed or not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(PUBLISHED["FashionMNIST"], **options)


class MNIST(ImageDataModule):
    """MNIST (LeCun et al. 1998): 70,000 gray images of 28 x 28 pixels, handwritten digits.

    Args:
        options: see `ImageDataModule`. `data_dir` is a folder with the four files, packed or not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(PUBLISHED["MNIST"], **options)


class SVHN(ImageDataModule):
    """SVHN (Netzer et al. 2011): 99,289 color images of 32 x 32 pixels, digits cropped from house numbers.

    Needs scipy. The further 531,131 images of the file `extra_32x32.mat` are left out.

    Args:
        options: see `ImageDataModule`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(PUBLISHED["SVHN"], **options)
