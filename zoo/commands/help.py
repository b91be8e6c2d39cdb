"""`fit --help` and its like: what people set most, by what they want. `--help all` has the rest. Needs no torch."""

import textwrap

from zoo.runs import configs

SECTIONS = ("data", "trainer", "all")  # of the long help, which the parser writes

ORIGIN = [
    ("--config CONFIG", "a file, or a shipped config by name; later ones lie over earlier ones"),
    ("--model MODEL", "a model of the zoo (python cli.py list), or my_module.MyNet"),
    ("--model.ARGUMENT VALUE", "an argument of the model (python cli.py info MODEL)"),
]
CHECKPOINT = ("--ckpt CHECKPOINT", "best or last of the newest run, a file, or a run's directory")
DATA = [
    ("--data.source SOURCE", "cifar10, downloaded where there is none; or synthetic, drawn (default cifar10)"),
    ("--data.data_dir DIR", "where CIFAR-10 lies (default CIFAR10_DIR, else data)"),
    ("--data.task TASK", "multiclass, or binary: airplane against the rest (default multiclass)"),
]
DEVICES = [
    ("--trainer.accelerator KIND", "cpu, gpu, mps (default auto)"),
    ("--trainer.devices N", "how many of them; auto: all (default 1)"),
    ("--trainer.precision KIND", "32-true, bf16-mixed, 16-mixed (default 32-true)"),
]
GROUPS = {
    "fit": {
        "What to train": ORIGIN,
        "On which images": [
            *DATA,
            ("--data.batch_size N", "training images a step (default 128)"),
            ("--data.val_size N", "images held out to select the best checkpoint (default 5000)"),
            ("--data.train_size N", "train on this many images only"),
            ("--data.crop_padding N", "random crops of images with a border this wide (default 0)"),
            ("--data.crop_border KIND", "what the border shows: zeros, or reflect, the image mirrored (default zeros)"),
            ("--data.horizontal_flip KIND", "true: mirror half of the images; alternating: in turns (default false)"),
            ("--data.cutout N", "cover a random square of this side (default 0)"),
        ],
        "How": [
            ("--trainer.max_epochs N", "times to go through all images (default 10)"),
            ("--optimizer CLASS", "any of torch.optim, or NumPySGD, NumPyMomentum, NumPyAdam (default: the model's)"),
            ("--optimizer.lr RATE", "its learning rate; --optimizer.ARGUMENT for the others"),
            ("--lr_schedule CLASS", "Constant, Linear, Cosine or Step (default Constant)"),
            ("--early_stopping N", "stop after this many epochs without a better val/acc"),
            ("--trainer.gradient_clip_val X", "shorten gradients that are longer"),
            ("--seed_everything SEED", "of the weights, the order, the augmentation (default 0)"),
        ],
        "On which machine": [
            *DEVICES,
            ("--config ddp", "all GPUs, a process each"),
            ("--compile true", "torch.compile the network's training steps; the first ones take a minute"),
            ("--data.device cpu", "keep the training images out of a GPU's memory (default auto: where it trains)"),
        ],
        "Where the run goes, and how it goes on": [
            ("--runs_dir DIR", "where runs are kept (default runs)"),
            ("--name NAME", "of the run's folder there (default: the model's)"),
            ("--resume [RUN]", "go on with a run that was stopped, by default the newest, in its own directory"),
            (CHECKPOINT[0], f"start a new run from a checkpoint: {CHECKPOINT[1]}"),
            ("--save_every_n_steps N", "save last.ckpt this often too, not at the end of epochs only"),
        ],
        "Trying things out": [
            ("--config synthetic", "drawn images, few of them, 3 epochs, no download"),
            ("--config histograms", "weights, gradients, activations of each layer in TensorBoard; takes time"),
            ("--trainer.fast_dev_run true", "one batch of each stage, nothing is kept"),
            ("--print_config", "print the whole config, and end"),
        ],
    },
    "validate": {"Which model": [CHECKPOINT, *ORIGIN], "On which images": DATA, "On which machine": DEVICES},
    "test": {"Which model": [CHECKPOINT, *ORIGIN], "On which images": DATA, "On which machine": DEVICES},
}
SUMMARY = {
    "fit": "Train a model, and evaluate its best checkpoint on the test set.",
    "validate": "Evaluate a checkpoint on the validation set.",
    "test": "Evaluate a checkpoint on the test set.",
}


def page(command: str) -> str:
    """Return the short help of a command: "fit", "validate" or "test"."""
    lines = [f"usage: python cli.py {command} [--config CONFIG ...] [--OPTION VALUE ...]", "", SUMMARY[command]]
    for title, options in GROUPS[command].items():
        lines += ["", f"{title}:"]
        lines += [f"  {option:<30} {text}" for option, text in options]
    more = ", ".join(f"--help {section}" for section in SECTIONS)
    lines += ["", f"All other options, in full: python cli.py {command} {more}"]
    names = textwrap.fill(", ".join(configs.shipped()), 110, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([*lines, "", "Shipped configs:", names])
