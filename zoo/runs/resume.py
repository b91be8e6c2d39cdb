"""What a command goes on from: `--ckpt best|last|FILE|RUN`, or `--resume` with the run to go on with.

A checkpoint knows its model, its data and, where a command line made it, how it was trained. That lies under all that
the command line says, whose values win; but a network is what it was trained as.

A checkpoint may come from a stranger, and so may the folder of a run. What they may say is in `zoo.runs.trust`. The
command line replaces any of it, and what it replaces is not looked at.
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
from zoo.runs import checkpoints, configs, run_directory, trust
from zoo.runs.checkpoints import BEST, LAST, Content
from zoo.runs.configs import Composed, Config

# What is taken over from a checkpoint: by an evaluation; by a training, too; and of the trainer what decides what is
# learned. Its devices, its callbacks and its places are of the machine and the person that trained.
EVALUATED = ("seed_everything", "model", "data")
TRAINED = (*EVALUATED, "optimizer", "lr_schedule", "early_stopping", "save_every_n_steps")
TRAINER = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "precision", "gradient_clip_val", "gradient_clip_algorithm",
    "accumulate_grad_batches", "limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches",
    "val_check_interval", "check_val_every_n_epoch", "log_every_n_steps", "deterministic",
)  # fmt: skip
NOT_OF_DATA = ("mirrors", "download")
TASKS = ("multiclass", "binary")
SIZES = ("val_size", "train_size", "test_size")
CHECKPOINT = ("--ckpt", "--ckpt_path")
# As PEP 508 has it, and of a length that fits into a message.
PACKAGE_NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"


class Origin(NamedTuple):
    """What a command goes on from.

    Attributes:
        path: the checkpoint; None where a command starts from nothing.
        content: what it holds.
        run: the run to go on with in its own directory; None where a run gets one of its own.
        base: the config of what it goes on from.
    """

    path: Path | None = None
    content: Content | None = None
    run: Path | None = None
    base: Config | None = None


def take(command: str, composed: Composed) -> tuple[Composed, Origin]:
    """Take `--ckpt` and `--resume` out of a command line, and lay it over the config of what they name.

    Lightning calls the first `--ckpt_path`: it is taken, too.

    Raises:
        InputError: where they name nothing, or something else than the command line does.
    """
    options, rest = configs.take_options(composed.rest, (*CHECKPOINT, "--resume"))
    config = dict(composed.config)
    in_config = config.pop("ckpt_path", None)
    wanted = next((options[name] for name in CHECKPOINT if name in options), in_config)
    composed = composed._replace(config=config, rest=rest)
    if set(CHECKPOINT) & set(options) and not wanted:
        raise InputError("--ckpt needs a value: best, last, a checkpoint file, or a run's directory")
    if "--resume" in options:
        if command != "fit":
            raise InputError(f"--resume goes on with training: {command} takes --ckpt best, last or a file")
        if set(CHECKPOINT) & set(options):
            raise InputError("--resume goes on from the run's last checkpoint: leave out --ckpt")
        if "--name" in configs.take_options(rest, ("--name",))[0]:
            raise InputError("--resume goes on in the run's own directory: leave out --name")
        origin, base = _of_run(_named_run(options["--resume"], runs_dir(composed)), composed)
    elif wanted in (None, "null", "None"):
        return composed, Origin()
    else:
        origin, base = _of_file(str(wanted), command, composed)
        if command != "fit" and origin.path is not None:
            run_directory.folder_of(
                origin.path, "test" if command == "test" else "val"
            )  # links are refused before the work

    (_of(base, "model").get("init_args") or {}).pop("num_classes", None)  # follows from data.task
    return composed._replace(config=configs.merge(base, config)), origin


def of_checkpoint(wanted: str, runs_dir: Path, model: str | None = None) -> Origin:
    """Return what there is to know of a checkpoint.

    Args:
        wanted: "best" or "last" of the newest run in `runs_dir`, a checkpoint file, or a run's directory, of which the
            best one is taken, the last one where there is none; of a folder of runs it is the newest run.
        runs_dir: where runs are kept.
        model: that it is of, a name or a dotted path; None trusts it to name one of the zoo.

    Raises:
        InputError: where there is none, or it cannot be read, or is of another model, or of one that the zoo has not.
    """
    named = registry.find(model).class_path if model else None
    chosen = {"model": {"class_path": named}} if named else {}
    return _of_file(wanted, "evaluate", Composed({"runs_dir": str(runs_dir), **chosen}, [], {}, {}))[0]


def _check_is_of(origin: Origin, named: str | None) -> None:
    """Check that a model named on the command line is the one of the checkpoint, or the run."""
    class_path = ((origin.base or {}).get("model") or {}).get("class_path")
    if named is not None and not configs.names_class(named, class_path):
        found = f"{origin.path or origin.run} is of {class_path}"
        raise InputError(f"{found}, and the command line names {named}: give the one that fits")


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
        if name in init_args and not _is_same(init_args[name], value):
            option, what = f"--model.{name}", f"--model.{name}={init_args[name]}"
            if name == "num_classes":
                option, what = "--data.task", f"--data.task asks for {init_args[name]} classes"
            raise InputError(f"{what}, but the model of {origin.path} has {name} {value}: leave {option} out")


def runs_dir(composed: Composed) -> Path:
    """Return the folder of runs that a command line or its configs name."""
    in_words = configs.take_options(composed.rest, ("--runs_dir",))[0].get("--runs_dir")
    return user_path(str(in_words or composed.config.get("runs_dir") or "runs"))


def _named_model(composed: Composed) -> str | None:
    return (composed.config.get("model") or {}).get("class_path")


def _named_run(name: str | None, runs_dir: Path) -> Path:
    if name is not None:
        run = user_path(name)
        if len(name) > 4096 or not (run / run_directory.CONFIG).is_file():
            raise InputError(
                f"--resume {name} is no run: give a directory with a {run_directory.CONFIG}, as runs/CNN/2026-..."
            )
        return run
    newest = run_directory.newest(runs_dir, lambda run: True)
    if newest is None:
        raise InputError(f"--resume: there is no run in '{runs_dir}' yet")
    return newest


def _of_run(run: Path, composed: Composed) -> tuple[Origin, Config]:
    """Return a run's last checkpoint; where it has none yet, what it went on from itself, or nothing.

    Returns:
        It, and what the command line leaves of the run's config.
    """
    run_directory.check_links(run)
    path = run / run_directory.CONFIG
    config = configs.expand(configs.read(path))
    before = config.pop("ckpt_path", None)
    last = run / run_directory.CHECKPOINTS / f"{LAST}.ckpt"
    checkpoint = last if last.is_file() else None if before is None else user_path(str(before))
    content = None if checkpoint is None else checkpoints.read(checkpoint)
    if content is not None and "package" in content:  # which is told, where it is not installed
        try:
            _check_class_path(content, _named_model(composed))
        except InputError as error:
            raise InputError(f"{checkpoint}: {error}") from error

    again = f"--resume {shlex.quote(str(run))} --config FILE, where FILE may be {shlex.quote(str(path))}"
    base = _checked(config, trust.Source(str(path), again, run), composed)
    _of(base, "data").pop("mirrors", None)
    if not _has_data(_of(base, "data")):  # of another machine
        _of(base, "data").pop("data_dir", None)
    return _of_that_model(Origin(checkpoint, content, run, config), composed), base


def _of_file(wanted: str, command: str, composed: Composed) -> tuple[Origin, Config]:
    """Return a checkpoint, and what the command line leaves of its config."""
    named = _named_model(composed)
    path = _in_newest_run(wanted, runs_dir(composed), named) if wanted in (BEST, LAST) else _in_run(wanted)
    content = checkpoints.read(path)
    try:
        base = _config_of(content, named)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"--ckpt {path}: {error}") from error
        raise InputError(f"--ckpt {path} does not say how it was trained ({error})") from error
    taken = TRAINED if command == "fit" else EVALUATED
    trainer = {"trainer": base["trainer"]} if command == "fit" and "trainer" in base else {}
    base = {key: base[key] for key in taken if key in base} | trainer
    again = "--optimizer, --lr_schedule or --SECTION.ARGUMENT of the command line, or --config FILE"
    left = _checked(base, trust.Source(f"--ckpt {path}", again), composed)
    return _of_that_model(Origin(path, content, base=base), composed), left


def _of_that_model(origin: Origin, composed: Composed) -> Origin:
    _check_is_of(origin, _named_model(composed))
    return origin


def _of(config: Config, section: str) -> Config:
    return config.get(section) or {}


def _checked(base: Config, source: trust.Source, composed: Composed) -> Config:
    """Return what a command line leaves of a stranger's config.

    Raises:
        InputError: see `zoo.runs.trust.check`.
    """
    left = _left(base, composed)
    named = {key: _of(composed.config, key).get("class_path") for key in configs.CLASS_KEYS}
    try:
        configs.check_values(source.name, left)
        trust.check(left, source, named)
    except RecursionError:
        raise InputError(f"{source.name} has too many levels") from None
    return left


def _left(base: Config, composed: Composed) -> Config:
    """Return a config without what the command line replaces."""
    left = _without(base, composed.config)
    for key in configs.CLASS_KEYS:
        named, said = (_of(config, key).get("class_path") for config in (composed.config, base))
        if named is not None and said is not None:
            # A class of the lists may be imported, and so compared under another of its paths.
            same = configs.same_class(said, named) if said in trust.paths(key) else configs.names_class(named, said)
            if same:
                left[key] = left[key] | {"class_path": named}
            else:
                left.pop(key, None)
    for name, value in _of(composed.config, "trainer").items():
        if isinstance(value, dict) and "class_path" in value and "trainer" in left:  # it is named with all it has
            left["trainer"].pop(name, None)
    for option, _, _ in configs.options(composed.rest):
        section, _, name = option.removeprefix("--").partition(".")
        place = left.get(section)
        if section in configs.CLASS_KEYS and isinstance(place, dict):
            place, name = place.get("init_args"), name.removeprefix("init_args.")
        if isinstance(place, dict) and not name.endswith("+"):
            place.pop(name, None)
    return left


def _without(base: Any, overlay: Any) -> Any:
    """Return a copy of the dictionary `base` without the values that `overlay` has values for."""
    left = {}
    for key, value in base.items():
        if isinstance(value, dict) and isinstance(overlay.get(key), dict):
            left[key] = _without(value, overlay[key])
        elif key not in overlay or isinstance(overlay[key], dict):
            left[key] = copy.deepcopy(value)
    return left


def _in_run(wanted: str) -> Path:
    """Return the checkpoint of a run, where `wanted` is a run's directory, or of the newest one of a folder of runs;
    else `wanted` itself.

    Raises:
        InputError: if there is no checkpoint, or if a run holds links (see `zoo.runs.run_directory.check_links`).
    """
    path = user_path(wanted)
    if len(wanted) > 4096 or not path.is_dir():
        if len(wanted) <= 4096 and (of_file := run_directory.holding(path)) is not None:
            run_directory.check_links(of_file)
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
    """Return the checkpoint `which` of the newest run that has one, and is of `model` where that is named."""
    relative = Path(run_directory.CHECKPOINTS) / f"{which}.ckpt"

    def holds(run: Path) -> bool:
        if not (run / relative).is_file():
            return False
        if model is None:
            return True
        try:
            theirs = configs.read(run / run_directory.CONFIG).get("model")
        except InputError as error:
            print(f"note: {one_line(error)}: this run is left out", file=sys.stderr)
            return False
        theirs = theirs.get("class_path") if isinstance(theirs, dict) else theirs
        return configs.names_class(model, theirs)

    run = run_directory.newest(runs_dir, holds)
    if run is None:
        of_model = f" of {model.rpartition('.')[2]}" if model else ""
        hint = "; without a validation set a run has a last one only" if which == BEST else ""
        raise InputError(f"--ckpt {which}: no run{of_model} in '{runs_dir}' has a {relative}{hint}")
    run_directory.check_links(run)
    return run / relative


def _config_of(content: Content, named: str | None) -> Config:
    """Return what a checkpoint tells of its training, as far as it is taken over.

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
    class_path = _check_class_path(content, named)
    arguments = json.loads(json.dumps(_arguments_of(content)))
    return config | {
        "model": {"class_path": class_path, "init_args": arguments},
        "data": {name: value for name, value in data.items() if name not in NOT_OF_DATA},
        "trainer": {name: value for name, value in config.get("trainer", {}).items() if name in TRAINER},
    }


def _check_class_path(content: Content, named: str | None) -> str:
    """Return the class path of a checkpoint's model.

    Args:
        content: of the checkpoint.
        named: the model that the command line names, and thereby trusts.

    Raises:
        InputError: where neither the zoo has it nor the command line names one; names the package that it came with.
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


def _has_data(data: dict[str, Any]) -> bool:
    """Whether the folder in a config holds its data. If not, it must not become a place to download to."""
    data_set, data_dir = DATA_SETS.get(str(data.get("source", CIFAR10.name))), data.get("data_dir")
    if data_set is None or not isinstance(data_dir, str):
        return False
    try:
        return data_set.find(data_dir) is not None
    except InputError:
        return False


def _arguments_of(content: Content) -> dict[str, Any]:
    return {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}


def _is_same(value: Any, said: Any) -> bool:
    """Whether an argument is what a checkpoint, which `zoo.runs.trust` has checked, says of it."""
    path = trust.path_of(value)
    return configs.same_class(path, said) if path else _plain(value) == _plain(said)


def _plain(value: Any) -> Any:
    """`value` as a config holds it, which knows no tuples, and a member of an enumeration by its name."""
    if isinstance(value, Enum):
        return value.name
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
