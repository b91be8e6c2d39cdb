"""The pictures that are drawn while a network trains: where each pixel stands, and what is written beside it."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest

from tests.other_data import HOSTILE
from zoo.plots import (
    confusion_matrix,
    contact_sheet,
    explanation,
    feature_maps,
    filters,
    grid,
    image_table,
    learning_curves,
    mosaic,
    png,
    predictions,
    svg,
)
from zoo.plots.mosaic import LETTER, LINE, Label, enlarge

NAMES = ("airplane", "automobile", "bird")
WHITE = 255


@pytest.fixture
def written(monkeypatch) -> list[Label]:
    """All labels that are written, in a list."""
    labels = []

    def write(canvas, of_canvas):
        labels.extend(of_canvas)
        return mosaic.write(canvas, of_canvas)

    for module in (grid, feature_maps, confusion_matrix):
        monkeypatch.setattr(module, "write", write)
    return labels


def texts(labels: list[Label], bold: bool | None = None) -> list[str]:
    return [label.text for label in labels if bold is None or label.bold == bold]


def ink(picture: np.ndarray) -> np.ndarray:
    """Which pixels are not white."""
    return (picture != WHITE).any(-1)


def random_images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), WHITE, dtype=np.uint8)


class TestLettering:
    @pytest.mark.parametrize("bold", [False, True])
    def test_a_label_is_as_wide_and_as_high_as_the_layout_reckons(self, bold):
        text = "Hgj|HXW"
        picture = mosaic.write(blank(3 * LINE, 200), [Label(text, 20, LINE, bold=bold)])
        rows, columns = ink(picture).any(1).nonzero()[0], ink(picture).any(0).nonzero()[0]
        assert rows[0] >= LINE
        assert rows[-1] < 2 * LINE
        assert columns[0] >= 20
        assert 20 + LETTER * (len(text) - 1) < columns[-1] <= 20 + LETTER * len(text)

    def test_a_centered_label_has_its_middle_at_x(self):
        columns = ink(mosaic.write(blank(LINE, 201), [Label("HHHH", 100, 0, centered=True)])).any(0).nonzero()[0]
        assert (columns[0] + columns[-1]) / 2 == pytest.approx(100, abs=1.5)

    def test_a_heading_fits_its_width_in_as_many_lines_as_it_needs(self):
        title, explanation = "a rather long title, twice as wide", "and what explains it, which is no shorter"
        labels, height = mosaic.heading(title, explanation, 150)
        assert " ".join(texts(labels, bold=True)) == title
        assert " ".join(texts(labels, bold=False)) == explanation
        assert not ink(mosaic.write(blank(height, 300), labels))[:, 150 - mosaic.SPACE :].any()
        assert max(label.y for label in labels) + LINE <= height


class TestSizes:
    @pytest.mark.parametrize(("size", "drawn"), [(32, 128), (28, 112), (48, 96), (128, 128), (65, 65), (1, 128)])
    def test_a_small_image_is_enlarged_by_the_largest_whole_factor_that_fits(self, size, drawn):
        image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        shown = mosaic.fitted(image)
        np.testing.assert_array_equal(shown, enlarge(image, drawn // size))

    def test_a_large_image_is_shrunk_to_the_means_of_its_parts(self):
        image = np.random.default_rng(0).integers(0, 256, (256, 128, 3), dtype=np.uint8)
        shown = mosaic.fitted(image)
        assert shown.shape == (128, 64, 3)
        np.testing.assert_allclose(shown, image.reshape(128, 2, 64, 2, 3).mean((1, 3)), atol=1)

    @pytest.mark.parametrize("size", [28, 32, 300])
    def test_a_box_has_one_size_and_the_image_in_its_middle(self, size):
        image = np.zeros((size, size, 3), np.uint8)
        box = mosaic.boxed(image, 128, background=200)
        assert box.shape == (128, 128, 3)
        margin = (128 - mosaic.fitted(image).shape[0]) // 2
        assert (box[:margin] == 200).all()
        assert (box[margin : 128 - margin, margin : 128 - margin] == 0).all()

    def test_grey_images_are_grey_and_colors_stay(self):
        gray, color = (np.random.default_rng(0).integers(0, 256, (n, 4, 5), dtype=np.uint8) for n in (1, 3))
        np.testing.assert_array_equal(mosaic.colors(gray), np.stack([gray[0]] * 3, axis=2))
        np.testing.assert_array_equal(mosaic.colors(color), color.transpose(1, 2, 0))

    @pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (3, 200, 200)])
    def test_every_plot_takes_images_of_any_shape(self, shape, written):
        images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
        probabilities, maps, size = np.eye(3)[:2], np.random.default_rng(0).random((2, 7, 7)), shape[-1]
        drawn = mosaic.fitted(mosaic.colors(images[0]))
        picture = predictions.draw(images, np.array([0, 2]), probabilities, NAMES, "title", maps=maps)
        assert has(picture, drawn)
        assert has(predictions.draw_labelled(images, np.array([0, 2]), NAMES, "title"), drawn)
        assert has(image_table.draw(images[None], NAMES[:2]), mosaic.fitted(mosaic.colors(images[0]), 96))
        small = mosaic.fitted(mosaic.colors(images[0]), feature_maps.SIDE)
        assert has(
            feature_maps.draw(images, np.random.default_rng(0).random((2, 3, size, size)), NAMES[:2], "t"), small
        )
        assert has(feature_maps.draw_units(images, maps[:, 0], NAMES[:2], "title"), small)
        shown = explanation.signed(np.random.default_rng(0).normal(size=(size, size)))
        assert shown.pixels.shape == (128, 128, 3)
        page = explanation.draw([explanation.Row(images[0], ["a"], [shown])], [explanation.Column("c")], "t", "")
        assert has(page, drawn)
        assert has(page, shown.pixels)
        thumbnail = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        sheet = contact_sheet.draw([contact_sheet.Shown("a", "b", thumbnail, images[0])], "title")
        assert has(sheet, drawn)
        assert has(sheet, enlarge(thumbnail, 4))
        assert f"the {size} x {size} pixels" in " ".join(texts(written))


def has(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture shows a part somewhere, pixel by pixel."""
    height, width, _ = part.shape
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], part.shape[:2])
    candidates = np.argwhere((windows[..., 0, :8] == part[0, :8, 0]).all(-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in candidates)


class TestGrid:
    CELLS = tuple(grid.Cell(np.full((40, 50, 3), 10 * n, np.uint8), ("W" * 9, "W" * 4)) for n in range(5))

    def test_pictures_stand_in_rows_and_captions_below_them_within_their_column(self):
        picture = grid.draw(self.CELLS, "t", "", columns=3)
        step = 9 * LETTER + mosaic.SPACE  # captions are wider than pictures
        head = mosaic.heading("t", "", picture.shape[1])[1]
        assert picture.shape[1] == 3 * step + mosaic.SPACE
        for n, cell in enumerate(self.CELLS):
            row, column = divmod(n, 3)
            x, y = mosaic.SPACE + column * step, head + row * (picture.shape[0] - head) // 2
            np.testing.assert_array_equal(picture[y : y + 40, x : x + 50], cell.pixels)
            below = ink(picture)[y + 40 : y + 40 + grid.FRAME + 2 * LINE]
            assert below[:, x : x + 9 * LETTER].any(), "its caption"
            assert not below[:, x - mosaic.SPACE + 2 : x - 2].any(), "a gap before the next column"

    def test_what_stands_out_has_a_frame_and_bold_letters(self, written):
        grid.draw(self.CELLS[:1], "t", "")
        assert texts(written, bold=True) == ["t"]
        plain, framed = (grid.draw([self.CELLS[0]._replace(stands_out=is_so)], "", "") for is_so in (False, True))
        assert texts(written, bold=True) == ["t", "W" * 4]
        color = (framed == grid.FRAME_COLOR).all(-1)
        assert color.sum() == (40 + 2 * grid.FRAME) * (50 + 2 * grid.FRAME) - 40 * 50
        assert not (plain == grid.FRAME_COLOR).all(-1).any()

    def test_all_epochs_have_pictures_of_one_size(self):
        def draw(caption):
            return grid.draw([grid.Cell(blank(8, 8), (caption,))] * 3, "title", "explanation", letters=30)

        assert draw("a").shape == draw("a" * 30).shape


class TestPredictions:
    PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.305, 0.3, 0.395]], dtype=np.float32)

    def test_a_wrong_answer_is_named_and_a_right_one_is_not(self, written):
        images = random_images(3)
        picture = predictions.draw(images, np.array([0, 0, 2]), self.PROBABILITIES, NAMES, "title")
        assert texts(written)[1:] == ["airplane", "70 %", "airplane", "> automobile 100 %", "bird", "40 %"]
        assert texts(written, bold=True) == ["title", "> automobile 100 %"]
        framed = (picture == grid.FRAME_COLOR).all(-1)
        assert framed.any()
        for label, image in zip(written[1::2], images, strict=True):
            x, y = label.x, label.y - grid.FRAME - mosaic.SIDE
            shown = picture[y : y + mosaic.SIDE, x : x + mosaic.SIDE]
            np.testing.assert_array_equal(shown, enlarge(image.transpose(1, 2, 0), 4))

    def test_one_size_however_sure_it_is(self):
        images, labels = random_images(3), np.array([2, 2, 1])
        sure, unsure = (np.eye(3)[[0, 1, 0]], np.full((3, 3), 1 / 3))
        shapes = {predictions.draw(images, labels, p, NAMES, "title").shape for p in (sure, unsure)}
        assert len(shapes) == 1

    def test_labelled_images(self, written):
        predictions.draw_labelled(random_images(2), np.array([2, 1]), NAMES, "title")
        assert texts(written)[1:] == ["bird", "automobile"]


