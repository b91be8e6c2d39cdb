"""The options of `fit`, each defined once.

The table defines the parser's defaults, the pages of `fit --help`, the comments of `config`, the options that a
checkpoint passes on to a command that starts from it, the options that `compare` ignores, and the ranges that are
checked before a run begins. Options that are not listed are Lightning's, and only `fit --help all` shows them. This
module does not import torch.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datamodules
from zoo.core.views import NO_VIEWS, VIEWS

GROUPS = ("Model", "Data", "Training", "Hardware", "Runs and resuming", "Trying things out")
MODEL, DATA, TRAINING, MACHINE, RUN, TRIALS = GROUPS


class Option(NamedTuple):
    """An option of `fit`.

    Attributes:
        name: as on the command line, without the dashes; the help shows a value behind a space.
        value: the placeholder of the value in the help.
        text: what the help says; "" hides the option from the short help.
        default: in place of Lightning's default; or the default of an option that Lightning does not have.
        least: the smallest value; -1 means no limit.
        share: the interval of a value that is a share, such as "(0, 1]": above 0, and at most 1; "" for other values.
        kept: the commands that take the value over from a checkpoint: "always" includes `validate` and `test`.
        learning: whether the value can change what is learned or how well that is tested. Runs that differ in other
            options alone are repetitions to `compare`.
        evaluation: whether `validate --help` and `test --help` show the option.
        type: of the value, for an option that neither Lightning nor a class of ours defines.
        group: the heading in `fit --help`.
    """

    name: str
    value: str = ""
    text: str = ""
    default: Any = None
    least: int | None = None
    share: Literal["", "(0, 1]", "(0, 1)", "[0, 1)"] = ""
    kept: Literal["always", "fit", "never"] = "never"
    learning: bool = True
    evaluation: bool = False
    type: Any = str | None
    group: str | None = None


def _data(name: str, value: str = "", text: str = "", **properties: Any) -> Option:
    """Return an option of the data module, which checkpoints pass on."""
    return Option(f"data.{name}", value, text, **{"kept": "always"} | properties)


def _group(heading: str, *options: Option) -> list[Option]:
    return [option._replace(group=heading if option.text else None) for option in options]


# Options of the trainer without a help text: those that decide what is learned, and those that do not.
DECIDING = (
    "min_epochs", "min_steps", "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "overfit_batches", "val_check_interval", "deterministic",
)  # fmt: skip
INDIFFERENT = (
    "benchmark", "inference_mode", "logger", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams",
    "profiler", "detect_anomaly", "default_root_dir", "model_registry", "limit_predict_batches",
)  # fmt: skip
WEIGHTS = "start with the weights of a run, a checkpoint or another file, as far as they fit"
LAYER_DECAY = "multiply the learning rate by X from each layer to the layer before it"
L1 = "add X |w| for each weight w to the loss that training lowers, which pulls useless weights to 0"
L2 = "likewise X/2 w², which shrinks large weights; biases and normalization are left out"
DECAY_NORMS = "let the optimizer's weight decay shrink biases and normalization, too"
SAM = "take gradients at the worst weights within distance RHO, such as 0.05; steps take twice as long"
EMA = "validate, test and save the exponential moving average of the weights; DECAY is near 1, such as 0.999"
SWA = "validate, test and save the mean of the weights over the last SHARE of training, such as 0.25"
SMOOTHING = "train on labels with a share of X spread evenly over all classes"
CHECKPOINT = "best or last of the newest run, a file, or a run's directory"
OPTIMIZERS = "any of torch.optim, or NumPySGD, NumPyMomentum, NumPyAdam (default: the model's)"
PRECISIONS = "32-true, bf16-mixed, 16-mixed (default 32-true)"
COMPILE = "torch.compile for training steps; the first ones take a minute"
DEVICE = "keep training images out of GPU memory (default auto: where the model trains)"
SAVE = "save last.ckpt every N steps too, not only after epochs"
DATA_SET = "CIFAR10 (the default), or another one: python cli.py list --data"
DATA_DIR = "folder or file (default: CIFAR10_DIR, MNIST_DIR, ... or data)"
TTA = "flip, shift or both: test the mean of predictions for mirrored or shifted images, too"
OWN_IMAGE_SIZE = "of ImageFolder: height and width in pixels (default 32)"
POLICY = "random operations for each image: randaugment, trivialaugment or autoaugment"
FLIP = "true mirrors half of the images; alternating mirrors each in every second epoch"
VAL_SIZE = "images held out to select the best checkpoint (default 5000, or a tenth of your own images)"
ZOO_MODEL = "a model of the zoo (python cli.py list), or my_module.MyNet"
OPTIONS = (
    *_group(
        MODEL,
        Option("config", "CONFIG", "a file, or a shipped config by name; later ones win", evaluation=True),
        Option("model", "MODEL", ZOO_MODEL, kept="always", evaluation=True),
        Option("model.ARGUMENT", "VALUE", "an argument of the model (python cli.py info MODEL)", evaluation=True),
    ),
    *_group(
        DATA,
        Option("data", "DATA", DATA_SET, kept="always", evaluation=True),
        _data("source", "SOURCE", "of CIFAR10: cifar10 (downloaded if absent) or synthetic", evaluation=True),
        _data("labels", "LABELS", "of CIFAR100: fine (100 classes, the default) or coarse (20)", evaluation=True),
        _data("image_size", "N", OWN_IMAGE_SIZE, evaluation=True),
        _data("channels", "N", "of ImageFolder: 3 for color (the default), 1 for gray", evaluation=True),
        _data("data_dir", "DIR", DATA_DIR, learning=False, evaluation=True),
        _data("task", "TASK", "multiclass, or binary: a class and the rest", evaluation=True),
        _data("one_class", "CLASS", "the class of the binary task (default: the first one)", evaluation=True),
        _data("batch_size", "N", "training images per step"),
        _data("val_size", "N", VAL_SIZE),
        _data("train_size", "N", "train on N images only"),
        _data("crop_padding", "N", "random crops of images with a border of N pixels"),
        _data("crop_border", "KIND", "fill the border with zeros, or reflect the image"),
        _data("horizontal_flip", "KIND", FLIP),
        _data("policy", "NAME", POLICY),
        _data("color_jitter", "X", "change brightness, contrast and saturation by up to X, 0 to 1"),
        _data("cutout", "N", "cover a random square of N by N pixels"),
        _data("random_erasing", "P", "cover a random rectangle with a probability of P"),
        _data("mixup", "ALPHA", "mix images by weights of Beta(ALPHA, ALPHA); 0 is off"),
        _data("cutmix", "ALPHA", "paste a box of another image, of area 1 - Beta(ALPHA, ALPHA)"),
        _data("label_noise", "P", "give a share of P of the training images the label of another class"),
        _data("imbalance", "R", "keep R times as many training images of the first class as of the last"),
        _data("download", kept="never", learning=False),
        _data("mirrors", kept="never", learning=False),
        _data("verify_checksums", learning=False),
        _data("eval_batch_size", learning=False),
        _data("seed", learning=False),
    ),
    *_group(
        TRAINING,
        Option("trainer.max_epochs", "N", "passes through the training images", 10, least=-1, kept="fit"),
        Option("optimizer", "CLASS", OPTIMIZERS, kept="fit"),
        Option("optimizer.lr", "RATE", "the learning rate; --optimizer.ARGUMENT sets another argument"),
        Option("lr_schedule", "CLASS", "Constant, Linear, Cosine or Step", "Constant", kept="fit"),
        Option(
            "early_stopping",
            "N",
            "stop after this many epochs without a better val/acc",
            least=1,
            kept="fit",
            type=int | None,
        ),
        Option("freeze", "N", "train the head alone for the first N epochs", 0, least=0, kept="fit", type=int),
        Option("layer_decay", "X", LAYER_DECAY, 1.0, share="(0, 1]", kept="fit", type=float),
        Option("l1", "X", L1, 0.0, least=0, kept="fit", type=float),
        Option("l2", "X", L2, 0.0, least=0, kept="fit", type=float),
        Option("decay_norms", "true", DECAY_NORMS, False, kept="fit", type=bool),
        Option("sam", "RHO", SAM, 0.0, least=0, kept="fit", type=float),
        Option("ema", "DECAY", EMA, share="(0, 1)", kept="fit", type=float | None),
        Option("swa", "SHARE", SWA, share="(0, 1)", kept="fit", type=float | None),
        Option("label_smoothing", "X", SMOOTHING, 0.0, share="[0, 1)", kept="fit", type=float),
        Option("tta", "VIEWS", TTA, NO_VIEWS, kept="always", evaluation=True, type=Literal[tuple(VIEWS)]),
        Option("trainer.gradient_clip_val", "X", "scale down gradients with a larger norm", least=0, kept="fit"),
        Option("seed_everything", "SEED", "seed of weights, order and augmentation", 0, kept="always", learning=False),
    ),
    *_group(
        MACHINE,
        Option("trainer.accelerator", "KIND", "cpu, gpu, mps (default auto)", learning=False, evaluation=True),
        Option("trainer.devices", "N", "number of devices, or auto for all", 1, learning=False, evaluation=True),
        Option("trainer.precision", "KIND", PRECISIONS, kept="fit", evaluation=True),
        Option("config ddp", "", "all GPUs, one process each"),
        Option("compile", "true", COMPILE, False, learning=False, type=bool),
        _data("device", "cpu", DEVICE, learning=False),
    ),
    *_group(
        RUN,
        Option("runs_dir", "DIR", "where runs are kept", "runs", learning=False, type=str),
        Option("name", "NAME", "name of the run's folder (default: the model's name)", learning=False),
        Option("resume", "[RUN]", "go on with a stopped run, by default the newest"),
        Option("ckpt", "CHECKPOINT", f"start a new run from a checkpoint: {CHECKPOINT}"),
        Option("init_from", "WEIGHTS", WEIGHTS),
        Option("save_every_n_steps", "N", SAVE, least=1, kept="fit", learning=False, type=int | None),
        Option("ckpt_path"),  # a run's config keeps what the run started from
    ),
    *_group(
        TRIALS,
        Option("config synthetic", "", "a few synthetic images, 3 epochs, no download"),
        Option("config histograms", "", "weights, gradients and activations of each layer in TensorBoard; slower"),
        Option("trainer.fast_dev_run", "true", "one batch of each stage, no files"),
        Option("print_config", "", "print the whole config and exit"),
    ),
    *(Option(f"trainer.{name}", kept="fit") for name in DECIDING),
    Option("trainer.max_steps", least=-1, kept="fit"),
    Option("trainer.accumulate_grad_batches", least=1, kept="fit"),
    Option("trainer.check_val_every_n_epoch", least=1, kept="fit"),
    Option("trainer.log_every_n_steps", least=1, kept="fit", learning=False),
    Option("trainer.num_nodes", least=1, learning=False),
    Option("trainer.num_sanity_val_steps", default=0, learning=False),
    *(Option(f"trainer.{name}", learning=False) for name in INDIFFERENT),
)
TABLE = {option.name: option for option in OPTIONS}
SECTIONS = ("data", "trainer")  # of a config: their keys are the arguments of a class; "data" may name it, too
CLASS_KEYS = ("model", "optimizer", "lr_schedule")  # of a config: their values name a class
NAMING_KEYS = (*CLASS_KEYS, "data")  # of a config: their values may name a class
NO_KEYS = ("config", "resume", "ckpt", "print_config")  # options that no config has
# The keys at the top of a config.
KEYS = (*SECTIONS, *(n for n in TABLE if "." not in n and " " not in n and n not in (*NO_KEYS, *SECTIONS)))
# The keys that neither Lightning nor a class of ours defines.
OWN = tuple(name for name in KEYS if name not in (*SECTIONS, "model", "seed_everything"))
TRAINER_DEFAULTS = {
    option.name.removeprefix("trainer."): option.default
    for option in OPTIONS
    if option.name.startswith("trainer.") and option.default is not None
}


def names(section: str, **properties: Any) -> tuple[str, ...]:
    """Return the names, without their section, of the options in `section` ("" for none) with these properties."""
    return tuple(
        option.name.rpartition(".")[2]
        for option in OPTIONS
        if option.name.rpartition(".")[0] == section and " " not in option.name
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
def data_defaults(module: str = "image_data_module") -> dict[str, Any]:
    """Return the defaults of the arguments of all data modules, or of the one in a module of `datamodules`.

    They are read from the source: importing it would import torch.
    """
    tree = ast.parse((Path(datamodules.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    (init,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    arguments = init.args.args[-len(init.args.defaults) :]
    defaults = map(ast.literal_eval, init.args.defaults)
    return dict(zip((argument.arg for argument in arguments), defaults, strict=True))
