"""Where a model's class comes from, in a checkpoint."""

from typing import Any

import lightning as L

from zoo.catalogue import registry
from zoo.core.classifier import Classifier


class ModelOrigin(L.Callback):
    """Saves the path of the class as the registry has it, and the package of a plugin's model.

    A package may hand on a class from a module that it hides. The package's name helps whoever lacks it.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        """Add them, if the registry knows the class; otherwise the model adds the path."""
        entry = registry.find_class(type(pl_module))
        if entry is not None:
            checkpoint["class_path"] = entry.class_path
            if entry.distribution != registry.DISTRIBUTION:
                checkpoint["package"] = entry.distribution
