"""What a run logged for TensorBoard."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves by name, over epochs and over steps, without those of the speed, which no two runs share.

    A run that is killed in its test logs its figures once more: they count once.
    """
    found = {}
    for folder in ("tensorboard", "tensorboard/steps"):
        log = EventAccumulator(str(run / folder))
        log.Reload()
        found |= {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    found |= {tag: list(dict.fromkeys(curve)) for tag, curve in found.items() if tag.startswith("test")}
    return {tag: curve for tag, curve in found.items() if not tag.startswith(("perf/", "hp/"))}
