"""Silence messages of Lightning at every start that do not concern this project."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

# Loggers, and the levels from which their messages are wanted.
LEVELS = {
    "lightning.fabric.utilities.seed": logging.WARNING,
    "lightning.fabric.utilities.distributed": logging.WARNING,
    "torch.utils.cpp_extension": logging.ERROR,  # torch.compile misses a GPU
}
# The loggers of Lightning's messages. The second one takes over once a plugin has imported that package.
RANK_ZERO = ("lightning.pytorch.utilities.rank_zero", "pytorch_lightning.utilities.rank_zero")
# Beginnings of messages. Their logger has wanted messages too, for example of `ModelCheckpoint(verbose: true)`.
NOISE = (
    "GPU available",
    "TPU available",
    "💡 Tip",
    "You are running in `Trainer(barebones=True)`",
    "You are using a CUDA device",
    "-----",  # a box around the number of processes
    "Using 16bit",
    "Using bfloat16",
    "Running in `fast_dev_run` mode",
    "`Trainer(",  # repeats an option
    "`Trainer.fit` stopped: `max_",
    "Time limit reached",  # `Ending` says more
    "Trainer already configured with model summary callbacks",
    "The following callbacks returned in `LightningModule.configure_callbacks`",  # a NumPy model's
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
    "Loaded model weights from the checkpoint",
    "You're using the WeightAveraging callback, but saving a checkpoint outside",
    "Found current_model_state in the checkpoint",
    "Your model can run with static graph optimizations",
    "\nDetected KeyboardInterrupt",  # `cli.main` reports it
)
# Patterns of warnings.
WARNINGS = (
    "LightningCLI's args parameter is intended",  # configs are composed before the parser sees them
    ".*does not have many workers.*",  # a worker would slow the loaders down
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
    "The number of training batches .* is smaller than the logging interval",
    ".*LeafSpec.* is deprecated",
    r"\s*Unable to serialize instance",  # `_as_given` repairs it
    "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided",
    "You defined a `validation_step` but have no `val_dataloader`",  # val_size is 0
    "GPU available but not used",  # `devices.idle` reports it
    "Total length of `list` across ranks is zero",  # of a NumPy model
    "You have overridden `transfer_batch_to_device` in `LightningModule`",  # a NumPy model's batches stay on the CPU
    "It is recommended to use `self.log\\(.*sync_dist=True",  # the metrics add the counts of all processes
    "Checkpoint directory .* exists and is not empty",  # of a resumed run
    "You're using the WeightAveraging callback with a model that overrides",  # no model of the zoo is sharded
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Filter the messages of Lightning."""
    before = {name: logging.getLogger(name).level for name in LEVELS}
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    for name in RANK_ZERO:
        logging.getLogger(name).addFilter(_is_wanted)
    try:
        with warnings.catch_warnings():
            for message in WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for name in RANK_ZERO:
            logging.getLogger(name).removeFilter(_is_wanted)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not record.getMessage().startswith(NOISE)
