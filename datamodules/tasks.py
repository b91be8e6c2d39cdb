"""The tasks, and their names in words. Needs neither torch nor NumPy."""

from collections.abc import Sequence
from typing import Literal, get_args

Task = Literal["multiclass", "binary"]
TASKS: tuple[Task, ...] = get_args(Task)


def task_title(task: str, class_names: Sequence[str]) -> str:
    """Return a task in words, given the names of its classes."""
    return f"{task} ({class_names[0]} against the rest)" if task == "binary" else task
