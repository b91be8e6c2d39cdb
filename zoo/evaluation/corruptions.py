"""Corrupt images as a bad camera, bad light or a bad connection would, at five severities.

After Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
https://arxiv.org/abs/1903.12261, who published a corrupted CIFAR-10 as CIFAR-10-C. The corruptions here are simpler,
and accuracies on the two are not comparable. `zoo.evaluation.external_test_sets` reads CIFAR-10-C.

On pixels x from 0 to 1, with the parameter c of the severity; a c in pixels grows with the side of the images:

gaussian_noise  x + c N, with a normal random number N for each pixel and color
shot_noise      Poisson(c x) / c: the number of photons, where a white pixel has c
impulse_noise   a share c of all pixels and colors is 0 or 1
defocus_blur    the mean over a disk of c pixels' radius
gaussian_blur   the mean weighted by a Gaussian of c pixels' standard deviation
motion_blur     the mean along a line of c pixels, in a random direction for each image
fog             (x + c F) / (1 + c), with clouds F of 0.5 to 1 whose amplitudes fall off as 1 / frequency^2
brightness      x + c
contrast        m + c (x - m), with the mean m of each image and color
saturation      g + c (x - g), with the gray value g of each pixel (ITU-R BT.601); for color images alone
pixelate        the mean over the areas of c by c larger pixels
jpeg            JPEG compression of quality c (Pillow), chroma at half the resolution

Results are clipped to 0 to 1 and rounded to a byte.
"""

import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)
GREY = (0.299, 0.587, 0.114)  # red, green, blue: ITU-R BT.601
SIDE = 32  # pixels of the images that the parameters in pixels are for


class Corruption(NamedTuple):
    """A kind of corruption.

    `apply` maps pixels from 0 to 1, float32 (n, c, h, w), c and a random generator to other pixels.
    """

    kind: str
    parameters: tuple[float, ...]  # c of each severity, for images of `SIDE` pixels
    unit: str  # of c
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    in_pixels: bool = False  # whether c grows with the side of the images
    needs_color: bool = False

    def parameter(self, severity: int, side: int) -> float:
        """Return c of a severity for images of `side` pixels."""
        c = self.parameters[severity - 1]
        return c * side / SIDE if self.in_pixels else c


def names_for(channels: int) -> list[str]:
    """Return the names of the corruptions that images of so many channels can have."""
    return [name for name, corruption in CORRUPTIONS.items() if channels == 3 or not corruption.needs_color]


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Return images, uint8 (n, c, h, w), under one of `CORRUPTIONS` at severity 1 to 5.

    The seed, the images, the name and the severity decide every pixel.
    """
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng([seed, severity, zlib.crc32(name.encode())])
    pixels = corruption.apply(images.astype(np.float32) / 255, corruption.parameter(severity, images.shape[-1]), rng)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


# Noise.


def _gaussian_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return x + c * rng.standard_normal(x.shape, dtype=np.float32)


def _shot_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(c * x) / c


def _impulse_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(x.shape) < c, rng.integers(0, 2, x.shape), x)


# Blur: weighted means over the neighbourhood of each pixel.


def _defocus_blur(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _neighbourhood(int(np.ceil(c)))
    return _weighted_mean(x, np.clip(c + 0.5 - np.hypot(rows, columns), 0, 1)[None])  # a pixel at the edge counts less


def _gaussian_blur(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _neighbourhood(int(np.ceil(3 * c)))
    return _weighted_mean(x, np.exp(-(rows**2 + columns**2) / (2 * c**2))[None])


def _motion_blur(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    angles = rng.uniform(0, np.pi, len(x))[:, None, None]
    rows, columns = _neighbourhood(int(np.ceil(c / 2)))
    along = np.abs(columns * np.cos(angles) + rows * np.sin(angles))
    across = np.abs(rows * np.cos(angles) - columns * np.sin(angles))
    return _weighted_mean(x, np.clip(c / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1))


def _neighbourhood(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each pixel of a square from the middle one, in rows and in columns."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return rows, columns


def _weighted_mean(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted means over the neighbourhood of each pixel of x (n, channels, h, w), mirrored at its edges.

    The weights are those of all images, (1, k, k), or of each image, (n, k, k); k is odd.
    """
    weights = (weights / weights.sum((1, 2), keepdims=True)).astype(x.dtype)
    (height, width), size = x.shape[2:], weights.shape[1]
    border = (size // 2, size // 2)
    padded = np.pad(x, ((0, 0), (0, 0), border, border), mode="reflect")
    total = np.zeros_like(x)
    for row, column in np.argwhere(weights.any(0)):
        total += weights[:, row, column, None, None, None] * padded[:, :, row : row + height, column : column + width]
    return total


# Weather and light.


def _fog(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    n, _, height, width = x.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1  # the mean, which is set below
    clouds = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, height, width))) / frequency**2, s=(height, width))
    clouds -= clouds.min((1, 2), keepdims=True)
    clouds *= 0.5 / clouds.max((1, 2), keepdims=True)
    return (x + c * (0.5 + clouds[:, None])) / (1 + c)


