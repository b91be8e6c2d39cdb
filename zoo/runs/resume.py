"""The start of a command: nothing, a checkpoint (`--ckpt best|last|FILE|RUN`), or a run (`--resume`).

A checkpoint knows its model, its data and, if the command line wrote it, how it was trained. The command line overrides
all of that, but a network keeps its architecture.

A checkpoint, and the folder of a run, may come from a stranger. `zoo.runs.trust` decides what they may say. Values that
the command line replaces are not checked.
"""

import copy
import json
import re
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.data_set import LONGEST_NAME, check_names
from datamodules.data_sets import SOURCES
from datamodules.errors import InputError, first_of, one_line
from datamodules.image_data_module import ImageDataModule
from datamodules.own_images import Arrays, ImageFolder
from datamodules.paths import user_path
from datamodules.tasks import TASKS
from zoo.catalogue import registry
from zoo.core.about import AT_START, FROM_DATA
from zoo.runs import checkpoints, configs, data_modules, options, run_directory, trust
from zoo.runs.checkpoints import BEST, LAST, Content
from zoo.runs.command_line import CHECKPOINT, RESUME, CommandLine
from zoo.runs.configs import Config

INIT_FROM = "--init_from"
NOTHING = (None, "null", "None")  # values of an option that names no checkpoint
# By PEP 508, and short enough for a message.
PACKAGE_NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"


class Origin(NamedTuple):
    """The start of a command.

    Attributes:
        path: the checkpoint; None to start from nothing.
        content: of the checkpoint.
        run: the directory of the run to go on with; None for a new run.
        config: of the checkpoint or the run.
    """

    path: Path | None = None
    content: Content | None = None
    run: Path | None = None
    config: Config | None = None


def find(command_line: CommandLine) -> Origin:
    """Return the start of a command, and set the base of its command line."""
    special, command = command_line.special, command_line.command
    given = [special[name] for name in CHECKPOINT if name in special]
    if given and not given[0]:
        raise InputError("--ckpt needs a value: best, last, a checkpoint file, or a run's directory")
    checkpoint = given[0] if given else command_line.named.get("ckpt_path")
    if RESUME in special:
        if command != "fit":
            raise InputError(f"--resume goes on with training: {command} takes --ckpt best, last or a file")
        if given:
            raise InputError("--resume goes on from the run's last checkpoint: leave out --ckpt")
        if any(option.option == "--name" for option in command_line.options):
            raise InputError("--resume goes on in the run's own directory: leave out --name")
        if any(option.option == INIT_FROM for option in command_line.options):
            raise InputError(f"--resume goes on with the run's own weights: leave out {INIT_FROM}")
        origin, base = _from_run(_named_run(special[RESUME], command_line.runs_dir), command_line.said)
    elif checkpoint in NOTHING:
        return Origin()
    elif command_line.said.get("init_from") not in NOTHING:
        raise InputError(f"--ckpt goes on with a training, and {INIT_FROM} takes weights alone: give one of them")
    else:
        origin, base = _from_checkpoint(str(checkpoint), command == "fit", command_line.runs_dir, command_line.said)
        if command != "fit" and origin.path is not None:  # refuses links before the work
            run_directory.folder_of(origin.path, "test" if command == "test" else "val")
    arguments = _section(base, "model").get("init_args") or {}
    for name in FROM_DATA:
        arguments.pop(name, None)
    arguments |= dict.fromkeys(arguments.keys() & AT_START if origin.content else (), False)
    command_line.start_from(base)
    return origin


def checkpoint_origin(wanted: str, runs_dir: Path, model: str | None = None, net: str | None = None) -> Origin:
    """Return a checkpoint and its config.

    Args:
        wanted: "best" or "last" of the newest run; a checkpoint file; or the directory of a run or of several runs, for
            the best checkpoint, or else the last one, of the (newest) run.
        runs_dir: where runs are kept.
        model: the checkpoint's model, a name or a dotted path; None trusts the checkpoint to name one of the zoo.
        net: the dotted path of the network that the model `Wrapped` is made of; no checkpoint may name it.
    """
    said: Config = {"model": {}}
    said["model"] |= {"class_path": registry.find(model).class_path} if model else {}
    said["model"] |= {"init_args": {"net": net}} if net else {}
    origin = _from_checkpoint(wanted, False, user_path(runs_dir), said)[0]
    if net:
        assert origin.config is not None
        chosen = origin.config["model"]
        if "net" not in chosen["init_args"]:
            name = chosen["class_path"].rpartition(".")[2]
            raise InputError(f"--model.net is for the model Wrapped, and {origin.path} is of {name}: leave it out")
        chosen["init_args"]["net"] = net
    return origin