class TestFilters:
    def colors(self, weights: np.ndarray) -> np.ndarray:
        """The first unit's picture, one pixel for each weight, as numbers."""
        unit = weights.shape[-1]
        picture = filters.draw(weights, "")
        factor = (filters.SIDE if len(weights) > 1 else filters.ALONE) // unit
        y, x = mosaic.heading("", filters_explanation(weights), picture.shape[1])[1], mosaic.SPACE
        block = picture[y : y + unit * factor, x : x + unit * factor]
        np.testing.assert_array_equal(block, enlarge(block[::factor, ::factor], factor), "whole pixels")
        return block[::factor, ::factor].astype(int)

    @pytest.mark.parametrize(("units", "side"), [(1, 32), (3, 32), (2, 3), (2, 5)])
    def test_grey_is_zero_and_the_scale_is_symmetric(self, units, side):
        weights = np.random.default_rng(0).normal(size=(units, 3, side, side))
        weights[0, :, 0, 0] = 0
        up, down = self.colors(weights), self.colors(-weights)
        assert set(up[0, 0]) <= {127, 128}
        np.testing.assert_allclose(up + down, 255, atol=1)
        clear = np.abs(weights[0]).transpose(1, 2, 0) > 0.01
        np.testing.assert_array_equal((up > 127.5)[clear], (weights[0].transpose(1, 2, 0) > 0)[clear])

    def test_all_units_have_one_scale(self):
        weights = np.ones((2, 3, 4, 4))
        weights[1] *= 10
        assert (self.colors(weights) == round(127.5 * 1.1)).all()

    def test_scale_norms_and_names_are_written(self, written):
        weights = np.zeros((2, 3, 2, 2))
        weights[0] = 0.5
        weights[1] = -0.25
        filters.draw(weights, "title", ["a", "b"])
        assert texts(written)[-4:] == ["a", f"norm {np.sqrt(3.0):.2f}", "b", "norm 0.866"]
        assert "Full red, green or blue is 0.5 or more, none of it -0.5 or less." in " ".join(texts(written))

    def test_of_many_units_the_first_ones(self, written):
        filters.draw(np.ones((70, 3, 3, 3)), "title")
        assert sum(text.startswith("norm") for text in texts(written)) == 64
        assert "The first 64 of 70 units." in " ".join(texts(written))

    def test_weights_whose_squares_float32_cannot_hold(self, written):
        with np.errstate(all="raise"):
            filters.draw(np.full((1, 3, 2, 2), 1e30, np.float32), "title")
        assert "norm 3.46e+30" in texts(written)

    def test_the_weights_of_grey_images_are_grey(self, written):
        weights = np.zeros((2, 1, 3, 3))
        weights[0, 0, 0] = [-1, 0, 1]
        first = self.colors_of_one_channel(weights)
        assert first[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
        assert "Grey is 0. White is 1 or more, black -1 or less." in " ".join(texts(written))

    def colors_of_one_channel(self, weights: np.ndarray) -> np.ndarray:
        picture, factor = filters.draw(weights, ""), filters.SIDE // 3
        rows, columns = (ink(picture) & (np.abs(np.diff(picture.astype(int), axis=2)).sum(2) == 0)).nonzero()
        del columns
        y = mosaic.heading("", "Grey is 0. White is 1 or more, black -1 or less.", picture.shape[1])[1]
        assert y in rows
        return picture[y : y + 3 * factor : factor, mosaic.SPACE : mosaic.SPACE + 3 * factor : factor]

    def test_weights_that_are_all_zero(self):
        assert (self.colors(np.zeros((2, 3, 3, 3))) == 128).all()


def filters_explanation(weights: np.ndarray) -> str:
    largest = float(np.quantile(np.abs(weights), filters.WITHIN)) or 1.0
    return f"Grey is 0. Full red, green or blue is {largest:.2g} or more, none of it -{largest:.2g} or less."


class TestFeatureMaps:
    def test_each_channel_has_a_scale_of_its_own(self, written):
        maps = np.zeros((2, 3, 16, 16))
        maps[:, 0] = np.arange(16)  # the same in both images
        maps[0, 1], maps[1, 1] = np.arange(16) / 15, 2  # higher in the second image
        picture = feature_maps.draw(random_images(2), maps, ["bird", "automobile"], "title", "net.0.")
        numbers = [label for label in written if label.text in "012"]
        rows = [label.y - feature_maps.SIDE for label in written if label.text in NAMES]
        side, factor = 64, 4
        for row, y in enumerate(rows):
            for channel, label in enumerate(numbers):
                x = label.x - side // 2
                shown = picture[y : y + side, x : x + side]
                small = shown[::factor, ::factor]
                np.testing.assert_array_equal(shown, enlarge(small, factor))
                left_and_right = [(0, 1), [(0, 0.5), (1, 1)][row], (0, 0)][channel]
                expected = matplotlib.colormaps["viridis"](np.array(left_and_right, float), bytes=True)[:, :3]
                np.testing.assert_array_equal(small[0, [0, -1]], expected)

    def test_the_image_stands_beside_its_maps(self, written):
        images = random_images(1)
        picture = feature_maps.draw(images, np.zeros((1, 20, 5, 8)), ["bird"], "title")
        y, x = written[-1].y - 64, written[-1].x
        np.testing.assert_array_equal(picture[y : y + 64, x : x + 64], enlarge(images[0].transpose(1, 2, 0), 2))
        assert [text for text in texts(written) if text.isdigit()] == [str(n) for n in range(16)], "the first channels"


class TestActivationMaps:
    def test_where_nothing_speaks_for_the_class_the_image_is_grey(self):
        image = random_images(1)[0].transpose(1, 2, 0)
        shown = predictions.overlay(image, np.zeros((4, 4)))
        np.testing.assert_array_equal(shown, shown[..., :1].repeat(3, 2))
        expected = image[..., 0] * 0.299 + image[..., 1] * 0.587 + image[..., 2] * 0.114
        np.testing.assert_allclose(shown[..., 0], expected, atol=1)

    def test_where_a_map_is_highest_a_fifth_of_the_grey_is_left(self):
        image = np.full((8, 8, 3), 200, np.uint8)
        highest = np.array(matplotlib.colormaps["inferno"](1.0)[:3]) * 255
        shown = predictions.overlay(image, np.ones((2, 2)))
        np.testing.assert_allclose(shown, np.broadcast_to(0.2 * 200 + 0.8 * highest, (8, 8, 3)), atol=1)

    @pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 5), (32, 32)])
    def test_each_place_of_the_map_covers_its_part_of_the_image(self, size):
        image, strength = np.zeros((32, 32, 3), np.uint8), np.zeros(size)
        strength[-1, 0] = 1
        colored = ink(WHITE - predictions.overlay(image, strength))
        rows, columns = colored.any(1).nonzero()[0], colored.any(0).nonzero()[0]
        assert rows[-1] == 31
        assert columns[0] == 0
        assert (len(rows), len(columns)) == pytest.approx((32 / size[0], 32 / size[1]), abs=1)

    def test_maps_of_any_scale_look_alike(self, written):
        images, maps = random_images(2), np.random.default_rng(0).random((2, 8, 8))
        arguments = (np.array([0, 1]), np.eye(3)[[0, 2]], NAMES, "title")
        picture = predictions.draw(images, *arguments, maps=maps)
        np.testing.assert_array_equal(picture, predictions.draw(images, *arguments, maps=maps * 1000))
        assert texts(written)[1:5] == ["airplane", "100 %", "automobile", "> bird 100 %"]
        side, label = mosaic.SIDE, written[1]
        y = label.y - grid.FRAME - side
        bare = enlarge(images[0].transpose(1, 2, 0), 4)
        np.testing.assert_array_equal(picture[y : y + side, label.x : label.x + side], bare)
        x = label.x + side + mosaic.SPACE // 2
        covered = predictions.overlay(bare, maps[0] / maps[0].max())
        np.testing.assert_array_equal(picture[y : y + side, x : x + side], covered)

    def test_a_map_of_zeros(self):
        picture = predictions.draw(random_images(1), np.array([0]), np.eye(3)[:1], NAMES, "t", maps=np.zeros((1, 4, 4)))
        assert ink(picture).any()


