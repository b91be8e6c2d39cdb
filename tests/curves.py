"""What a run logged for TensorBoard."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves by name, over epochs and over steps, without those of the speed, which no two runs share."""
    found = {}
    for folder in ("tensorboard", "tensorboard/steps"):
        log = EventAccumulator(str(run / folder))
        log.Reload()
        found |= {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    return {tag: curve for tag, curve in found.items() if not tag.startswith(("perf/", "hp/"))}
