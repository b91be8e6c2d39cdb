"""The overlays of training recipes lie over the config of any model."""

from itertools import product

import pytest
import yaml

from tests.helpers import run_of
from zoo.runs import configs

RECIPES = ("short", "long", "strong_augmentation", "ema", "sam")
DIFFICULTIES = ("label_noise", "imbalance", "few_images")
TINY = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=32"]
TINY += ["--data.batch_size=16", "--trainer.max_epochs=1"]


def settings(config: dict) -> dict:
    """Return the values of a config by dotted name."""
    found = {}
    for name, value in config.items():
        inner = settings(value).items() if isinstance(value, dict) else ()
        found |= {f"{name}.{key}": v for key, v in inner} or {name: value}
    return found


@pytest.mark.parametrize(
    ("model", "recipe"),
    [*product(["single_neuron", "milestone4/best", "cnn", "vit"], [*RECIPES, *DIFFICULTIES]), ("cnn", "muon")],
)
def test_a_recipe_lies_over_any_config(model, recipe):
    run = run_of("fit", f"--config={model}", f"--config={recipe}", *TINY)
    (path,) = [path for name, path in configs.shipped().items() if name == recipe]
    chosen = settings(configs.expand(yaml.safe_load(path.read_text())))
    given = {"trainer.max_epochs": 1, "data.batch_size": 16, "data.train_size": 64}
    chosen |= {name: value for name, value in given.items() if name in chosen}
    trained = settings(yaml.safe_load((run / "config.yaml").read_text()))
    assert chosen.items() <= trained.items()


def test_recipes_lie_over_each_other():
    run = run_of("fit", "--config=cnn", *(f"--config={recipe}" for recipe in [*RECIPES, "muon"]), *TINY)
    text = (run / "config.yaml").read_text()
    assert all(line in text for line in ("policy: randaugment", "cutmix: 1", "sam: 0.05", "ema: 0.999", "MuonSGD"))
