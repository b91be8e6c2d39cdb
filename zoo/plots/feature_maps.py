"""The output of a convolution's channels, beside the input images."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots.lettering import SPACE, heading, write
from zoo.plots.mosaic import LETTER, LINE, Label, enlarge

CHANNELS = 16  # the most that are drawn
SIDE = 64  # pixels of an image and, about, of a map
GAP = 4  # pixels between maps


def draw(images: np.ndarray, maps: np.ndarray, names: Sequence[str], title: str, explanation: str = "") -> np.ndarray:
    """Draw a row for each image: the image above its name, and a map for each channel on the channel's own scale.

    Args:
        images: uint8 (n, 3, 32, 32).
        maps: float (n, channels, height, width).
        names: the names of the images.
        title: the heading; name the model and the layer.
        explanation: the lines below the title.

    Returns:
        uint8 (height, width, 3).
    """
    shown = maps[:, :CHANNELS]
    pictures = matplotlib.colormaps["viridis"](_scaled(shown), bytes=True)[..., :3]  # (n, channels, h, w, 3)
    height, width = (max(1, SIDE // max(shown.shape[2:])) * size for size in shown.shape[2:])
    factor = SIDE // images.shape[-1]
    step_y = max(height, SIDE + LINE) + SPACE
    left = max(SIDE, LETTER * max(map(len, names))) + 2 * SPACE
    canvas_width = left + shown.shape[1] * (width + GAP) + SPACE
    scale = "Each channel from its lowest value (dark) to its highest (bright) over these images."
    labels, head = heading(title, f"{explanation} {scale}", canvas_width)
    canvas = np.full((head + LINE + len(images) * step_y, canvas_width, 3), 255, dtype=np.uint8)
    for channel in range(shown.shape[1]):
        labels.append(Label(str(channel), left + channel * (width + GAP) + width // 2, head, centred=True))
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        y = head + LINE + row * step_y
        canvas[y : y + SIDE, SPACE : SPACE + SIDE] = enlarge(image.transpose(1, 2, 0), factor)
        labels.append(Label(name, SPACE, y + SIDE))
        for channel, picture in enumerate(pictures[row]):
            x = left + channel * (width + GAP)
            canvas[y : y + height, x : x + width] = enlarge(picture, height // picture.shape[0])
    return write(canvas, labels)


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Return maps with each channel scaled to 0 to 1; a constant channel is 0."""
    low = maps.min((0, 2, 3), keepdims=True)
    span = maps.max((0, 2, 3), keepdims=True) - low
    return (maps - low) / np.where(span > 0, span, 1)
