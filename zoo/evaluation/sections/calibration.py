"""How sure the model is of its answers, and how sure it should be."""

from zoo.evaluation.calibration_error import BINS, Bins, bins, fit_temperature, is_at_end, quality, scaled
from zoo.evaluation.document import Block, Fact, Facts, Section, Table, Text, Value
from zoo.evaluation.sections.common import picture
from zoo.evaluation.subject import Subject
from zoo.plots import reliability

EXPLANATION = (
    "The confidence of an answer is the probability of the likeliest class. The answers are sorted by it into "
    f"{BINS} bins of equal width. The expected calibration error (ECE) is the mean of |accuracy - mean confidence| "
    "over the bins, weighted by their numbers of answers. NLL is the mean negative log-likelihood of the truth, and "
    "the Brier score the mean squared distance of the probabilities from it, summed over the classes. Of all three, "
    "less is better."
)
SCALING = (
    "Temperature scaling divides the logits by one number, which changes no answer. The number is the one with the "
    "smallest NLL on the validation set; no test image has a part in it."
)


def section(subject: Subject) -> Section:
    """Return the calibration before and after temperature scaling."""
    states = {"as it is": subject.answers}
    blocks: list[Block] = [Text(EXPLANATION, "https://arxiv.org/abs/1706.04599")]
    if subject.val is None:
        why = "all images were trained on (val_size 0)"
        if subject.trained.val_size is None:
            why = "the checkpoint does not tell which images were held out"
        blocks.append(Text(f"No temperature was fitted: {why}."))
    else:
        temperature = fit_temperature(subject.val)
        states["temperature scaled"] = scaled(subject.answers, temperature)
        blocks += [Text(SCALING), _temperature(temperature, len(subject.val.labels))]
        if subject.stage == "val":
            blocks.append(Text("It is judged here by the images that it was fitted on, which flatters it a little."))
    binned = {name: bins(answers.confidences, answers.right) for name, answers in states.items()}
    qualities: dict[str, list[Value]] = {name: list(quality(answers)) for name, answers in states.items()}
    diagrams = {f"{name}\nECE {100 * found.error():.2f} %": found for name, found in binned.items()}
    blocks += [
        Table("quality", "probabilities", {"ECE": ".2%", "NLL": ".4f", "Brier": ".4f"}, qualities),
        picture(
            "reliability",
            reliability.draw(diagrams),
            "Reliability diagrams: accuracy by confidence",
            "How often the answers of a bin are right (bar), and how sure they are (line). A bar below its line means "
            f"too sure. Bars of fewer than {reliability.FEW} answers are pale.",
        ),
        picture(
            "confidences",
            reliability.draw_confidences(subject.answers.confidences, subject.answers.right, BINS),
            "Histograms of the confidence of right and of wrong answers",
            "How sure the right and the wrong answers are, as the model gives them.",
        ),
        _table(binned),
    ]
    return Section("calibration", "Calibration", blocks)


def _temperature(temperature: float, images: int) -> Facts:
    note = "above 1: the model is too sure" if temperature > 1 else "below 1: the model is not sure enough"
    if is_at_end(temperature):
        note = "the end of the range that was searched"
    return Facts(
        {
            "temperature": Fact("Temperature", temperature, ".4f", note),
            "validation_images": Fact("Validation images", images, ","),
        }
    )


def _table(binned: dict[str, Bins]) -> Table:
    columns = {
        f"{head} at T" if number else head: pattern
        for number in range(len(binned))
        for head, pattern in (("answers", ","), ("confidence", ".2%"), ("accuracy", ".2%"))
    }
    rows: dict[str, list[Value]] = {}
    for position in range(BINS):
        name = f"{position / BINS:.3f} to {(position + 1) / BINS:.3f}"
        rows[name] = [
            value
            for of_state in binned.values()
            for value in (
                int(of_state.counts[position]),
                float(of_state.confidence[position]),
                float(of_state.accuracy[position]),
            )
        ]
    return Table(
        "bins",
        "bin",
        columns,
        rows,
        "The bins of the diagrams; confidence is the mean over the answers, at T: temperature scaled.",
    )
