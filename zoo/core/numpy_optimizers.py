"""The optimizers of NumPy networks: PyTorch optimizers around the update rules of `zoo.scratch.optimizers`."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.scratch import fast as rules


class _Run(NamedTuple):
    """Parameters of one group that lie one behind the other in memory, and the rule that updates them."""

    group: int
    parameters: list[nn.Parameter]
    gradient: np.ndarray  # of all of them, shape (P,)
    rule: rules.FastOptimizer


class _NumPyOptimizer(Optimizer):
    """A PyTorch optimizer that leaves the update to a rule of `zoo.scratch.fast`, whose arguments it takes.

    The parameters are those of one `NumPyClassifier`. Each run of a group's parameters that lie one behind the other in
    memory has a rule of its own. As with PyTorch's optimizers, parameters without gradients stay as they are: all of a
    run, or none. `state_dict` has PyTorch's format: the rules' arrays are cut into one piece per parameter. The
    attribute `state` stays empty, because Lightning would move its contents to the trainer's device.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], rule: type[rules.FastOptimizer], lr: float, **settings: Any
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr={lr} is negative: give a number of at least 0")
        super().__init__(params, {"lr": lr, **settings})
        self._settings = tuple(settings)
        self._runs = [
            self._run(rule, number, parameters)
            for number, group in enumerate(self.param_groups)
            for parameters in _in_memory_order(group["params"])
        ]

    def _run(self, rule: type[rules.FastOptimizer], number: int, parameters: list[nn.Parameter]) -> "_Run":
        name, gradients = type(self).__name__, [parameter.grad for parameter in parameters]
        settings = {setting: self.param_groups[number][setting] for setting in self._settings}
        array, gradient = _shared_array(parameters, name), _shared_array(gradients, name)
        return _Run(number, parameters, gradient, rule([array], **settings))

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        self.update()
        return loss

    def update(self) -> None:
        """Make a step without the profiler and the counter that PyTorch wraps around `step`."""
        for run in self._runs:
            group = self.param_groups[run.group]
            if run.parameters[0].grad is None:
                continue
            for name in self._settings:
                setattr(run.rule, name, group[name])
            run.rule.step([run.gradient], group["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to 0. Removing them would break the sharing of memory."""
        for run in self._runs:
            run.gradient[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state, whose tensors share the optimizer's memory."""
        states: list[dict[str, Any]] = []
        for run in self._runs:
            pieces = {name: views(array, run.parameters) for name, array in run.rule.state[0].items()}
            for index in range(len(run.parameters)):
                states.append(
                    {"step": run.rule.step_count} | {name: tensors[index] for name, tensors in pieces.items()}
                )
        return super().state_dict() | {"state": dict(enumerate(states))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; raise ValueError if it belongs to another optimizer, or to other parameters."""
        states = [state_dict["state"][index] for index in sorted(state_dict["state"])]
        if not states or "step" not in states[0]:
            raise ValueError(f"the state is of another optimizer than {type(self).__name__}")
        for run in self._runs:
            own, states = states[: len(run.parameters)], states[len(run.parameters) :]
            kept = run.rule.state[0]
            if sorted(own[0]) != sorted([*kept, "step"]):
                raise ValueError(f"the state has {', '.join(own[0])}; {type(self).__name__} needs {', '.join(kept)}")
            flat = {name: torch.cat([state[name].flatten() for state in own]).numpy() for name in kept}
            for name, array in kept.items():
                if flat[name].shape != array.shape:
                    raise ValueError(f"'{name}' has shape {flat[name].shape}, expected {array.shape}")
            for name, array in kept.items():
                array[:] = flat[name]
            run.rule.step_count = int(own[0]["step"])
        super().load_state_dict({**state_dict, "state": {}})


class NumPySGD(_NumPyOptimizer):
    """Stochastic gradient descent, see `zoo.scratch.optimizers.SGD`.

    Args:
        lr: the learning rate.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.01, weight_decay: float = 0.0) -> None:
        super().__init__(params, rules.FastSGD, lr, weight_decay=weight_decay)


class NumPyMomentum(_NumPyOptimizer):
    """SGD with momentum, see `zoo.scratch.optimizers.Momentum`.

    Args:
        lr: the learning rate.
        beta: share of the velocity that a step keeps.
        nesterov: whether to use Nesterov's variant.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.01,
        beta: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, rules.FastMomentum, lr, beta=beta, nesterov=nesterov, weight_decay=weight_decay)


class NumPyAdam(_NumPyOptimizer):
    """Adam, see `zoo.scratch.optimizers.Adam`.

    Args:
        lr: the learning rate.
        beta1: share of the average gradient that a step keeps.
        beta2: share of the average squared gradient that a step keeps.
        epsilon: keeps the division from 0 / 0.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, rules.FastAdam, lr, **settings)


def views(array: np.ndarray, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return consecutive views into a flat array, one of the shape of each parameter."""
    pieces = torch.from_numpy(array).split([parameter.numel() for parameter in parameters])
    return [piece.view(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]


def _in_memory_order(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Divide parameters where one does not follow the one before it in memory."""
    runs: list[list[nn.Parameter]] = []
    for parameter in parameters:
        before = runs[-1][-1] if runs else None
        if before is None or not _follows(before, parameter):
            runs.append([])
        runs[-1].append(parameter)
    return runs


def _follows(before: Tensor, tensor: Tensor) -> bool:
    is_shared = tensor.untyped_storage().data_ptr() == before.untyped_storage().data_ptr()
    return is_shared and bool(tensor.storage_offset() == before.storage_offset() + before.numel())


def _shared_array(tensors: Sequence[Tensor | None], optimizer: str) -> np.ndarray:
    """Return the flat array, shape (P,), that the tensors are consecutive views into, or raise ValueError."""
    first, size = tensors[0], 0
    for tensor in tensors:
        if (
            first is None
            or tensor is None
            or tensor.device.type != "cpu"
            or not tensor.is_contiguous()
            or tensor.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
            or tensor.storage_offset() != first.storage_offset() + size
        ):
            raise ValueError(
                f"{optimizer} is for NumPy models, whose parameters share one array: take one of torch.optim"
            )
        size += tensor.numel()
    assert first is not None
    return first.detach().as_strided((size,), (1,), first.storage_offset()).numpy()
