"""`fit --help` and its like: the options that people set most, in groups. `--help all` has the rest. Needs no torch."""

from zoo.core.text_table import wrap
from zoo.runs import configs
from zoo.runs.options import CHECKPOINT, GROUPS, MODEL, OPTIONS, Option, help_text

SECTIONS = ("data", "trainer", "all")  # of the long help, which the parser writes
SUMMARY = {
    "fit": "Train a model, and evaluate its best checkpoint on the test set.",
    "validate": "Evaluate a checkpoint on the validation set.",
    "test": "Evaluate a checkpoint on the test set.",
}


def listed(command: str) -> dict[str, list[tuple[str, str]]]:
    """Return the options on the help page of a command, with their texts, by heading."""
    shown = [option for option in OPTIONS if command == "fit" or option.evaluation]
    groups = {group: [_line(option) for option in shown if option.group == group] for group in GROUPS}
    if command != "fit":
        groups[MODEL].insert(0, ("--ckpt CHECKPOINT", CHECKPOINT))
    return {group: lines for group, lines in groups.items() if lines}


def _line(option: Option) -> tuple[str, str]:
    return f"--{option.name} {option.value}".rstrip(), help_text(option.name)


def page(command: str) -> str:
    """Return the short help of a command: "fit", "validate" or "test"."""
    lines = [f"usage: python cli.py {command} [--config CONFIG ...] [--OPTION VALUE ...]", "", SUMMARY[command]]
    for title, options in listed(command).items():
        lines += ["", f"{title}:"]
        lines += [wrap(text, f"  {option:<30} ") for option, text in options]
    more = ", ".join(f"--help {section}" for section in SECTIONS)
    lines += ["", f"All other options, in full: python cli.py {command} {more}"]
    return "\n".join([*lines, "", "Shipped configs:", wrap(", ".join(configs.shipped()), "  ")])