def check_arguments(origin: Origin, model: type, init_args: dict[str, Any]) -> None:
    """Check that the arguments `init_args` of a class are those of the checkpoint's model.

    The network of `Wrapped` may have moved to another module: its weights tell whether it is the same one.
    """
    kept = _arguments(origin.content) if origin.content else {}
    for name, value in kept.items():
        if name in trust.import_paths(model):
            continue
        # `zoo.runs.trust` has checked the value, which may be a path of a class.
        path = trust.path_of(init_args.get(name))
        is_same = configs.same_class(path, value) if path else _plain(init_args.get(name)) == _plain(value)
        if name in init_args and name not in FROM_DATA and not is_same:  # `check_data` checks the others
            what = f"--model.{name}={init_args[name]}, but the model of {origin.path} has {name} {value}"
            raise InputError(f"{what}: leave --model.{name} out")


def check_data(origin: Origin, data: ImageDataModule) -> None:
    """Check that the images and classes of `data` are those that the checkpoint's model was trained on."""
    if origin.content is None:
        return
    state, arguments = data_state(origin.content)[1], _arguments(origin.content)
    names = state.get("class_names")
    ours, of_model = f"{data.data_set.title}", f"the model of {origin.path}"
    if names is not None and tuple(names) != data.data_set.class_names:
        trained = f"{data_modules.title(state)}, whose classes are {first_of(names)}"
        problem = f"{of_model} was trained on {trained}; {ours} has {first_of(data.data_set.class_names)}"
        raise InputError(f"{problem}: leave --data out, or take the weights alone by --init_from")
    if arguments.get("num_classes", data.num_classes) != data.num_classes:
        told = f"--data.task asks for {data.num_classes} classes, but {of_model} has num_classes"
        raise InputError(f"{told} {arguments['num_classes']}: leave --data.task out")
    for name in FROM_DATA[1:]:
        if arguments.get(name, getattr(data, name)) != getattr(data, name):
            told = f"{ours} has {name} {getattr(data, name)}, but {of_model} {arguments[name]}"
            raise InputError(f"{told}: take the weights alone by --init_from")
    if data.task == "binary" and names and state.get("one_class") != data.one_class:
        one = state.get("one_class") or names[0]
        if one != data.class_names[0]:
            raise InputError(f"--data.one_class={data.class_names[0]}, but {of_model} tells {one} from the rest")


# From a run.


def _named_run(name: str | None, runs_dir: Path) -> Path:
    if name is not None:
        run = user_path(name)
        if not (run / run_directory.CONFIG).is_file():
            hint = f"give a directory with a {run_directory.CONFIG}, such as runs/CNN/2026-..."
            raise InputError(f"--resume {name}: there is no run: {hint}")
        return run
    newest = run_directory.newest(runs_dir, lambda run: True)
    if newest is None:
        raise InputError(f"--resume: there is no run in '{runs_dir}' yet")
    return newest


def _from_run(run: Path, said: Config) -> tuple[Origin, Config]:
    """Return a run, and the part of its config that the command line leaves.

    The checkpoint is the run's last one, or else the one that the run started from, or else none.
    """
    run_directory.check_links(run)
    path = run / run_directory.CONFIG
    config = configs.expand(configs.read(path))
    started_from = config.pop("ckpt_path", None)
    last = run / run_directory.CHECKPOINTS / f"{LAST}.ckpt"
    checkpoint = last if last.is_file() else None if started_from is None else user_path(str(started_from))
    content = None if checkpoint is None else checkpoints.read(checkpoint)
    named = _section(said, "model").get("class_path")
    if content is not None and "package" in content:  # an error names the package if it is not installed
        try:
            _class_path(content, named)
        except InputError as error:
            raise InputError(f"{checkpoint}: {error}") from error
    again = f"--resume {shlex.quote(str(run))} --config FILE, where FILE may be {shlex.quote(str(path))}"
    base = _trusted(config, trust.Source(str(path), again, run), said)
    data = _section(base, "data")
    data.pop("mirrors", None)
    if not _has_data(data):  # a folder of another machine
        data.pop("data_dir", None)
    class_path = _section(config, "model").get("class_path")
    if named is not None and not configs.names_class(named, class_path):
        raise InputError(f"{checkpoint or run}: {_other_model(class_path, named)}")
    return Origin(checkpoint, content, run, config), base


