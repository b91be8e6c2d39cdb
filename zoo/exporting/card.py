"""The model card of an exported file: its contents, use, training and accuracy."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import yaml

from datamodules.errors import InputError, one_line
from zoo.catalogue.registry import DISTRIBUTION
from zoo.core import about
from zoo.core.classifier import count_parameters
from zoo.core.markup import code, code_block, escaped
from zoo.exporting import metadata
from zoo.exporting.check import BATCH_SIZES, TOLERANCE, Checked
from zoo.runs import configs, options, results, run_directory
from zoo.trained.trained_model import Trained

# The parts of a run's config that decide what is learned, without places and machines.
SECTIONS = ("seed_everything", "data", "optimizer", "lr_schedule", "early_stopping")
PLACES = ("data_dir", "download", "mirrors", "verify_checksums", "eval_batch_size", "device")
METRICS = {
    "test/acc": "accuracy",
    "test/balanced_acc": "balanced accuracy (mean recall of the two classes)",
    "test/majority_acc": "accuracy of always answering the commonest class",
    "test/f1": "F1",
    "test/loss": "loss",
    "val/acc": "accuracy on the validation set, by which the checkpoint was chosen",
}


class File(NamedTuple):
    """The exported file."""

    name: str  # of the file
    size: int  # in bytes
    title: str  # of its format
    install: str  # packages for pip that run the file
    packages: Sequence[str]  # optional packages with which it was made and checked
    probabilities: Callable[[str, np.ndarray], np.ndarray]  # runs the file
    checked: Checked  # result of the comparison with the model


def text(trained: Trained, file: File) -> str:
    """Return the card as Markdown; raise InputError if the results or the config of the model's run cannot be read."""
    path = run_directory.of_checkpoint(trained.path) / results.FILE
    try:
        return _text(trained, file, _facts(path))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"'{path}' is not what a run leaves behind ({cause})") from error


def _text(trained: Trained, file: File, facts: Mapping[str, Any]) -> str:
    sections = [
        f"# {escaped(type(trained.model).__name__)} as {file.title}",
        f"{code(file.name)} ({file.size / 1e6:.2f} MB) classifies colour images of 32 x 32 pixels as one of "
        f"{len(trained.class_names)} classes.",
        _model(trained),
        _interface(trained),
        _usage(trained, file),
        _training(trained, facts),
        _results(trained, facts),
        _check(file),
        _versions(file),
        _limits(trained),
        _license(trained),
    ]
    return "\n\n".join(sections) + "\n"


def _model(trained: Trained) -> str:
    kind, arguments = type(trained.model), trained.config["model"]["init_args"]
    entry = metadata.entry(trained)
    origin = f" of the package {escaped(entry.distribution)}" if entry.distribution else ", which is of no package"
    lines = [
        "## Model",
        "",
        f"- class: {code(entry.class_path)}{origin}",
        f"- arguments: {', '.join(code(f'{name}={value!r}') for name, value in arguments.items())}",
        f"- parameters: {count_parameters(trained.model):,}",
    ]
    if kind.__doc__:
        lines.append(f"- in short: {escaped(kind.__doc__.strip().splitlines()[0])}")
    if paper := about.read(kind).paper:
        lines.append(f"- paper: {escaped(paper)}")
    return "\n".join(lines)


def _interface(trained: Trained) -> str:
    k = len(trained.class_names)
    classes = ", ".join(f"{number} {escaped(name)}" for number, name in enumerate(trained.class_names))
    return f"""\
## Input and output

Those of `probabilities`, below:

- input `images`: uint8, shape (n, 3, 32, 32), for any n from 1 on: plain pixels 0 to 255 of image, channel (red, green,
  blue), row (from the top), column (from the left). They are normalized inside.
- output `probabilities`: float32, shape (n, {k}): for each image the probabilities of the {k} classes, of sum 1.
- classes, by column: {classes}"""


def _usage(trained: Trained, file: File) -> str:
    return f"""\
## How to run it

    pip install {file.install}

```python
import numpy as np


{inspect.getsource(file.probabilities).strip()}
```

A picture of 8 bits a channel, with Pillow: upright, over white, the square in the middle resized to 32 x 32 pixels, as
`predict` of {DISTRIBUTION} does:

```python
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("RGBA")
square, side = Image.new("RGB", picture.size, "white"), min(picture.size)
square.paste(picture, mask=picture)
left, top = (picture.width - side) // 2, (picture.height - side) // 2
square = square.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
pixels = np.array(square)  # (32, 32, 3)
(row,) = probabilities({file.name!r}, pixels.transpose(2, 0, 1)[None])
classes = {list(trained.class_names)!r}
print(classes[row.argmax()], row.max())
```"""


