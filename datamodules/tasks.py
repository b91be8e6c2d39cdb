"""The tasks, and their names in words. Needs neither torch nor NumPy."""

from collections.abc import Sequence
from typing import Literal, get_args

from datamodules.errors import InputError

Task = Literal["multiclass", "binary"]
TASKS: tuple[Task, ...] = get_args(Task)


def task_title(task: str, class_names: Sequence[str]) -> str:
    """Return a task in words, given the names of its classes."""
    return f"{task} ({class_names[0]} against the rest)" if task == "binary" else task


def task_classes(class_names: Sequence[str], task: str, one_class: str | None = None) -> tuple[str, ...]:
    """Return the class names of a task: all of them, or one class (by default the first) against the rest.

    Raises:
        InputError: if the data have no class `one_class`.
    """
    one = class_names[0] if one_class is None else one_class
    if one not in class_names:
        raise InputError(f"the class '{one}' of the binary task is not among {', '.join(class_names)}")
    return tuple(class_names) if task == "multiclass" else (one, f"not {one}")
