"""Where a command starts: from nothing, from a checkpoint (`--ckpt best|last|FILE|RUN`), or from a run (`--resume`).

A checkpoint knows its model, its data and, if the command line made it, how it was trained. Whatever the command line
says wins over that, but a network stays what it was trained as.

A checkpoint, and the folder of a run, may come from a stranger. `zoo.runs.trust` decides what they may say. What the
command line replaces is not looked at.
"""

import copy
import json
import re
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.data_sets import CIFAR10, DATA_SETS
from datamodules.errors import InputError, one_line
from datamodules.paths import user_path
from zoo.catalogue import registry
from zoo.runs import checkpoints, configs, options, run_directory, trust
from zoo.runs.checkpoints import BEST, LAST, Content
from zoo.runs.command_line import CHECKPOINT, RESUME, CommandLine
from zoo.runs.configs import Config

TASKS = ("multiclass", "binary")
SIZES = ("val_size", "train_size", "test_size")
# As PEP 508 has it, and of a length that fits into a message.
PACKAGE_NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
LONGEST_PATH = 4096


class Origin(NamedTuple):
    """Where a command starts.

    Attributes:
        path: the checkpoint; None to start from nothing.
        content: of the checkpoint.
        run: the run to go on with in its own directory; None if a run gets a new one.
        config: of the checkpoint or the run.
    """

    path: Path | None = None
    content: Content | None = None
    run: Path | None = None
    config: Config | None = None


def find(command_line: CommandLine) -> Origin:
    """Return where a command line starts, and lay its config under what the command line says.

    Raises:
        InputError: if --ckpt or --resume name nothing that can be read, or contradict the command line.
    """
    special = command_line.special
    given = [special[name] for name in CHECKPOINT if name in special]
    if given and not given[0]:
        raise InputError("--ckpt needs a value: best, last, a checkpoint file, or a run's directory")
    checkpoint = given[0] if given else command_line.named.get("ckpt_path")
    if RESUME in special:
        if command_line.command != "fit":
            raise InputError(
                f"--resume goes on with training: {command_line.command} takes --ckpt best, last or a file"
            )
        if given:
            raise InputError("--resume goes on from the run's last checkpoint: leave out --ckpt")
        if any(option.option == "--name" for option in command_line.options):
            raise InputError("--resume goes on in the run's own directory: leave out --name")
        origin, base = _from_run(_named_run(special[RESUME], command_line.runs_dir), command_line.said)
    elif checkpoint in (None, "null", "None"):
        return Origin()
    else:
        training = command_line.command == "fit"
        origin, base = _from_checkpoint(str(checkpoint), training, command_line.runs_dir, command_line.said)
        if not training and origin.path is not None:  # links are refused before the work
            run_directory.folder_of(origin.path, "test" if command_line.command == "test" else "val")
    (_section(base, "model").get("init_args") or {}).pop("num_classes", None)  # follows from data.task
    command_line.start_from(base)
    return origin


def of_checkpoint(wanted: str, runs_dir: Path, model: str | None = None) -> Origin:
    """Return what is known about a checkpoint.

    Args:
        wanted: "best" or "last" of the newest run in `runs_dir`, a checkpoint file, or the directory of a run or of
            several runs. Of a run it is the best checkpoint, or the last one; of several runs the newest run's.
        runs_dir: where runs are kept.
        model: the checkpoint's model, a name or a dotted path; None lets the checkpoint name one of the zoo.

    Raises:
        InputError: if there is no such checkpoint, it cannot be read, or its model is another one or unknown.
    """
    said = {"model": {"class_path": registry.find(model).class_path}} if model else {}
    return _from_checkpoint(wanted, False, runs_dir, said)[0]


def check_arguments(origin: Origin, init_args: dict[str, Any]) -> None:
    """Check that the model to build is the checkpoint's.

    Args:
        origin: where the command starts.
        init_args: of the model to build, by name.

    Raises:
        InputError: names the first argument that differs and both its values.
    """
    if origin.content is None:
        return
    for name, value in _arguments(origin.content).items():
        if name in init_args and not _is_same(init_args[name], value):
            option, what = f"--model.{name}", f"--model.{name}={init_args[name]}"
            if name == "num_classes":
                option, what = "--data.task", f"--data.task asks for {init_args[name]} classes"
            raise InputError(f"{what}, but the model of {origin.path} has {name} {value}: leave {option} out")


# From a run.


def _named_run(name: str | None, runs_dir: Path) -> Path:
    if name is not None:
        run = user_path(name)
        if len(name) > LONGEST_PATH or not (run / run_directory.CONFIG).is_file():
            raise InputError(
                f"--resume {name} is no run: give a directory with a {run_directory.CONFIG}, as runs/CNN/2026-..."
            )
        return run
    newest = run_directory.newest(runs_dir, lambda run: True)
    if newest is None:
        raise InputError(f"--resume: there is no run in '{runs_dir}' yet")
    return newest


