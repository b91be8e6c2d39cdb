"""What an exported file says of its model, beside the weights."""

import json

from zoo.catalogue import registry
from zoo.catalogue.registry import Entry
from zoo.runs.results import versions
from zoo.trained.trained_model import Trained


def entry(trained: Trained) -> Entry:
    """Return the model's entry in the registry."""
    return registry.find(trained.config["model"]["class_path"])


def of(trained: Trained) -> dict[str, str]:
    """Return names and values, all of them text, those that are no plain text as JSON.

    Returns:
        "model": its name in the zoo, or its dotted path; "class": its dotted path; "arguments": of the class, by name;
        "class_names": in the order of the probabilities; "epochs": trained; "versions": of the packages that exported
        it.
    """
    return {
        "model": entry(trained).name,
        "class": trained.config["model"]["class_path"],
        "arguments": json.dumps(trained.config["model"]["init_args"]),
        "class_names": json.dumps(trained.class_names),
        "epochs": str(trained.epochs),
        "versions": json.dumps(versions()),
    }
