"""The options of `fit`, each written down once.

From this table follow the parser's defaults, the pages of `fit --help`, the comments of `config`, what a checkpoint
hands on to a command that starts from it, which options `compare` ignores, and the ranges that are checked before a run
begins. It needs no torch. Options that are not listed are Lightning's, and only `fit --help all` shows them.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datamodules

MODEL, DATA, TRAINING, MACHINE, RUN, TRIALS = GROUPS = (
    "What to train",
    "On which images",
    "How",
    "On which machine",
    "Where the run goes, and how it goes on",
    "Trying things out",
)


class Option(NamedTuple):
    """An option of `fit`.

    Attributes:
        name: as on the command line, without the dashes; a word behind a space is a value that the help shows.
        value: stands for the value in the help.
        text: what the help says.
        group: the heading in `fit --help`; None hides the option from that page.
        default: overrides Lightning's default, or is that of an option which Lightning does not have.
        least: the smallest value.
        kept: which commands take the value over from a checkpoint: "always" those that evaluate, too; "fit"; "never".
        learning: whether the value can change what is learned or how well that is tested. Runs that differ in other
            options alone are repetitions to `compare`.
        evaluation: whether `validate --help` and `test --help` show it.
    """

    name: str
    value: str = ""
    text: str = ""
    group: str | None = None
    default: Any = None
    least: int | None = None
    kept: Literal["always", "fit", "never"] = "never"
    learning: bool = True
    evaluation: bool = False


def _data(name: str, value: str = "", text: str = "", **properties: Any) -> Option:
    """Return an option of the data module, which checkpoints hand on."""
    return Option(f"data.{name}", value, text, **{"group": DATA if text else None, "kept": "always"} | properties)


# Options of the trainer that nobody needs help with: those that decide what is learned, and those that do not.
DECIDING = (
    "min_epochs", "max_steps", "min_steps", "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "overfit_batches", "val_check_interval", "deterministic",
)  # fmt: skip
INDIFFERENT = (
    "benchmark", "inference_mode", "logger", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams",
    "profiler", "detect_anomaly", "default_root_dir", "model_registry", "limit_predict_batches",
)  # fmt: skip
CHECKPOINT = "best or last of the newest run, a file, or a run's directory"
OPTIONS = (
    Option(
        "config",
        "CONFIG",
        "a file, or a shipped config by name; later ones lie over earlier ones",
        MODEL,
        evaluation=True,
    ),
    Option(
        "model",
        "MODEL",
        "a model of the zoo (python cli.py list), or my_module.MyNet",
        MODEL,
        kept="always",
        evaluation=True,
    ),
    Option("model.ARGUMENT", "VALUE", "an argument of the model (python cli.py info MODEL)", MODEL, evaluation=True),
    _data("source", "SOURCE", "cifar10, downloaded where there is none; or synthetic, drawn", evaluation=True),
    _data("data_dir", "DIR", "where CIFAR-10 lies (default CIFAR10_DIR, else data)", learning=False, evaluation=True),
    _data("task", "TASK", "multiclass, or binary: airplane against the rest", evaluation=True),
    _data("batch_size", "N", "training images a step"),
    _data("val_size", "N", "images held out to select the best checkpoint"),
    _data("train_size", "N", "train on this many images only"),
    _data("crop_padding", "N", "random crops of images with a border this wide"),
    _data("crop_border", "KIND", "what the border shows: zeros, or reflect, the image mirrored"),
    _data("horizontal_flip", "KIND", "true: mirror half of the images; alternating: in turns"),
    _data("cutout", "N", "cover a random square of this side"),
    _data("download", kept="never", learning=False),
    _data("mirrors", kept="never", learning=False),
    _data("verify_checksums", learning=False),
    _data("eval_batch_size", learning=False),
    _data("seed", learning=False),
    Option("trainer.max_epochs", "N", "times to go through all images", TRAINING, 10, kept="fit"),
    Option(
        "optimizer",
        "CLASS",
        "any of torch.optim, or NumPySGD, NumPyMomentum, NumPyAdam (default: the model's)",
        TRAINING,
        kept="fit",
    ),
    Option("optimizer.lr", "RATE", "its learning rate; --optimizer.ARGUMENT for the others", TRAINING),
    Option("lr_schedule", "CLASS", "Constant, Linear, Cosine or Step", TRAINING, "Constant", kept="fit"),
    Option(
        "early_stopping", "N", "stop after this many epochs without a better val/acc", TRAINING, least=1, kept="fit"
    ),
    Option("trainer.gradient_clip_val", "X", "shorten gradients that are longer", TRAINING, kept="fit"),
    Option(
        "seed_everything",
        "SEED",
        "of the weights, the order, the augmentation",
        TRAINING,
        0,
        kept="always",
        learning=False,
    ),
    Option("trainer.accelerator", "KIND", "cpu, gpu, mps (default auto)", MACHINE, learning=False, evaluation=True),
    Option("trainer.devices", "N", "how many of them; auto: all", MACHINE, 1, learning=False, evaluation=True),
    Option(
        "trainer.precision",
        "KIND",
        "32-true, bf16-mixed, 16-mixed (default 32-true)",
        MACHINE,
        kept="fit",
        evaluation=True,
    ),
    Option("config ddp", "", "all GPUs, a process each", MACHINE),
    Option(
        "compile",
        "true",
        "torch.compile the network's training steps; the first ones take a minute",
        MACHINE,
        False,
        learning=False,
    ),
    _data(
        "device",
        "cpu",
        "keep the training images out of a GPU's memory (default auto: where it trains)",
        group=MACHINE,
        learning=False,
    ),
    Option("runs_dir", "DIR", "where runs are kept", RUN, "runs", learning=False),
    Option("name", "NAME", "of the run's folder there (default: the model's)", RUN, learning=False),
    Option("resume", "[RUN]", "go on with a run that was stopped, by default the newest, in its own directory", RUN),
    Option("ckpt", "CHECKPOINT", f"start a new run from a checkpoint: {CHECKPOINT}", RUN),
    Option(
        "save_every_n_steps",
        "N",
        "save last.ckpt this often too, not at the end of epochs only",
        RUN,
        least=1,
        kept="fit",
        learning=False,
    ),
    Option("ckpt_path"),  # a run's config keeps what the run started from
    Option("config synthetic", "", "drawn images, few of them, 3 epochs, no download", TRIALS),
    Option("config histograms", "", "weights, gradients, activations of each layer in TensorBoard; takes time", TRIALS),
    Option("trainer.fast_dev_run", "true", "one batch of each stage, nothing is kept", TRIALS),
    Option("print_config", "", "print the whole config, and end", TRIALS),
    # The trainer's other options that decide what is learned: a checkpoint hands them on.
    *(Option(f"trainer.{name}", kept="fit") for name in DECIDING),
    Option("trainer.accumulate_grad_batches", least=1, kept="fit"),
    Option("trainer.check_val_every_n_epoch", least=1, kept="fit"),
    Option("trainer.log_every_n_steps", least=1, kept="fit", learning=False),
    # Those that do not.
    Option("trainer.num_nodes", least=1, learning=False),
    Option("trainer.num_sanity_val_steps", default=0, learning=False),
    *(Option(f"trainer.{name}", learning=False) for name in INDIFFERENT),
)
TABLE = {option.name: option for option in OPTIONS}
# Sections of a config: their keys are the arguments of a class.
SECTIONS = ("data", "trainer")
# Keys of a config whose value names a class.
CLASS_KEYS = ("model", "optimizer", "lr_schedule")
NO_KEYS = ("config", "resume", "ckpt", "print_config")  # options that no config has
# The keys at the top of a config.
KEYS = (*SECTIONS, *(name for name in TABLE if "." not in name and " " not in name and name not in NO_KEYS))
# Those that neither Lightning nor a class of ours defines.
OWN = tuple(name for name in KEYS if name not in (*SECTIONS, "model", "seed_everything"))
TRAINER_DEFAULTS = {
    option.name.removeprefix("trainer."): option.default
    for option in OPTIONS
    if option.name.startswith("trainer.") and option.default is not None
}


def names(section: str, **properties: Any) -> tuple[str, ...]:
    """Return the names, without their section, of the options in `section` ("" for none) that have these properties."""
    listed = (option for option in OPTIONS if " " not in option.name and option.name.rpartition(".")[0] == section)
    return tuple(
        option.name.rpartition(".")[2]
        for option in listed
        if all(getattr(option, name) == value for name, value in properties.items())
    )


def help_text(name: str) -> str:
    """Return what the help says about an option, with its default; "" if it says nothing."""
    option = TABLE.get(name, Option(name))
    section, _, argument = name.partition(".")
    default = data_defaults().get(argument) if section == "data" else option.default
    if not option.text or default is None or "(default" in option.text:
        return option.text
    return f"{option.text} (default {str(default).lower() if isinstance(default, bool) else default})"


@cache
def data_defaults() -> dict[str, Any]:
    """Return the defaults of the data module's arguments, out of its source: to import it would import torch."""
    source = (Path(datamodules.__file__).parent / "cifar10.py").read_text(encoding="utf-8")
    (module,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "CIFAR10DataModule"
    )
    (init,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    arguments = init.args.args[-len(init.args.defaults) :]
    defaults = map(ast.literal_eval, init.args.defaults)
    return dict(zip((argument.arg for argument in arguments), defaults, strict=True))
