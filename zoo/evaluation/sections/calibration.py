"""How confident the model is, and how confident it should be."""

from zoo.evaluation.calibration_error import BINS, Bins, bins, fit_temperature, is_at_end, quality, scaled
from zoo.evaluation.document import Block, Fact, Facts, Section, Table, Text, Value
from zoo.evaluation.sections.common import plot
from zoo.evaluation.subject import Subject
from zoo.plots import reliability

EXPLANATION = (
    "The confidence of a prediction is the probability of the predicted class. The predictions are sorted by it into "
    f"{BINS} bins of equal width. The expected calibration error (ECE) is the mean of |accuracy - mean confidence| "
    "over the bins, weighted by their numbers of predictions. NLL is the mean negative log-likelihood of the true "
    "class. The Brier score is the mean squared distance between the probabilities and the truth, summed over the "
    "classes. For all three, less is better."
)
SCALING = (
    "Temperature scaling divides the logits by one number, which changes no prediction. The number minimizes the NLL "
    "on the validation set; no test image has a part in it."
)
FLATTERED = "Here the temperature is judged on the images it was fitted on, which flatters it a little."


def section(subject: Subject) -> Section:
    """Return the calibration before and after temperature scaling."""
    states = {"as it is": subject.predictions}
    blocks: list[Block] = [Text(EXPLANATION, "https://arxiv.org/abs/1706.04599")]
    if subject.val is None:
        why = "all images were trained on (val_size 0)"
        if subject.trained.val_size is None:
            why = "the checkpoint does not tell which images were held out"
        blocks.append(Text(f"No temperature was fitted: {why}."))
    else:
        temperature = fit_temperature(subject.val)
        states["temperature scaled"] = scaled(subject.predictions, temperature)
        blocks += [Text(SCALING), _temperature(temperature, len(subject.val.labels))]
        if subject.stage == "val":
            blocks.append(Text(FLATTERED))
    binned = {name: bins(state.confidences, state.correct) for name, state in states.items()}
    qualities: dict[str, list[Value]] = {name: list(quality(state)) for name, state in states.items()}
    diagrams = {f"{name}\nECE {100 * state.error():.2f} %": state for name, state in binned.items()}
    blocks += [
        Table("quality", "probabilities", {"ECE": ".2%", "NLL": ".4f", "Brier": ".4f"}, qualities),
        plot(
            "reliability",
            reliability.draw(diagrams),
            "Reliability diagrams: accuracy by confidence",
            "The accuracy of each bin (bar) and its mean confidence (line). A bar below its line means overconfidence. "
            f"Bars of fewer than {reliability.FEW} predictions are pale.",
        ),
        plot(
            "confidences",
            reliability.draw_confidences(subject.predictions.confidences, subject.predictions.correct, BINS),
            "Histograms of the confidence of correct and of wrong predictions",
            "The confidence of correct and of wrong predictions, as the model gives it.",
        ),
        _table(binned),
    ]
    return Section("calibration", "Calibration", blocks)


def _temperature(temperature: float, images: int) -> Facts:
    note = "above 1: the model is overconfident" if temperature > 1 else "below 1: the model is underconfident"
    if is_at_end(temperature):
        note = "the end of the searched range"
    fact = Fact("Temperature", temperature, ".4f", note)
    return Facts({"temperature": fact, "validation_images": Fact("Validation images", images, ",")})


def _table(binned: dict[str, Bins]) -> Table:
    columns = {
        f"{head} at T" if number else head: pattern
        for number in range(len(binned))
        for head, pattern in (("predictions", ","), ("confidence", ".2%"), ("accuracy", ".2%"))
    }
    rows: dict[str, list[Value]] = {}
    for position in range(BINS):
        name = f"{position / BINS:.3f} to {(position + 1) / BINS:.3f}"
        rows[name] = [column[position].item() for state in binned.values() for column in state]
    caption = "The bins of the diagrams; confidence is the mean over the predictions, at T: temperature scaled."
    return Table("bins", "bin", columns, rows, caption)