# From a checkpoint.


def _from_checkpoint(wanted: str, training: bool, runs_dir: Path, said: Config) -> tuple[Origin, Config]:
    """Return a checkpoint (see `checkpoint_origin`), and the part of its config that the command line leaves."""
    named = _section(said, "model").get("class_path")
    path = checkpoint_path(wanted, runs_dir, named)
    content, name = checkpoints.read(path), f"--ckpt {path}"
    try:
        config = _config(content, named)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{name} does not say how it was trained ({error})") from error
    kept = {*options.names("", kept="always"), "data"}
    kept |= {*options.names("", kept="fit"), "trainer"} if training else set()
    config = {key: value for key, value in config.items() if key in kept}
    again = "--optimizer, --lr_schedule or --SECTION.ARGUMENT of the command line, or --config FILE"
    return Origin(path, content, config=config), _trusted(config, trust.Source(name, again), said)


def checkpoint_path(wanted: str, runs_dir: Path, model: str | None, option: str = "--ckpt") -> Path:
    """Return the path of the checkpoint that an option names (see `checkpoint_origin`), or `wanted` for a file."""
    if wanted in (BEST, LAST):
        return _in_newest_run(wanted, runs_dir, model, option)
    return _in_run(wanted, option)


def _in_run(wanted: str, option: str) -> Path:
    """Return the checkpoint of a run's directory, or of the newest run in a folder of runs; else `wanted` itself."""
    path = user_path(wanted)
    if not path.is_dir():
        if (run := run_directory.run_of(path)) is not None:
            run_directory.check_links(run)
        return path
    is_run = (path / run_directory.CHECKPOINTS).is_dir() or (path / run_directory.CONFIG).is_file()
    run = path if is_run else run_directory.newest(path, lambda run: bool(_checkpoints(run)))
    if run is None:
        raise InputError(f"{option} {wanted} is a folder without a run that has a checkpoint: give a run's directory")
    run_directory.check_links(run)
    if not _checkpoints(run):
        raise InputError(f"{option} {wanted} has no checkpoint yet")
    return _checkpoints(run)[0]


def _checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, the best one first."""
    return [path for which in (BEST, LAST) if (path := run / run_directory.CHECKPOINTS / f"{which}.ckpt").is_file()]


def _in_newest_run(which: str, runs_dir: Path, model: str | None, option: str) -> Path:
    """Return the checkpoint `which` of the newest run that has one, and that trained `model` if that is named."""
    relative = Path(run_directory.CHECKPOINTS) / f"{which}.ckpt"

    def is_wanted(run: Path) -> bool:
        if model is None or not (run / relative).is_file():
            return (run / relative).is_file()
        try:
            trained = configs.read(run / run_directory.CONFIG).get("model")
        except InputError as error:
            print(f"note: {one_line(error)}: this run is left out", file=sys.stderr)
            return False
        return configs.names_class(model, trained.get("class_path") if isinstance(trained, dict) else trained)

    run = run_directory.newest(runs_dir, is_wanted)
    if run is None:
        kind = f"run of {model.rpartition('.')[2]}" if model else "run"
        hint = "; without a validation set a run has a last one only" if which == BEST else ""
        raise InputError(f"{option} {which}: no {kind} in '{runs_dir}' has a {relative}{hint}")
    run_directory.check_links(run)
    return run / relative


def _config(content: Content, named: str | None) -> Config:
    """Return the config of a checkpoint, as far as it is taken over. The command line trusts the model `named`."""
    # Through JSON: plain values of plain types, whatever the file held.
    name, about = data_state(content)
    config, arguments = json.loads(json.dumps([content.get("config"), _arguments(content)]))
    config = configs.expand(configs.check("its config", config))
    kept = {key: about[key] for key in (*data_modules.SIZES, *data_modules.CHOICES) if key in about}
    found = {"class_path": configs.DATA_MODULE, "task": "multiclass"}
    if name in registry.data.entries():
        found |= {"class_path": registry.data.find(name).class_path} | dict(about.get("chosen") or {})
    data = found | kept | (config.get("data") or {})
    if data.get("one_class") is not None:
        data["task"] = "binary"
    for key, choices in (("source", tuple(SOURCES)), ("task", TASKS)):
        if key in data and data[key] not in choices:
            raise InputError(f"its data.{key} is {data[key]!r}, expected {' or '.join(choices)}")
    if not _has_data(data):
        data.pop("data_dir", None)
    trainer, dropped = options.names("trainer", kept="fit"), options.names("data", kept="never")
    return config | {
        "model": {"class_path": _class_path(content, named), "init_args": arguments},
        "data": {key: value for key, value in data.items() if key not in dropped},
        "trainer": {key: value for key, value in config.get("trainer", {}).items() if key in trainer},
    }


def _class_path(content: Content, named: str | None) -> str:
    """Return the class path of a checkpoint's model: the one that the command line names, or one of the zoo."""
    class_path = content.get("class_path") or content["hyper_parameters"].get("_class_path")
    if named is not None:
        if not configs.names_class(named, class_path):
            raise InputError(_other_model(class_path, named))
        return named
    if isinstance(class_path, str) and class_path in trust.paths("model"):
        return class_path
    package, way_out = content.get("package"), f"name it by --model {class_path}"
    if isinstance(package, str) and re.fullmatch(PACKAGE_NAME, package):
        way_out = f"it came with the package '{package}' (if you trust it, pip install {package}); else {way_out}"
    raise InputError(f"its model is {class_path}, which is not in the zoo: {way_out}")


