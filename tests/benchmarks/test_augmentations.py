"""The benchmark of augmentations: that it measures what it says. No time is asserted."""

from contextlib import nullcontext

from torchvision.transforms import v2

from datamodules.augmentation import Augmentation
from tests.benchmarks import augmentations, data_path
from tests.benchmarks.test_data_path import numbered, watch


def test_what_takes_turns_is_what_its_name_says(monkeypatch):
    """And seconds are for all images: every turn takes a second of a clock that counts its readings."""
    made, transforms = {}, iter(augmentations.PEERS)

    def torchvision_loader(pixels, labels, batch_size, workers, transform):
        made[f"torchvision, {next(transforms)}, {workers} workers"] = (len(pixels), batch_size)
        return nullcontext(lambda: 256)

    def loader_of_fit(dataset, batch_size):
        name = next(
            name
            for name, peer in augmentations.PEERS.items()
            if dataset.augmentation == Augmentation(crop_padding=4, horizontal_flip=True, **peer.options)
        )
        made[f"loader of fit, {name}, {dataset.device}"] = (len(dataset), batch_size)
        return lambda: 512

    def steps(model, images, labels, count):
        made[f"step of {type(model).__name__}, {images.device}"] = (len(labels), count)
        return lambda: 128

    watch(monkeypatch, augmentations, torchvision_loader, loader_of_fit, steps)
    seconds = augmentations.measure(rounds=2, images=512).seconds
    assert made == {
        **{f"torchvision, {name}, 2 workers": (512, 128) for name in augmentations.PEERS},
        **{f"loader of fit, {name}, cpu": (512, 128) for name in augmentations.PEERS},
        "step of ImprovedCNN, cpu": (128, 1),
    }
    of_kind = {"torchvision": [2, 2], "loader of fit": [1, 1], "step of ImprovedCNN": [4, 4]}
    assert seconds == {name: of_kind[name.split(",")[0]] for name in made}
    assert {name for pair in augmentations.COMPARISONS for name in pair} >= set(made)


def test_torchvision_makes_bytes(monkeypatch):
    monkeypatch.setattr(data_path, "TORCHVISION_IMAGES", 24)
    for peer in augmentations.PEERS.values():
        with augmentations.torchvision_loader(*numbered(40), 8, 0, v2.Compose(peer.transforms)) as contestant:
            assert contestant() == 24