def _brightness(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return x + c


def _contrast(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    mean = x.mean((2, 3), keepdims=True)
    return mean + c * (x - mean)


def _saturation(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    gray = np.einsum("nchw,c->nhw", x, np.array(GREY, dtype=x.dtype))[:, None]
    return gray + c * (x - gray)


# Storage, by Pillow.


def _pixelate(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    def coarser(image: Image.Image) -> Image.Image:
        side = max(1, round(c))
        return image.resize((side, side), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)

    return _each(x, coarser)


def _jpeg(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    def compressed(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(c), subsampling="4:2:0")
        return Image.open(file)

    return _each(x, compressed)


def _each(x: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Return pixels (n, c, h, w) after Pillow has changed each image."""
    pixels = (x * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    given = pixels[..., 0] if x.shape[1] == 1 else pixels  # Pillow's gray images have no axis for the channel
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in given])
    return changed.reshape(pixels.shape).transpose(0, 3, 1, 2).astype(np.float32) / 255


CORRUPTIONS = {
    "gaussian_noise": Corruption("noise", (0.04, 0.06, 0.08, 0.10, 0.13), "standard deviation", _gaussian_noise),
    "shot_noise": Corruption("noise", (500, 250, 120, 80, 50), "photons of a white pixel", _shot_noise),
    "impulse_noise": Corruption("noise", (0.01, 0.02, 0.03, 0.05, 0.08), "share of the pixels", _impulse_noise),
    "defocus_blur": Corruption("blur", (0.7, 1.0, 1.3, 1.6, 2.0), "radius in pixels", _defocus_blur, in_pixels=True),
    "gaussian_blur": Corruption(
        "blur", (0.4, 0.6, 0.8, 1.0, 1.3), "standard deviation in pixels", _gaussian_blur, in_pixels=True
    ),
    "motion_blur": Corruption("blur", (2, 3, 4, 5, 7), "length in pixels", _motion_blur, in_pixels=True),
    "fog": Corruption("weather and light", (0.2, 0.5, 0.75, 1.0, 1.5), "amount", _fog),
    "brightness": Corruption("weather and light", (0.05, 0.1, 0.15, 0.2, 0.3), "added", _brightness),
    "contrast": Corruption("weather and light", (0.75, 0.5, 0.4, 0.3, 0.15), "factor", _contrast),
    "saturation": Corruption("weather and light", (0.75, 0.5, 0.3, 0.15, 0.0), "factor", _saturation, needs_color=True),
    "pixelate": Corruption("storage", (28, 24, 20, 16, 12), "pixels a side", _pixelate, in_pixels=True),
    "jpeg": Corruption("storage", (80, 60, 40, 25, 15), "quality", _jpeg),
}
