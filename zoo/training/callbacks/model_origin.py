"""Where a model's class comes from, in a checkpoint."""

from typing import Any

import lightning as L

from zoo.catalogue import registry
from zoo.core.classifier import Classifier


class ModelOrigin(L.Callback):
    """Saves the path of a registered class, and the package of a plugin's model, for the error if it is missing.

    A package may re-export a class from a hidden module.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        entry = registry.find_class(type(pl_module))
        if entry is not None:
            checkpoint["class_path"] = entry.class_path
            if entry.distribution != registry.DISTRIBUTION:
                checkpoint["package"] = entry.distribution
