"""Test-time augmentation: the logits of an image as their mean over several views of it.

The views are those of the speed records (Jordan 2024, https://arxiv.org/abs/2404.00498). Parsers read their names:
importing this module imports no torch.
"""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from datamodules.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


class Views(NamedTuple):
    """The views of an image.

    Attributes:
        shifts: each view's distance from the image, in pixels along the diagonal, and its weight. The image mirrored at
            its edge fills the border.
        mirrored: whether each of these views is averaged with its mirror image.
    """

    shifts: tuple[tuple[int, float], ...] = ((0, 1.0),)
    mirrored: bool = False

    @property
    def number(self) -> int:
        return len(self.shifts) * (1 + self.mirrored)


SHIFTS = ((0, 0.5), (-1, 0.25), (1, 0.25))
NO_VIEWS = "none"  # but the image itself
VIEWS = {
    NO_VIEWS: Views(),
    "flip": Views(mirrored=True),
    "shift": Views(SHIFTS),
    "both": Views(SHIFTS, mirrored=True),
}


def check(tta: object, image_size: int) -> None:
    """Raise InputError unless `tta` is a key of `VIEWS`, and images of this height and width have these views."""
    if tta not in tuple(VIEWS):
        raise InputError(f"--tta={tta} is unknown.{did_you_mean(str(tta), VIEWS)} Known are: {', '.join(VIEWS)}")
    if image_size == 1 and VIEWS[str(tta)].shifts == SHIFTS:
        raise InputError(f"--tta={tta}: images of 1 x 1 pixel cannot be shifted: give flip or {NO_VIEWS}")


def describe(tta: str) -> str:
    """Return a text such as "the mean of 6 views of each image"."""
    return f"the mean of {VIEWS[tta].number} views of each image"


def mean_logits(
    network: "Callable[[Tensor], Tensor]", images: "Tensor", tta: str, logits: "Tensor | None" = None
) -> "Tensor":
    """Return the mean of a network's logits, float32 (n, K), over the views of images, uint8 (n, c, h, w).

    `logits` are those of the images themselves, float32, if they are known already.
    """

    def of_shifted(pixels: int) -> "Tensor":
        view = shifted(images, pixels)
        seen = logits if pixels == 0 and logits is not None else network(view).float()
        return (seen + network(view.flip(3)).float()) / 2 if mirrored else seen

    shifts, mirrored = VIEWS[tta]
    if tta == NO_VIEWS:
        return of_shifted(0)
    return reduce(add, (weight * of_shifted(pixels) for pixels, weight in shifts))


def shifted(images: "Tensor", pixels: int) -> "Tensor":
    """Return uint8 images (n, c, h, h) moved up and to the left by `pixels`, -h < `pixels` < h."""
    from datamodules.augmentation import pad

    if pixels == 0:
        return images
    border, side = abs(pixels), images.shape[2]
    padded = pad(images.permute(0, 2, 3, 1), border, "reflect")
    start = border + pixels
    return padded[:, start : start + side, start : start + side].permute(0, 3, 1, 2)
