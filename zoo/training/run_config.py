"""`RunConfig`: the config of a run in its folder."""

import contextlib
import copy
import io
import itertools
import re
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from datamodules.errors import Ended, InputError
from zoo.core import files
from zoo.runs import checkpoints, configs, run_directory
from zoo.runs.resume import Origin


class RunConfig:
    """The config of a run that starts from `origin`, as `parser` has parsed it."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, origin: Origin) -> None:
        self._parser, self._config, self._origin = parser, config, origin

    @cached_property
    def plain(self) -> dict[str, Any]:
        """All options as plain values."""
        plain = _as_given(yaml.safe_load(self._parser.dump(self._config, skip_none=False)), self._config)
        data = configs.expand({"data": plain["data"]})["data"]
        if data["class_path"] == configs.DATA_MODULE:
            plain["data"] = {name: value for name, value in data.items() if name != "class_path"}
        return plain

    def check(self) -> None:
        """Check that the run's config.yaml can be read back by `--resume`."""
        could_not = f"the run's {run_directory.CONFIG} could not be read back"
        unkept = re.search(r"Unable to serialize instance .*", yaml.safe_dump(self.plain, width=10_000))
        if unkept:
            allowed = "a number, a text, a list or a class that the config names"
            raise InputError(f"{could_not} ({unkept[0]}): an argument or a default must be {allowed}")
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                plain = copy.deepcopy(self.plain)  # a copy, which the parser changes
                self._parser.parse_object(plain | {"data": configs.data_spec(plain["data"])})
        except Ended as error:
            raise InputError(f"{could_not}: {error.message}") from error

    def save(self, run: Path) -> None:
        """Write config.yaml in the folder of a run. An earlier config that differs gets another name."""
        path, checkpoint, resumed = run / run_directory.CONFIG, self._origin.path, self._origin.run
        config = self.plain
        if resumed:
            inside = checkpoint is None or checkpoint.resolve().parent.parent == resumed.resolve()
            config = config | {"ckpt_path": None if inside else str(checkpoint)}  # until the run has its own
        text = yaml.safe_dump(config, sort_keys=False)
        if path.is_file() and path.read_text(encoding="utf-8") != text and (aside := self._free_name(path)):
            files.write(aside, path.read_bytes())
        files.write(path, text.encode())

    def set_aside(self, path: Path) -> None:
        """Rename a file of a run that goes on: the new name has the number of its epochs."""
        if path.is_file() and (aside := self._free_name(path)):
            path.rename(aside)

    def _free_name(self, path: Path) -> Path | None:
        """Return a free name with the number of epochs that were done; None without a checkpoint."""
        if self._origin.content is None:
            return None
        stem = f"{path.stem}_{checkpoints.epochs_done(self._origin.content)}_epochs"
        names = (path.with_stem(stem if number == 1 else f"{stem}_{number}") for number in itertools.count(1))
        return next(name for name in names if not name.exists())


def _as_given(dumped: Any, given: Any) -> Any:
    """Return a dumped config with the texts that were given. jsonargparse changes some of them."""
    if isinstance(given, str) and dumped != given:
        return str.__str__(given.value if isinstance(given, Enum) else given)
    if isinstance(dumped, dict):
        return {name: _as_given(value, given[name]) if name in given else value for name, value in dumped.items()}
    if isinstance(dumped, list) and isinstance(given, (list, tuple)):
        return [_as_given(*pair) for pair in zip(dumped, given, strict=True)]
    return dumped
