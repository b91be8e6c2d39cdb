"""The weights of a network, and what pulls them towards 0: penalties on their size, and weight decay."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from zoo.core.fine_tuning import as_groups

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of two or more dimensions that do not belong to a normalization: no biases, no scales.

    A module can name others of its parameters that are left out by a method `no_weight_decay()`, as those of timm do.
    """
    left_out: set[nn.Parameter] = set()
    for module in network.modules():
        if isinstance(module, NORMS):
            left_out.update(module.parameters(recurse=False))
        elif callable(method := getattr(module, "no_weight_decay", None)):
            names = method()
            left_out.update(parameter for name, parameter in module.named_parameters() if name in names)
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2 and parameter not in left_out]


@torch.no_grad()
def add_penalties(weights: Iterable[nn.Parameter], l1: float, l2: float) -> None:
    """Add the derivatives of the penalties l1 |w| and l2 / 2 w² to the gradients of the weights that have one.

    The derivative of |w| at 0 is taken to be 0, as in `zoo.scratch.regularizers`.
    """
    learning: list[Tensor] = [weight for weight in weights if weight.grad is not None]
    gradients = [weight.grad for weight in learning if weight.grad is not None]
    if l1 and learning:
        torch._foreach_add_(gradients, torch._foreach_sign(learning), alpha=l1)
    if l2 and learning:
        torch._foreach_add_(gradients, learning, alpha=l2)


def without_decay(
    groups: Iterable[nn.Parameter] | Iterable[dict[str, Any]], weights: Iterable[nn.Parameter]
) -> list[dict[str, Any]]:
    """Divide an optimizer's parameters, or groups of them: weight decay acts on `weights` alone.

    A group with a "role" or a "weight_decay" of its own stays as it is.
    """
    decaying = set(weights)
    divided: list[dict[str, Any]] = []
    for group in as_groups(groups):
        if "role" in group or "weight_decay" in group:
            divided.append(group)
            continue
        decayed = [parameter for parameter in group["params"] if parameter in decaying]
        spared = [parameter for parameter in group["params"] if parameter not in decaying]
        divided += [group | {"params": decayed}] if decayed else []
        divided += [group | {"params": spared, "weight_decay": 0.0}] if spared else []
    return divided
