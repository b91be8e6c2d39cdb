"""Optimizers beside those of torch.optim: so far those of the record recipes, which treat a parameter by its role.

A model tells roles in its `parameter_groups`; else a parameter's number of dimensions decides. Rates are for the
gradient of the sum of a batch's losses. For a mean loss, multiply the rates of all that SGD learns by the batch size.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from datamodules.errors import InputError

FILTERS, HEAD, BIASES, WHITENING_BIAS = ROLES = ("filters", "head", "biases", "whitening bias")
IMAGES = 1024  # that the rate of DecoupledSGD is for
BY_DIMENSIONS = {4: FILTERS, 2: HEAD}
KEPT = ("lr_scale", "weight_decay")  # options of a group

# What trains every network, in place of optimizers of torch.optim that do not. LBFGS needs weights in contiguous memory
# and a closure, SparseAdam sparse gradients, and Muon matrices.
INSTEAD = {
    "LBFGS": "SGD or AdamW",
    "Muon": "MuonSGD, which makes steps of Muon for filters and of SGD for everything else",
    "SparseAdam": "AdamW",
}

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def refusal(optimizer: str, problem: str) -> InputError:
    """Return the message for a problem of the optimizer of this name, with another optimizer if there is one."""
    way_out = f": take {INSTEAD[optimizer]}" if optimizer in INSTEAD else ""
    return InputError(f"--optimizer: {problem}{way_out}")


def by_role(params: Parameters) -> list[dict[str, Any]]:
    """Return the parameters that learn, or groups of them, in groups by "role"; refuse an unknown role.

    A group keeps the options in `KEPT` that it comes with. The groups are in the order of `ROLES`, and those of a role
    in the order of `params`.
    """
    found: dict[str, dict[tuple[tuple[str, float], ...], list[nn.Parameter]]] = {role: {} for role in ROLES}
    for entry in params:
        group: dict[str, Any] = entry if isinstance(entry, dict) else {"params": [entry]}
        kept = tuple((name, group[name]) for name in KEPT if name in group)
        for parameter in group["params"]:
            role = group.get("role", BY_DIMENSIONS.get(parameter.ndim, BIASES))
            if role not in found:
                raise ValueError(f"the role '{role}' is unknown, there are: {', '.join(ROLES)}")
            if parameter.requires_grad:
                found[role].setdefault(kept, []).append(parameter)
    return [
        {"params": parameters, "role": role, "lr_scale": 1.0} | dict(kept)
        for role, by_options in found.items()
        for kept, parameters in by_options.items()
    ]


class MuonSGD(Optimizer):
    """Muon for the filters of convolutions, SGD with Nesterov's momentum and weight decay for everything else.

    With the gradient g, SGD makes of a parameter p

        v <- sgd_momentum v + (g + decay p),      p <- p - lr (g + decay p + sgd_momentum v)

    where decay is `weight_decay` / lr: the decay does not grow with the rate. Muon (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon) takes filters as a matrix W with a row for each of them, makes its rows 1
    long on average, and steps by a matrix all of whose singular values are near 1:

        v <- momentum v + g,      W <- W sqrt(rows) / |W|,      W <- W - lr orthogonalized(g + momentum v)

    The defaults are those of airbench94_muon.py (https://github.com/KellerJordan/cifar10-airbench) for batches of 2000.

    Args:
        lr: rate of the filters, at least 0.
        momentum: of the filters; 0 <= momentum < 1.
        head_lr: rate of the head, at least 0.
        bias_lr: rate of all biases, at least 0.
        sgd_momentum: of the head and the biases; 0 <= momentum < 1.
        weight_decay: share of the head and the biases that a step takes away, before momentum adds to it; at least 0.
        whitening_share: share of the training, 0..1, in which the whitening layer's bias learns; it runs through the
            schedule in that time.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 0.24,
        momentum: float = 0.6,
        head_lr: float = 0.67,
        bias_lr: float = 0.053,
        sgd_momentum: float = 0.85,
        weight_decay: float = 0.004,
        whitening_share: float = 0.375,
    ) -> None:
        _check(lr=lr, head_lr=head_lr, bias_lr=bias_lr, weight_decay=weight_decay)
        _check(momentum=momentum, sgd_momentum=sgd_momentum, whitening_share=whitening_share)
        rates = {FILTERS: lr, HEAD: head_lr, BIASES: bias_lr, WHITENING_BIAS: bias_lr}
        groups: list[dict[str, Any]] = []
        for group in by_role(params):
            role = group["role"]
            options: dict[str, Any] = {"lr": rates[role], "momentum": momentum, "weight_decay": 0.0}
            if role != FILTERS:
                options |= {"momentum": sgd_momentum, "weight_decay": _per_rate(weight_decay, rates[role])}
            if role == WHITENING_BIAS:
                options |= {"ends_at": whitening_share, "stops_at": whitening_share}
            groups.append(options | group)
        super().__init__(groups, {"lr": lr})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        velocity = state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = gradient.add(velocity, alpha=momentum)
        if group["role"] == FILTERS:
            norm = parameter.norm()
            norm = torch.where(norm > 0, norm, 1.0)  # filters that start as zeros have no length to scale
            parameter.mul_(len(parameter) ** 0.5 / norm)
            update = orthogonalized(update.flatten(1)).view_as(update)
        parameter.sub_(update, alpha=group["lr"])


