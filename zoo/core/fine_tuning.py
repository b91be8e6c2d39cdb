"""The layers of any network, and learning rates that fall from layer to layer."""

from collections.abc import Iterable
from typing import Any

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layers(network: nn.Module, head: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each layer of a network, in the order of their definition; the last layer is the head.

    Each entry of a container (`CONTAINERS`) is a layer, such as a residual block. Containers within one another are
    opened. Outside of containers, each module with parameters of its own is a layer. Two kinds of parameters do not
    make a layer: those that a module has beside such layers, such as a class token, belong to its first layer; and a
    layer of vectors alone, such as batch norm, belongs to the layer before it.
    """
    seen = set(head.parameters())
    found: list[list[nn.Parameter]] = []
    for layer in _layers(network, is_entry=False):
        parameters = [parameter for parameter in layer if parameter not in seen]
        seen.update(parameters)
        if found and all(parameter.ndim < 2 for parameter in parameters):
            found[-1] += parameters
        elif parameters:
            found.append(parameters)
    return [*found, list(head.parameters())]


def _layers(module: nn.Module, is_entry: bool) -> list[list[nn.Parameter]]:
    is_container = isinstance(module, CONTAINERS)
    if is_entry and not is_container:
        return [list(module.parameters())]
    found = [layer for child in module.children() for layer in _layers(child, is_container)]
    own, first = list(module.parameters(recurse=False)), found[0] if found else []
    return [[*own, *first], *found[1:]]


def as_groups(parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an optimizer's parameters as groups: parameters that are in none make one."""
    entries: list[Any] = list(parameters)
    return entries if isinstance(entries[0], dict) else [{"params": entries}]


def falling_rates(
    groups: Iterable[nn.Parameter] | Iterable[dict[str, Any]], layers: list[list[nn.Parameter]], decay: float
) -> list[dict[str, Any]]:
    """Divide an optimizer's parameters, or groups of them, by layer, from the head down.

    The learning rate of a layer is multiplied by the group's "lr_scale", decay ** (number of layers above it), as in
    BEiT (Bao et al. 2021, https://arxiv.org/abs/2106.08254). Howard and Ruder 2018 (https://arxiv.org/abs/1801.06146)
    introduced such rates, with a decay of 1 / 2.6.
    """
    depths = {parameter: depth for depth, layer in enumerate(reversed(layers)) for parameter in layer}
    divided: list[dict[str, Any]] = []
    for group in as_groups(groups):
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(depths[parameter], []).append(parameter)
        divided += [group | {"params": by_depth[d], "lr_scale": decay**d} for d in sorted(by_depth)]
    return divided