def _training(trained: Trained, facts: Mapping[str, Any]) -> str:
    run = run_directory.of_checkpoint(trained.path)
    data = f"{trained.config['data']['source']}, {trained.config['data']['task']}"
    if facts:
        data = f"{facts['data']['train']:,} images of {facts['data']['source']}, {facts['data']['task']}"
    lines = ["## Training", "", f"- epochs: {trained.epochs:,}", f"- data: {escaped(data)}"]
    if not (run / run_directory.CONFIG).is_file():
        return "\n".join([*lines, "- the checkpoint lies in no run, so there is no more to tell of its training"])
    earlier = sorted(path.name for path in run.glob("config_*_epochs.yaml"))
    if earlier:
        names = ", ".join(map(escaped, earlier))
        lines.append(f"- the run was resumed with another config; the earlier ones lie beside it: {names}")
    config = yaml.safe_dump(_essential(configs.read(run / run_directory.CONFIG)), sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, "", code_block(config, "yaml")])


def _essential(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a run's config that decide what is learned, without the trainer's defaults."""
    default = inspect.signature(L.Trainer).parameters
    trainer, kept = config.get("trainer", {}).items(), options.names("trainer", kept="fit")
    essential = {name: config.get(name) for name in SECTIONS}
    essential["data"] = {name: value for name, value in config.get("data", {}).items() if name not in PLACES}
    essential["trainer"] = {k: v for k, v in trainer if k in kept and v != default[k].default}
    return _given(essential)


def _given(value: Any) -> Any:
    """Return a config without null values and empty sections."""
    if not isinstance(value, dict):
        return value
    given = {name: _given(inner) for name, inner in value.items()}
    return {name: inner for name, inner in given.items() if inner is not None and inner != {}}


def _facts(path: Path) -> dict[str, Any]:
    """Return the content of a run's `metrics.json`; {} without one, or without results on the test set."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts if "test/images" in facts else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"'{path}' cannot be read: {one_line(error)}") from error


def _results(trained: Trained, facts: Mapping[str, Any]) -> str:
    run = run_directory.of_checkpoint(trained.path)
    if not facts:
        return "## Results\n\nNone were measured: the run has no results on the test set."
    if (run / str(facts.get("checkpoint"))).resolve() != trained.path.resolve():
        other = escaped(facts["checkpoint"])
        return f"## Results\n\nNone were measured: those of its run are of another checkpoint, {other}."
    data, values = facts["data"], {name: facts.get(key) for key, name in METRICS.items()}
    values |= {f"accuracy on {name}": value for name, value in facts["test/acc_per_class"].items()}
    rows = [f"| {escaped(name)} | {value:.4f} |" for name, value in values.items() if value is not None]
    return "\n".join(
        [
            "## Results",
            "",
            f"On {facts['test/images']:,} test images of {escaped(data['source'])}, {escaped(data['task'])}. It is "
            f"one run, of seed {escaped(facts.get('seed'))}: other seeds give other numbers.",
            "",
            "| metric | value |",
            "| --- | --- |",
            *rows,
        ]
    )


def _check(file: File) -> str:
    sizes = ", ".join(map(str, BATCH_SIZES))
    return f"""\
## Check

The file was run by the code above on {escaped(file.checked.images)}, in batches of {sizes}.
The largest difference of a probability from the original model's is {file.checked.difference:.1e}
(allowed: {TOLERANCE:.0e})."""


def _versions(file: File) -> str:
    versions = results.versions() | {package: version(package) for package in file.packages}
    return f"## Versions\n\nExported with {', '.join(f'{name} {number}' for name, number in versions.items())}."


def _limits(trained: Trained) -> str:
    return f"""\
## Limits

- It sees 32 x 32 pixels and nothing finer; a larger picture has to be made smaller.
- It knows {len(trained.class_names)} classes. A picture of anything else gets one of them too, often
  with a high probability.
- It was trained on one data set. On pictures of another origin expect less than the results above. It is not made for
  decisions about people or safety."""


def _license(trained: Trained) -> str:
    package = metadata.entry(trained).distribution or "another origin"
    foreign = f" The model's class is of {escaped(package)}, which has a license of its own."
    return f"## License\n\nThe code of {DISTRIBUTION} is under the MIT license.{foreign * (package != DISTRIBUTION)}"