class TestConfusionMatrix:
    CONFUSION = ((3, 1, 0), (0, 0, 0), (1, 1, 6))

    def test_each_row_is_in_percent_of_its_class(self, written):
        picture = confusion_matrix.pixels(self.CONFUSION, NAMES, "title")
        rows = {label.y: label.text for label in written if label.text in NAMES and not label.centered}
        columns = {label.x: label.text for label in written if label.text in NAMES and label.centered}
        found = {(rows[label.y], columns[label.x]): label.text for label in written if label.text.isdigit()}
        assert found == {
            ("airplane", "airplane"): "75",
            ("airplane", "automobile"): "25",
            ("bird", "airplane"): "12",
            ("bird", "automobile"): "12",
            ("bird", "bird"): "75",
        }
        darkness = {}
        for y, truth in rows.items():
            for x, prediction in columns.items():
                darkness[truth, prediction] = int(WHITE * 3 - picture[y - 2, x - 3 * LETTER].astype(int).sum())
        assert darkness["airplane", "airplane"] == darkness["bird", "bird"] == max(darkness.values())
        assert darkness["airplane", "automobile"] > darkness["bird", "airplane"] > darkness["airplane", "bird"]

    def test_the_figure_has_the_truth_in_rows(self):
        axes = confusion_matrix.draw(self.CONFUSION, NAMES, "title").axes[0]
        expected = np.array([[75, 25, 0], [0, 0, 0], [12.5, 12.5, 75]])
        np.testing.assert_allclose(axes.images[0].get_array(), expected)
        numbers = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
        assert numbers == {(0, 0): "75", (0, 1): "25", (2, 0): "12", (2, 1): "12", (2, 2): "75"}
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "prediction")
        for ticks in (axes.get_yticklabels(), axes.get_xticklabels()):
            assert tuple(tick.get_text() for tick in ticks) == NAMES

    @pytest.mark.parametrize("names", [NAMES, ("airplane", "not airplane")])
    def test_no_name_runs_into_another(self, names, written):
        k = len(names)
        picture = confusion_matrix.pixels(np.eye(k, dtype=int).tolist(), names, "title")
        heads = sorted(label for label in written if label.text in names and label.centered)
        edges = sorted((x - LETTER * len(text) / 2, x + LETTER * len(text) / 2) for text, x, *_ in heads)
        assert all(right < left for (_, right), (left, _) in pairwise(edges))
        assert edges[-1][1] < picture.shape[1]

    @pytest.mark.parametrize("k", [21, 100, 130])
    def test_many_classes_have_colors_alone_and_numbered_columns(self, k, written):
        confusion = np.zeros((k, k), dtype=int)
        confusion[np.arange(k), (np.arange(k) + 1) % k] = 5
        names = [f"kind {label}" for label in range(k)]
        picture = confusion_matrix.pixels(confusion.tolist(), names, "title")
        assert max(picture.shape) < 20 * k + 200
        rows = {label.text: label.y for label in written if not label.centered and not label.bold}
        columns = {label.text: label.x for label in written if label.centered}
        assert {f"{label} kind {label}" for label in range(k)} <= rows.keys()
        assert len(columns) >= k // 3
        for head, x in columns.items():
            truth = (int(head) - 1) % k
            dark = np.argwhere((picture[:, x] == matplotlib.colormaps["Blues"](1.0, bytes=True)[:3]).all(1)).ravel()
            assert rows[f"{truth} kind {truth}"] <= dark.min() <= dark.max() < rows[f"{truth} kind {truth}"] + LINE
        heads = sorted((x - LETTER * len(head) / 2, x + LETTER * len(head) / 2) for head, x in columns.items())
        assert all(right < left for (_, right), (left, _) in pairwise(heads))
        axes = confusion_matrix.draw(confusion.tolist(), names, "title").axes[0]
        assert not axes.texts
        assert tuple(tick.get_text() for tick in axes.get_yticklabels()) == tuple(names)

    def test_hostile_names_are_drawn_as_they_are(self, recwarn):
        """A folder's name may be a faulty formula for Matplotlib, as long as a sentence, or in letters it lacks."""
        k = len(HOSTILE)
        figure = confusion_matrix.draw(np.eye(k, dtype=int).tolist(), HOSTILE, "$^$")
        assert svg.encode(figure)
        assert png.render(figure)
        assert png.render(learning_curves.draw({"epoch": [1], "val/acc": [0.5]}, "$^$"))
        assert not recwarn
        assert confusion_matrix.pixels(np.eye(k, dtype=int).tolist(), HOSTILE, "$^$").shape[1] < 1100
        picture = predictions.draw(random_images(5), np.arange(5), np.eye(5)[[1, 0, 2, 3, 4]], HOSTILE, "title")
        assert picture.shape[1] < 1300

    def test_the_darkest_cell_leaves_black_letters_legible(self):
        """A contrast of 4.5 to 1, as WCAG 2 asks of text."""
        color = np.array(matplotlib.colormaps["Blues"](confusion_matrix.DARKEST)[:3])
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        assert (linear @ [0.2126, 0.7152, 0.0722] + 0.05) / 0.05 > 4.5


@pytest.mark.parametrize("stages", [("train", "val"), ("train",)])
def test_each_stage_has_its_curve_of_loss_and_of_accuracy(stages):
    curves = {
        "train/loss": [2.0, 1.5, 1.0],
        "val/loss": [2.1, 1.7, 1.6],
        "train/acc": [0.2, 0.4, 0.6],
        "val/acc": [0.25, float("nan"), 0.5],
    }
    shown = {name: values for name, values in curves.items() if name.startswith(stages)}
    figure = learning_curves.draw({"epoch": [1, 2, 3], **shown}, "title")
    for axes, quantity in zip(figure.axes, ("loss", "acc"), strict=True):
        assert [line.get_label() for line in axes.lines] == list(stages)
        for line, stage in zip(axes.lines, stages, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), curves[f"{stage}/{quantity}"])
