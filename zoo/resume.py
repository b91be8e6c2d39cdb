"""What a command goes on from: `--ckpt_path best|last|FILE`, or `--resume` with the run to go on with.

A checkpoint knows its model, its data and, where a command line made it, its whole config. That config lies under all
that the command line says, whose values win; but a network is what it was trained as.
"""

from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError
from zoo import checkpoints, runs
from zoo import config as configs
from zoo.checkpoints import BEST, LAST, Content
from zoo.config import Composed, Config

# What an evaluation takes over; the devices and the length of the training do not concern it.
EVALUATED = ("seed_everything", "model", "data")


class Origin(NamedTuple):
    """What a command goes on from.

    Attributes:
        path: the checkpoint; None where a command starts from nothing.
        content: what it holds.
        run: the run to go on with in its own directory; None where a run gets one of its own.
    """

    path: Path | None = None
    content: Content | None = None
    run: Path | None = None


def take(command: str, composed: Composed) -> tuple[Composed, Origin]:
    """Take `--ckpt_path` and `--resume` out of a command line, and lay it over the config of what they name.

    Raises:
        InputError: where they name nothing, or something else than the command line does.
    """
    options, rest = configs.take_options(composed.rest, ("--ckpt_path", "--resume"))
    config = dict(composed.config)
    in_config = config.pop("ckpt_path", None)
    wanted = options.get("--ckpt_path", in_config)
    runs_dir = Path(
        configs.take_options(rest, ("--runs_dir",))[0].get("--runs_dir") or config.get("runs_dir") or "runs"
    )
    model = (config.get("model") or {}).get("class_path")
    if "--resume" in options:
        if command != "fit":
            raise InputError(f"--resume goes on with training: {command} takes --ckpt_path best, last or a file")
        if wanted is not None:
            raise InputError("--resume goes on from the run's last checkpoint: leave out --ckpt_path")
        run = _named_run(options["--resume"], runs_dir)
        origin, base = _of_run(run), configs.read(run / runs.CONFIG)
    elif wanted in (None, "null", "None"):
        return composed._replace(config=config, rest=rest), Origin()
    else:
        path = _in_newest_run(wanted, runs_dir, model) if wanted in (BEST, LAST) else Path(str(wanted))
        origin = Origin(path, checkpoints.read(path))
        base = _config_of(origin)
        if command != "fit":
            base = {key: base[key] for key in EVALUATED if key in base}
    base.pop("ckpt_path", None)  # where that run itself went on from
    theirs, data = base.get("model") or {}, base.get("data") or {}
    _check_model(model, theirs.get("class_path"), origin)
    (theirs.get("init_args") or {}).pop("num_classes", None)  # follows from data.task
    if not Path(data.get("data_dir") or ".").exists():  # of another machine
        del data["data_dir"]
    return composed._replace(config=configs.merge(base, config), rest=rest), origin


def check_arguments(origin: Origin, init_args: dict[str, Any]) -> None:
    """Check that the model to build is the one that the checkpoint holds.

    Args:
        origin: what the command goes on from.
        init_args: of the model to build, by name.

    Raises:
        InputError: names the argument and both its values.
    """
    if origin.content is None:
        return
    for name, value in _arguments_of(origin.content).items():
        if name in init_args and _plain(init_args[name]) != _plain(value):
            option, what = f"--model.{name}", f"--model.{name}={init_args[name]}"
            if name == "num_classes":
                option, what = "--data.task", f"--data.task asks for {init_args[name]} classes"
            raise InputError(f"{what}, but the model of {origin.path} has {name} {value}: leave {option} out")


def _named_run(name: str | None, runs_dir: Path) -> Path:
    if name is not None:
        run = Path(name)
        if not (run / runs.CONFIG).is_file():
            raise InputError(f"--resume {name} is no run: give a directory with a {runs.CONFIG}, as runs/CNN/2026-...")
        return run
    newest = runs.newest(runs_dir, lambda run: True)
    if newest is None:
        raise InputError(f"--resume: there is no run in '{runs_dir}' yet")
    return newest


def _of_run(run: Path) -> Origin:
    path = run / runs.CHECKPOINTS / f"{LAST}.ckpt"
    if not path.is_file():  # the run was ended before its first one: it starts anew
        return Origin(run=run)
    return Origin(path, checkpoints.read(path), run)


def _in_newest_run(which: str, runs_dir: Path, model: str | None) -> Path:
    """Return the checkpoint `which` of the newest run that has one, and is of `model` where that is named."""
    relative = Path(runs.CHECKPOINTS) / f"{which}.ckpt"

    def holds(run: Path) -> bool:
        if not (run / relative).is_file():
            return False
        return model is None or configs.read(run / runs.CONFIG).get("model", {}).get("class_path") == model

    run = runs.newest(runs_dir, holds)
    if run is None:
        of_model = f" of {model.rpartition('.')[2]}" if model else ""
        hint = "; without a validation set a run has a last one only" if which == BEST else ""
        raise InputError(f"--ckpt_path {which}: no run{of_model} in '{runs_dir}' has a {relative}{hint}")
    return run / relative


def _config_of(origin: Origin) -> Config:
    """Return the config that a checkpoint was trained with; what is known of it where no command line made it."""
    assert origin.content is not None
    if "config" in origin.content:
        return origin.content["config"]
    data = origin.content.get("CIFAR10DataModule", {})
    source = "synthetic" if data.get("source") == "synthetic" else "cifar10"
    return {
        "model": {"class_path": _class_path_of(origin), "init_args": _arguments_of(origin.content)},
        "data": {"source": source, "task": data.get("task", "multiclass")},
    }


def _class_path_of(origin: Origin) -> str:
    content = origin.content or {}
    class_path = content.get("class_path") or content["hyper_parameters"].get("_class_path")
    if class_path is None:
        raise InputError(f"--ckpt_path {origin.path} does not say which model it is of")
    return class_path


def _arguments_of(content: Content) -> dict[str, Any]:
    return {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}


def _check_model(named: str | None, theirs: Any, origin: Origin) -> None:
    if named is not None and not configs.same_class(named, theirs):
        raise InputError(
            f"{origin.path or origin.run} is of {theirs}, and the command line names {named}: give the one that fits"
        )


def _plain(value: Any) -> Any:
    """`value` with tuples as lists: a config knows no tuples."""
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