def orthogonalized(matrix: Tensor, steps: int = 3) -> Tensor:
    """Return a matrix (m, n) with the singular vectors of `matrix`, and singular values near 1; bfloat16 on a GPU.

    Each of the `steps` of Newton and Schulz, X <- aX + b(XX')X + c(XX')²X, takes each singular value s to
    as + bs³ + cs⁵. X starts with length 1, so that no s is above 1. Jordan's coefficients are steep at 0, so that most
    values end up between 0.7 and 1.2 in few steps.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x / (x.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    if is_tall:
        x = x.T  # the smaller of the two products
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class DecoupledSGD(SGD):
    """SGD with Nesterov's momentum, whose rate and weight decay do not depend on the momentum or on each other.

    Under a gradient that stays the same, momentum m makes the steps some 1 / (1 - m) times as long: rate and decay are
    divided by 1 + 1 / (1 - m). The decay takes away a share of the weights that does not grow with the rate (Jordan
    2024, https://arxiv.org/abs/2404.00498; Page 2018,
    https://myrtle.ai/learn/how-to-train-your-resnet-5-hyperparameters/).

    The defaults are those of airbench95.py (https://github.com/KellerJordan/cifar10-airbench) for batches of 1024.

    Args:
        lr: rate of everything but the biases of batch norm, for the mean gradient of `IMAGES` images; at least 0.
        momentum: 0 <= momentum < 1.
        weight_decay: share of the weights that a step takes away, before it is divided as the rate is; at least 0.
        bias_scaler: rate of the biases of batch norm, in multiples of `lr`; at least 0.
        whitening_share: share of the training, 0..1, in which the whitening layer's bias learns.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 10.0,
        momentum: float = 0.85,
        weight_decay: float = 0.0153,
        bias_scaler: float = 64.0,
        whitening_share: float = 0.2,
    ) -> None:
        _check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        _check(bias_scaler=bias_scaler, whitening_share=whitening_share)
        growth = 1 + 1 / (1 - momentum)
        lr_of_sum = lr / growth / IMAGES
        groups: list[dict[str, Any]] = []
        for group in by_role(params):
            role = group["role"]
            rate = lr_of_sum * (bias_scaler if role == BIASES else 1)
            decay = _per_rate(weight_decay / growth, rate)
            options = {"lr": rate, "weight_decay": decay}
            if role == WHITENING_BIAS:
                options["stops_at"] = whitening_share
            groups.append(options | group)
        # Without momentum, Nesterov's is plain SGD, which PyTorch wants to hear.
        super().__init__(groups, lr=lr_of_sum, momentum=momentum, nesterov=momentum > 0)


def _check(**arguments: float) -> None:
    for name, value in arguments.items():
        if name.endswith("momentum"):
            fits, bounds = 0 <= value < 1, "from 0 up to, not including, 1"
        elif name.endswith("share"):
            fits, bounds = 0 <= value <= 1, "from 0 to 1"
        else:
            fits, bounds = 0 <= value < math.inf, "of at least 0"
        if not fits:
            raise ValueError(f"{name}={value} is out of range: give a number {bounds}")


def _per_rate(share: float, rate: float) -> float:
    """Return the weight decay that, times the rate, takes away `share` of a weight."""
    return share / rate if rate else 0.0
