"""The optimizer's state in a checkpoint, and how a resumed run with other options takes it over."""

from typing import Any

import lightning as L

from zoo.core.classifier import Classifier


class OptimizerState(L.Callback):
    """Saves the optimizer's options, and lets those of a resumed run win: Lightning restores the checkpoint's."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizer"] = describe(pl_module)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            adapt(checkpoint, pl_module)


def describe(model: Classifier) -> dict[str, Any]:
    """Return the class of a model's optimizer, and the options of each parameter group before the first step."""
    optimizer = model.build_optimizer()
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    return {"class_path": f"{type(optimizer).__module__}.{type(optimizer).__qualname__}", "groups": groups}


def adapt(checkpoint: dict[str, Any], model: Classifier) -> None:
    """Give the optimizer's and the scheduler's state in a checkpoint the class and the options that the model has now.

    An option keeps the checkpoint's value if the same value was asked for then and now: a schedule or a callback may
    have changed it during training. Another class, or another number of groups, starts with an empty state.
    """
    if "optimizer" not in checkpoint or len(checkpoint["lr_schedulers"]) != 1:
        return
    before, now = checkpoint["optimizer"], describe(model)
    if before == now:
        return
    (scheduler,) = checkpoint["lr_schedulers"]
    if before["class_path"] != now["class_path"] or len(before["groups"]) != len(now["groups"]):
        checkpoint["optimizer_states"] = [model.build_optimizer().state_dict()]
        before = {"groups": [{} for _ in now["groups"]]}
        # The scheduler has a value for each group, too.
        lrs = [group["lr"] for group in now["groups"]]
        scheduler.update(base_lrs=lrs, _last_lr=list(lrs), lr_lambdas=[{} for _ in lrs])
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    for index, (group, old, new) in enumerate(zip(groups, before["groups"], now["groups"], strict=True)):
        group.update({name: value for name, value in new.items() if name not in old or old[name] != value})
        if old.get("lr") != new["lr"]:
            group["initial_lr"] = scheduler["base_lrs"][index] = new["lr"]
