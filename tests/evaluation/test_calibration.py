"""Calibration, against other implementations, loops, and networks whose calibration is known."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.classification import MulticlassCalibrationError

from zoo.evaluation.calibration_error import TEMPERATURES, bins, fit_temperature, quality, scaled
from zoo.evaluation.classification import Predictions, balanced_accuracy, class_logits, softmax
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.plots import reliability
from zoo.trained.inference import BATCH_SIZE


def drawn(classes: int = 10, n: int = 20_000, sharpness: float = 1.0, seed: int = 0) -> Predictions:
    """Predictions whose classes are drawn with the probabilities that they give, then `sharpness` times as sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, classes))
    labels = (softmax(z).cumsum(1) < rng.random((n, 1))).sum(1)
    return Predictions(sharpness * z, labels)


@pytest.mark.parametrize(("classes", "sharpness"), [(10, 0.5), (10, 3.0), (2, 2.0)])
def test_calibration_error_is_that_of_torchmetrics(classes, sharpness):
    answers = drawn(classes, 5_000, sharpness)
    metric = MulticlassCalibrationError(classes, n_bins=15, norm="l1")
    expected = metric(torch.from_numpy(answers.probabilities), torch.from_numpy(answers.labels))
    assert quality(answers).ece == pytest.approx(float(expected), abs=1e-6)


def test_bins_are_those_of_a_loop_and_hold_their_upper_edge():
    rng = np.random.default_rng(1)
    confidences = np.concatenate([rng.uniform(0.3, 1, 500), [0.4, 0.8, 1.0]])
    right = rng.random(503) < confidences
    found = bins(confidences, right, number=5)
    for k in range(5):
        inside = [(c, r) for c, r in zip(confidences, right, strict=True) if k / 5 < c <= (k + 1) / 5]
        assert found.counts[k] == len(inside)
        if inside:
            assert found.confidence[k] == pytest.approx(np.mean([c for c, _ in inside]))
            assert found.accuracy[k] == pytest.approx(np.mean([r for _, r in inside]))
    assert found.counts[0] == 0
    assert np.isnan(found.confidence[0])
    error = sum(abs(found.accuracy[k] - found.confidence[k]) * found.counts[k] / 503 for k in range(1, 5))
    assert found.error() == pytest.approx(error)


def test_brier_and_nll_are_those_of_scikit_learn():
    binary = drawn(2, 3_000, 2.0)
    # scikit-learn's is of the one probability; ours adds the same for the other class.
    expected = 2 * brier_score_loss(binary.labels, binary.probabilities[:, 1])
    assert quality(binary).brier == pytest.approx(expected)
    answers = drawn(10, 3_000, 2.0)
    assert quality(answers).nll == pytest.approx(log_loss(answers.labels, answers.probabilities, labels=range(10)))
    truth = np.eye(10)[answers.labels]
    distances = [sum((p - t) ** 2) for p, t in zip(answers.probabilities, truth, strict=True)]
    assert quality(answers).brier == pytest.approx(np.mean(distances))


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_temperature_undoes_what_made_a_calibrated_network_too_sure_or_not_sure_enough(classes, sharpness):
    answers = drawn(classes, sharpness=sharpness)
    temperature = fit_temperature(answers)
    assert temperature == pytest.approx(sharpness, rel=0.04)
    assert quality(scaled(answers, temperature)).ece < 0.012
    assert (scaled(answers, temperature).predicted == answers.predicted).all()


def test_temperature_has_the_smallest_likelihood_and_no_slope():
    answers = drawn(n=500, sharpness=2.5, seed=3)
    temperature = fit_temperature(answers)
    nll = [quality(scaled(answers, factor * temperature)).nll for factor in (0.999, 1, 1.001)]
    assert nll[1] == min(nll)
    z = torch.from_numpy(answers.logits)
    t = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(z / t, torch.from_numpy(answers.labels)).backward()
    assert abs(float(t.grad)) < 1e-12


def test_temperature_ends_at_its_range():
    never_wrong = Predictions(0.1 * np.eye(10), np.arange(10))
    assert fit_temperature(never_wrong) == pytest.approx(TEMPERATURES[0])
    for margin in (10, 30, 60, 1000):  # where softmax is 1 and 0 to the last digit
        surer = Predictions(margin * np.eye(10), np.arange(10))
        assert fit_temperature(surer) == pytest.approx(TEMPERATURES[0])
    always_wrong = Predictions(0.1 * np.eye(10), (np.arange(10) + 1) % 10)
    assert fit_temperature(always_wrong) == pytest.approx(TEMPERATURES[1])


@pytest.mark.parametrize("model", [MLP, NumPyMLP])
@pytest.mark.parametrize("classes", [2, 10])
def test_scores_give_the_models_own_probabilities_and_loss(model, classes):
    network = model(num_classes=classes).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (240, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, classes, 240)
    answers = Predictions(class_logits(network, images), labels)
    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in torch.from_numpy(images).split(BATCH_SIZE)])
    assert len(images) > 2 * BATCH_SIZE
    assert answers.logits.shape == (240, classes)
    np.testing.assert_allclose(answers.probabilities, network.predict_probabilities(logits), atol=1e-6)
    np.testing.assert_array_equal(answers.predicted, network.predict_classes(logits))
    loss = float(network.loss(logits, torch.from_numpy(labels)))
    assert quality(answers).nll == pytest.approx(loss, rel=1e-5)


def test_balanced_accuracy_is_the_mean_recall():
    labels, predictions = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    assert balanced_accuracy(labels, predictions) == pytest.approx((0.75 + 1) / 2)


def test_absurd_logits_stay_finite():
    answers = Predictions(np.array([[1e30, 0.0], [0.0, 1e30]]), np.array([0, 1]))
    assert np.isfinite(list(quality(answers))).all()
    assert np.isfinite(fit_temperature(answers))


def test_the_diagram_has_the_accuracy_as_bars_and_the_confidence_as_lines():
    confidences = np.array([0.1] * 20 + [0.4] * 3 + [0.9] * 10 + [0.7] * 2)
    right = np.arange(35) % 3 > 0
    found = bins(confidences, right, 4)
    first, second = reliability.draw({"one": found, "two": bins(confidences, ~right, 4)}).axes
    for axes, of_axes in ((first, right), (second, ~right)):
        heights = {bar.get_x(): bar.get_height() for bar in axes.patches}
        parts = {0.0: slice(20), 0.25: slice(20, 23), 0.5: slice(33, 35), 0.75: slice(23, 33)}
        assert heights == pytest.approx({left: of_axes[part].mean() for left, part in parts.items()})
        (lines,) = axes.collections
        starts = {line[0, 0]: line[0, 1] for line in lines.get_segments()}
        assert starts == pytest.approx({0.0: 0.1, 0.25: 0.4, 0.5: 0.7, 0.75: 0.9})


def test_confidences_are_shares_of_all_answers():
    confidences, right = np.array([0.1, 0.9, 0.9, 0.9, 0.6]), np.array([False, True, True, False, True])
    (axes,) = reliability.draw_confidences(confidences, right, 2).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0, 60, 20, 20])