def _from_run(run: Path, said: Config) -> tuple[Origin, Config]:
    """Return a run with its last checkpoint, else the checkpoint that it started from itself, else none.

    Returns:
        The origin, and what the command line leaves of the run's config.
    """
    run_directory.check_links(run)
    path = run / run_directory.CONFIG
    config = configs.expand(configs.read(path))
    started_from = config.pop("ckpt_path", None)
    last = run / run_directory.CHECKPOINTS / f"{LAST}.ckpt"
    checkpoint = last if last.is_file() else None if started_from is None else user_path(str(started_from))
    content = None if checkpoint is None else checkpoints.read(checkpoint)
    named = _named_model(said)
    if content is not None and "package" in content:  # the message says so if the package is not installed
        try:
            _check_class_path(content, named)
        except InputError as error:
            raise InputError(f"{checkpoint}: {error}") from error
    again = f"--resume {shlex.quote(str(run))} --config FILE, where FILE may be {shlex.quote(str(path))}"
    base = _trusted(config, trust.Source(str(path), again, run), said)
    data = _section(base, "data")
    data.pop("mirrors", None)
    if not _has_data(data):  # of another machine
        data.pop("data_dir", None)
    class_path = _section(config, "model").get("class_path")
    if named is not None and not configs.names_class(named, class_path):
        raise InputError(
            f"{checkpoint or run} is of {class_path}, and the command line names {named}: give the one that fits"
        )
    return Origin(checkpoint, content, run, config), base


# From a checkpoint.


def _from_checkpoint(wanted: str, training: bool, runs_dir: Path, said: Config) -> tuple[Origin, Config]:
    """Return a checkpoint, and what the command line leaves of its config.

    Args:
        wanted: see `of_checkpoint`.
        training: whether the command trains.
        runs_dir: where runs are kept.
        said: what the command line says.
    """
    named = _named_model(said)
    path = _in_newest_run(wanted, runs_dir, named) if wanted in (BEST, LAST) else _in_run(wanted)
    content = checkpoints.read(path)
    try:
        config = _config(content, named)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"--ckpt {path}: {error}") from error
        raise InputError(f"--ckpt {path} does not say how it was trained ({error})") from error
    kept = {*options.names("", kept="always"), "data"}
    kept |= {*options.names("", kept="fit"), "trainer"} if training else set()
    config = {key: value for key, value in config.items() if key in kept}
    again = "--optimizer, --lr_schedule or --SECTION.ARGUMENT of the command line, or --config FILE"
    return Origin(path, content, config=config), _trusted(config, trust.Source(f"--ckpt {path}", again), said)


def _in_run(wanted: str) -> Path:
    """Return the checkpoint of a run's directory, or of the newest run in a folder of runs; else `wanted` itself.

    Raises:
        InputError: if there is no checkpoint, or a run holds links (see `zoo.runs.run_directory.check_links`).
    """
    path = user_path(wanted)
    if len(wanted) > LONGEST_PATH or not path.is_dir():
        if len(wanted) <= LONGEST_PATH and (holder := run_directory.holding(path)) is not None:
            run_directory.check_links(holder)
        return path
    run: Path | None = path
    if not (path / run_directory.CHECKPOINTS).is_dir() and not (path / run_directory.CONFIG).is_file():
        run = run_directory.newest(path, lambda run: bool(_checkpoints(run)))
    if run is None:
        raise InputError(f"--ckpt {wanted} is a folder without a run that has a checkpoint: give a run's directory")
    run_directory.check_links(run)
    if not _checkpoints(run):
        raise InputError(f"--ckpt {wanted} has no checkpoint yet")
    return _checkpoints(run)[0]