def _other_model(class_path: object, named: str) -> str:
    return f"its model is {class_path}, but the command line names {named}: name its model"


def _has_data(data: Config) -> bool:
    """Whether the folder in a config holds its data. Otherwise nothing may be downloaded to it.

    A folder of a user's own images may have moved: building the data module, now and later, tells that it is missing.
    """
    data_dir, path = data.get("data_dir"), data.get("class_path", configs.DATA_MODULE)
    if not isinstance(data_dir, str) or path not in trust.paths("data"):
        return False
    try:
        return data_modules.build(data).data_set.find(data_dir) is not None
    except InputError:
        return issubclass(data_modules.find(data), (Arrays, ImageFolder))  # which are never downloaded
    except TypeError:
        return False


def data_state(content: Content) -> tuple[str, dict[str, Any]]:
    """Return the name of a checkpoint's data set, and what its `state_dict` says; "" and nothing without one.

    Raises:
        InputError: if the names of the classes cannot be those of data.
    """
    known = registry.data.entries()
    name = next((name for name, state in content.items() if name in known or _describes_data(state)), "")
    state: dict[str, Any] = json.loads(json.dumps(content.get(name, {})))
    if not isinstance(state, dict):
        raise TypeError(f"{name} is a {type(state).__name__}")
    names, title = state.get("class_names"), state.get("title", "")
    if not isinstance(title, str) or len(title) > LONGEST_NAME or not title.isprintable():
        raise InputError(f"its data have the title {title!r}, expected a short printable text")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError("the names of its classes are not a list of strings")
        check_names("it", names)
    return name, state


def _describes_data(state: Any) -> bool:
    """Whether a part of a checkpoint is the state of a data module, perhaps one that is not installed."""
    return isinstance(state, dict) and {"class_names", "title"} <= state.keys()


def _arguments(content: Content) -> dict[str, Any]:
    """Return the arguments of a checkpoint's model, without what acts at the start of a training alone."""
    arguments = {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}
    return arguments | dict.fromkeys(arguments.keys() & AT_START, False)


def _plain(value: Any) -> Any:
    """Return `value` as a config holds it: a tuple as a list, a member of an enumeration as its name."""
    if isinstance(value, Enum):
        return value.name
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


# What the command line leaves.


def _section(config: Config, section: str) -> Config:
    return config.get(section) or {}


def _trusted(config: Config, source: trust.Source, said: Config) -> Config:
    """Return the part of a stranger's config that the command line leaves, checked by `zoo.runs.trust`."""
    left = _without(config, said)
    named = {key: _section(said, key).get("class_path") for key in options.NAMING_KEYS}
    for key, path in named.items():
        trained = _section(config, key).get("class_path")
        if path is None or trained is None:
            continue
        # Only a listed class may be imported, and so compared under another of its paths.
        is_listed = trained in trust.paths(key)
        if configs.same_class(trained, path) if is_listed else configs.names_class(path, trained):
            left[key] = left[key] | {"class_path": path}
        else:
            left.pop(key, None)
    for name, value in _section(said, "trainer").items():
        if isinstance(value, dict) and "class_path" in value and "trainer" in left:  # named with all its arguments
            left["trainer"].pop(name, None)
    try:
        configs.check_values(source.name, left)
        trust.check(left, source, named)
    except RecursionError:
        raise InputError(f"{source.name} has too many levels") from None
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
