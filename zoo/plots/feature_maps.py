"""The output of a layer: a map for each channel of a convolution, or a bar for each unit of a dense layer."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, boxed, colors, fitted, heading, short_names, write

CHANNELS, UNITS = 16, 160  # the most that are drawn
SIDE = 64  # pixels of an image and, about, of a map
GAP = 4  # pixels between maps
WIDTH, NARROW, BROAD = 800, 5, 100  # pixels: about, of all units; at least and at most, of one unit
LEAST = 400  # pixels: the smallest width, for the heading


def draw(images: np.ndarray, maps: np.ndarray, names: Sequence[str], title: str, explanation: str = "") -> np.ndarray:
    """Draw a row for each image: the image above its name, and a map for each channel on the channel's own scale.

    The images are uint8 (n, c, h, w), the maps float (n, channels, height, width), the result uint8 (h, w, 3).
    """
    shown = maps[:, :CHANNELS]
    low, high = (extreme((0, 2, 3), keepdims=True) for extreme in (shown.min, shown.max))
    colored = _colors(shown, low, high)  # (n, channels, h, w, 3)
    larger = np.array([[fitted(one, SIDE) for one in of_image] for of_image in colored])
    spaced = np.pad(larger, ((0, 0), (0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    step, middle = spaced.shape[3], larger.shape[3] // 2
    heads = [(str(channel), channel * step + middle) for channel in range(shown.shape[1])]
    scale = "Each channel from its lowest value (dark) to its highest (bright) over these images."
    strips = np.concatenate(list(spaced.swapaxes(0, 1)), axis=2)
    return _rows(images, strips, names, heads, title, f"{explanation} {scale}")


def draw_units(
    images: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    title: str,
    explanation: str = "",
    units: Sequence[str] = (),
) -> np.ndarray:
    """Draw the same with a bar for each unit, float (n, units), all on one scale.

    `units` are their names, by default numbers; only those that fit are written.
    """
    shown = values[:, :UNITS]
    count = shown.shape[1]
    units = short_names(units) or [str(number) for number in range(count)]
    low, high = shown.min(), shown.max()
    broad = min(max(WIDTH // count, NARROW), BROAD)
    every = -(-LETTER * (1 + max(map(len, units))) // broad)  # units from one name to the next
    heads = [(units[unit], unit * broad + broad // 2) for unit in range(0, count, every)]
    strips = _colors(shown, low, high)[:, None].repeat(SIDE, axis=1).repeat(broad, axis=2)
    scale = f"From {low:.3g} (dark) to {high:.3g} (bright)."
    return _rows(images, strips, names, heads, title, f"{explanation} {scale}")


def _colors(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return colors, uint8 (..., 3), of values between `low` and `high`; without any span all are dark."""
    scaled = (values - low) / np.where(high > low, high - low, 1)
    return matplotlib.colormaps["viridis"](scaled, bytes=True)[..., :3]


def _rows(
    images: np.ndarray,
    strips: np.ndarray,
    names: Sequence[str],
    heads: Sequence[tuple[str, int]],
    title: str,
    explanation: str,
) -> np.ndarray:
    """Draw each image above its name, with its strip, uint8 (height, width, 3), to the right.

    `heads` are texts above the strips, with their middles in pixels from the left of the strip.
    """
    _, height, width, _ = strips.shape
    names = short_names(names)
    left = max(SIDE, LETTER * max(map(len, names))) + 2 * SPACE
    canvas_width = max(LEAST, left + width + SPACE)
    labels, head = heading(title, explanation, canvas_width)
    labels += [Label(text, left + middle, head, centered=True) for text, middle in heads]
    step = max(height, SIDE + LINE) + SPACE
    canvas = blank(head + LINE + len(images) * step, canvas_width)
    for row, (image, strip, name) in enumerate(zip(images, strips, names, strict=True)):
        y = head + LINE + row * step
        canvas[y : y + SIDE, SPACE : SPACE + SIDE] = boxed(colors(image), SIDE)
        canvas[y : y + height, left : left + width] = strip
        labels.append(Label(name, SPACE, y + SIDE))
    return write(canvas, labels)