def _checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, the best one first."""
    return [path for which in (BEST, LAST) if (path := run / run_directory.CHECKPOINTS / f"{which}.ckpt").is_file()]


def _in_newest_run(which: str, runs_dir: Path, model: str | None) -> Path:
    """Return the checkpoint `which` of the newest run that has one; of `model`, if that is named."""
    relative = Path(run_directory.CHECKPOINTS) / f"{which}.ckpt"

    def holds(run: Path) -> bool:
        if not (run / relative).is_file():
            return False
        if model is None:
            return True
        try:
            trained = configs.read(run / run_directory.CONFIG).get("model")
        except InputError as error:
            print(f"note: {one_line(error)}: this run is left out", file=sys.stderr)
            return False
        return configs.names_class(model, trained.get("class_path") if isinstance(trained, dict) else trained)

    run = run_directory.newest(runs_dir, holds)
    if run is None:
        of_model = f" of {model.rpartition('.')[2]}" if model else ""
        hint = "; without a validation set a run has a last one only" if which == BEST else ""
        raise InputError(f"--ckpt {which}: no run{of_model} in '{runs_dir}' has a {relative}{hint}")
    run_directory.check_links(run)
    return run / relative


def _config(content: Content, named: str | None) -> Config:
    """Return what a checkpoint tells about its training, as far as it is taken over.

    Args:
        content: of the checkpoint.
        named: the model that the command line names, and thereby trusts.
    """
    # Through JSON: plain values of plain types, whatever the file held.
    config = configs.expand(configs.check("its config", json.loads(json.dumps(content.get("config")))))
    about = json.loads(json.dumps(content.get("CIFAR10DataModule"))) or {}
    titles = {data_set.title: name for name, data_set in DATA_SETS.items()}
    source = titles.get(str(about.get("source")), CIFAR10.name)  # the name of a copy is longer
    sizes = {name: about[name] for name in SIZES if name in about}
    data = {"source": source, "task": about.get("task", "multiclass")} | sizes | (config.get("data") or {})
    for name, choices in (("source", tuple(DATA_SETS)), ("task", TASKS)):
        if data[name] not in choices:
            raise InputError(f"its data.{name} is {data[name]!r}, expected {' or '.join(choices)}")
    if not _has_data(data):
        data.pop("data_dir", None)
    trainer, dropped = options.names("trainer", kept="fit"), options.names("data", kept="never")
    return config | {
        "model": {
            "class_path": _check_class_path(content, named),
            "init_args": json.loads(json.dumps(_arguments(content))),
        },
        "data": {name: value for name, value in data.items() if name not in dropped},
        "trainer": {name: value for name, value in config.get("trainer", {}).items() if name in trainer},
    }


def _check_class_path(content: Content, named: str | None) -> str:
    """Return the class path of a checkpoint's model.

    Args:
        content: of the checkpoint.
        named: the model that the command line names, and thereby trusts.

    Raises:
        InputError: if the command line names another model, or none and the zoo does not have this one. The message
            names the package that the model came with.
    """
    class_path = content.get("class_path") or content["hyper_parameters"].get("_class_path")
    known = [entry.class_path for entry in registry.entries().values()]
    if named is not None:
        if not configs.names_class(named, class_path):
            raise InputError(f"it is of {class_path}, and the command line names {named}: give the one that fits")
        return named
    if isinstance(class_path, str) and class_path in known:
        return class_path
    package, way_out = content.get("package"), f"name it by --model {class_path}"
    if isinstance(package, str) and re.fullmatch(PACKAGE_NAME, package):
        way_out = f"it came with the package '{package}' (where you trust it, pip install {package}); else {way_out}"
    raise InputError(f"it is of {class_path}, which is not in the zoo: {way_out}")


def _has_data(data: Config) -> bool:
    """Whether the folder in a config holds its data. If not, it must not become a place to download to."""
    data_set, data_dir = DATA_SETS.get(str(data.get("source", CIFAR10.name))), data.get("data_dir")
    if data_set is None or not isinstance(data_dir, str):
        return False
    try:
        return data_set.find(data_dir) is not None
    except InputError:
        return False


def _arguments(content: Content) -> dict[str, Any]:
    """Return the arguments of a checkpoint's model."""
    return {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}


def _is_same(value: Any, said: Any) -> bool:
    """Whether an argument equals what a checkpoint, which `zoo.runs.trust` has checked, says about it."""
    path = trust.path_of(value)
    return configs.same_class(path, said) if path else _plain(value) == _plain(said)


def _plain(value: Any) -> Any:
    """Return `value` as a config holds it: a tuple as a list, a member of an enumeration by its name."""
    if isinstance(value, Enum):
        return value.name
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


# What the command line leaves.


def _section(config: Config, section: str) -> Config:
    return config.get(section) or {}


def _named_model(said: Config) -> str | None:
    return _section(said, "model").get("class_path")


def _trusted(config: Config, source: trust.Source, said: Config) -> Config:
    """Return what a command line leaves of a stranger's config.

    Args:
        config: of the stranger.
        source: where it comes from.
        said: what the command line says.

    Raises:
        InputError: see `zoo.runs.trust.check`.
    """
    left = _left(config, said)
    named = {key: _section(said, key).get("class_path") for key in options.CLASS_KEYS}
    try:
        configs.check_values(source.name, left)
        trust.check(left, source, named)
    except RecursionError:
        raise InputError(f"{source.name} has too many levels") from None
    return left


def _left(base: Config, said: Config) -> Config:
    """Return a config without what the command line replaces."""
    left = _without(base, said)
    for key in options.CLASS_KEYS:
        named, trained = (_section(config, key).get("class_path") for config in (said, base))
        if named is not None and trained is not None:
            # A class of the lists may be imported, and so compared under another of its paths.
            is_listed = trained in trust.paths(key)
            if configs.same_class(trained, named) if is_listed else configs.names_class(named, trained):
                left[key] = left[key] | {"class_path": named}
            else:
                left.pop(key, None)
    for name, value in _section(said, "trainer").items():
        if isinstance(value, dict) and "class_path" in value and "trainer" in left:  # named with all its arguments
            left["trainer"].pop(name, None)
    return left


def _without(base: Config, overlay: Config) -> Config:
    """Return a copy of `base` without the values that `overlay` replaces."""
    left = {}
    for key, value in base.items():
        if isinstance(value, dict) and isinstance(overlay.get(key), dict):
            left[key] = _without(value, overlay[key])
        elif key not in overlay or isinstance(overlay[key], dict):
            left[key] = copy.deepcopy(value)
    return left
