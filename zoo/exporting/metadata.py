"""The metadata of an exported file."""

import json

from zoo.catalogue import registry
from zoo.catalogue.registry import Entry
from zoo.runs.results import versions
from zoo.trained.trained_model import Trained


def entry(trained: Trained) -> Entry:
    """Return the model's entry in the registry."""
    return registry.find(trained.config["model"]["class_path"])


def collect(trained: Trained) -> dict[str, str]:
    """Return the metadata as texts, those of other types as JSON.

    Returns:
        "model": name in the zoo, or dotted path; "class": dotted path; "arguments": of the class, by name;
        "class_names": in the order of the probabilities; "epochs": of training; "versions": of the exporting packages.
    """
    return {
        "model": entry(trained).name,
        "class": trained.config["model"]["class_path"],
        "arguments": json.dumps(trained.config["model"]["init_args"]),
        "class_names": json.dumps(trained.class_names),
        "epochs": str(trained.epochs),
        "versions": json.dumps(versions()),
    }
