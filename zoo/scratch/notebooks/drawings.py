"""Drawn images for the notebooks: small, made in a moment, without a download."""

import numpy as np

SIZE = 32  # rows and columns


def rings_and_crosses(
    rng: np.random.Generator, n: int, rings: float = 0.2, shift: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rings (label 1) and crosses (label 0) in random colors, near the middle of noisy images.

    Args:
        rng: source of the random numbers.
        n: number of images.
        rings: share of the rings.
        shift: how many pixels a figure may be away from the middle, up, down, left and right.

    Returns:
        uint8 images (n, 32, 32, 3), and labels (n,).
    """
    labels = (rng.random(n) < rings).astype(np.int64)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    dy, dx = rng.integers(-shift, shift + 1, (2, n, 1, 1))
    y, x = rows - SIZE / 2 + 0.5 - dy, columns - SIZE / 2 + 0.5 - dx  # (n, 32, 32), 0 in the middle of the figure
    ring = np.abs(np.hypot(x, y) - 9) < 2
    cross = (np.minimum(np.abs(x), np.abs(y)) < 2) & (np.maximum(np.abs(x), np.abs(y)) < 11)
    figure = np.where(labels[:, None, None] == 1, ring, cross)  # (n, 32, 32)
    background, color = rng.uniform(40, 110, (n, 1, 1, 3)), rng.uniform(130, 230, (n, 1, 1, 3))
    images = np.where(figure[..., None], color, background) + rng.normal(0, 25, (n, SIZE, SIZE, 3))
    return images.clip(0, 255).astype(np.uint8), labels


def xor_points(rng: np.random.Generator, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Draw points in four round groups: 1 for the top left and the bottom right group, 0 for the other two.

    Args:
        rng: source of the random numbers.
        n: number of points.

    Returns:
        Points, float64 (n, 2), and the group of each, 0 or 1, (n,).
    """
    corners = np.array([[-1, 1], [1, -1], [1, 1], [-1, -1]])
    which = rng.integers(4, size=n)
    return 1.5 * corners[which] + 0.5 * rng.standard_normal((n, 2)), (which < 2).astype(np.int64)
