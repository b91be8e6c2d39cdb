"""The operations of augmentation policies, each on a whole batch, with a magnitude of its own for every image.

Each function takes `images`, uint8 (n, side, side, channels), contiguous, with 1 or 3 channels; `magnitudes`, float32
(n,); and `fill`, the color of the pixels that come from outside of an image, uint8 (channels,). It returns new images
or the same tensor. None waits for the device.

The results are those of the operations of the same names in torchvision's RandAugment (`torchvision.transforms.v2`), on
bytes and with the nearest pixel. Color, Contrast and Sharpness add in another order than torchvision, so that a value
may round to the next gray level. A place in the middle of two pixels may round the other way.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]

# Weights of red, green and blue in the gray value: ITU-R BT.601, with torchvision's digits.
RED, GREEN, BLUE = 0.2989, 0.587, 0.114


@cache
def constants(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers as a tensor (n,), not to be changed, without a copy from the host, for which a GPU would wait."""
    return torch.cat([torch.full((1,), value, device=device, dtype=dtype) for value in values])


def identity(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    return images


def invert(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    return ~images


def posterize(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Keep the high bits of each byte, as many as the magnitude says, rounded."""
    masks = 256 - torch.exp2(8 - magnitudes.round())
    return images & _each(masks.to(torch.uint8))


def solarize(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Invert the values that are at least the magnitude, 0 to 255."""
    bright = images >= _each(magnitudes)
    return images ^ (bright.view(torch.uint8) * 255)


def brightness(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Multiply by 1 + magnitude."""
    return _bytes(images * _each(1 + magnitudes))


def color(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Move away from the gray image, or towards it if the magnitude is negative."""
    if images.shape[3] == 1:
        return images
    gray, result = _gray(images), torch.empty_like(images)
    # Channel by channel, which is faster than all channels of a pixel at once.
    for channel, changed in zip(images.unbind(3), result.unbind(3), strict=True):
        changed.copy_(_away(channel, gray, magnitudes[:, None, None]))
    return result


def contrast(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Move away from the mean gray value of the image, or towards it if the magnitude is negative."""
    return _away(images, _each(_gray(images).mean((1, 2))), _each(magnitudes))


def sharpness(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Move away from the blurred image, or towards it if the magnitude is negative; the outermost pixels stay.

    The blurred image is the mean of 3 x 3 pixels, of which the middle one counts 5 times.
    """
    n, side, _, channels = images.shape
    if side <= 2:
        return images
    # Sums of 13 bytes are integers, exact in int16; in rows of bytes, the pixel to the right is `channels` bytes away.
    rows = images.view(n, side, side * channels).short()
    middle = rows[:, 1:-1, channels:-channels]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    sums = sums[:, :, : -2 * channels] + sums[:, :, channels:-channels] + sums[:, :, 2 * channels :] + 4 * middle
    to_blurred = (sums * (1 / 13)).round_().sub_(middle)
    result = images.clone()
    inner = result.view(n, side, side * channels)[:, 1:-1, channels:-channels]
    inner.copy_(_bytes(torch.addcmul(middle.float(), to_blurred, -magnitudes[:, None, None])))
    return result


def auto_contrast(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Stretch the values of each channel to 0 to 255."""
    n, side, _, channels = images.shape
    rows = images.view(n, side, side * channels)
    darkest = _over_rows(torch.minimum, rows).view(n, side, channels).amin(1).float()
    brightest = _over_rows(torch.maximum, rows).view(n, side, channels).amax(1).float()
    scale = (brightest - darkest) * (1 / 255)
    flat = scale == 0  # a channel of one value stays as it is
    darkest, scale = darkest.masked_fill(flat, 0), scale.masked_fill(flat, 1)
    return _bytes(rows.float().sub_(_along_rows(darkest, side)).div_(_along_rows(scale, side))).view(images.shape)


def equalize(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Spread the values of each channel so that all are about equally frequent, with Pillow's integers."""
    n, side, _, channels = images.shape
    pixels = side * side
    tables = torch.arange(n * channels, dtype=torch.int32, device=images.device).view(n, channels) * 256
    places = (images.view(n, side, side * channels) + _along_rows(tables, side)).view(-1)
    counts = _counts(places, n * channels * 256).view(n, channels, 256)
    at_most = counts.cumsum(2, dtype=torch.int32)  # how many values are at most this one
    # The brightest value does not count. It is the first at which all values have been counted.
    brightest = (at_most == pixels).to(torch.uint8).argmax(2, keepdim=True)
    step = (pixels - counts.gather(2, brightest)) // 255
    # Exact: the numbers are integers below 2^24.
    table = ((at_most - counts + step // 2).float() / step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step == 0, torch.arange(256, dtype=torch.float32, device=images.device), table)
    return _bytes(table).view(-1).index_select(0, places).view(images.shape)


def _counts(values: Tensor, number: int) -> Tensor:
    """Return how often each integer of 0 to `number` - 1 occurs among int32 values, int32 (number,)."""
    if values.device.type == "cpu":
        return torch.bincount(values, minlength=number).int()  # faster, but it waits for a GPU
    counts = torch.zeros(number, dtype=torch.int32, device=values.device)
    return counts.scatter_add_(0, values.long(), counts.new_ones(1).expand(len(values)))


def shear_x(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Shift each row to the left by the magnitude times its distance from the top edge."""
    distances = torch.arange(images.shape[1], device=images.device) + 0.5
    return _shift_rows(images, (magnitudes[:, None] * distances).round_(), fill)


def shear_y(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Shift each column up by the magnitude times its distance from the left edge."""
    x, y = _grid(images)
    return _warp(images, x, y + _each(magnitudes)[..., 0] * (x + 0.5 * images.shape[1]), fill)


def translate_x(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Shift to the right by the magnitude in pixels, without its fraction."""
    return _shift_rows(images, -magnitudes.trunc()[:, None], fill)


def translate_y(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Shift down by the magnitude in pixels, without its fraction."""
    n, side, _, channels = images.shape
    rows = torch.cat([images.view(n * side, side * channels), fill.repeat(1, side)])
    places = torch.arange(side, device=images.device) - magnitudes.trunc().long()[:, None]
    starts = torch.arange(n, device=images.device)[:, None] * side
    # The last row is the color.
    places = torch.where((places >= 0) & (places < side), starts + places, n * side)
    return rows.index_select(0, places.view(-1)).view(images.shape)


def rotate(images: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Rotate counterclockwise by the magnitude in degrees."""
    x, y = _grid(images)
    radians = _each(magnitudes.double().deg2rad())[..., 0]
    cos, sin = radians.cos().float(), radians.sin().float()
    return _warp(images, cos * x - sin * y, sin * x + cos * y, fill)


OPERATIONS: dict[str, Operation] = {
    "Identity": identity,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
}


def _each(values: Tensor) -> Tensor:
    """Return a value for each image, (n,), in the shape that goes with images: (n, 1, 1, 1)."""
    return values[:, None, None, None]


def _along_rows(values: Tensor, side: int) -> Tensor:
    """Return a value for each channel, (n, channels), for rows of bytes: (n, 1, side * channels)."""
    return values.repeat(1, side)[:, None]


def _over_rows(pick: Callable[[Tensor, Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return the smallest or largest of each column of rows, uint8 (n, side, m), as (n, m).

    Element by element, by halves, which is faster for bytes than `amin` and `amax`.
    """
    while (count := rows.shape[1]) > 1:
        middle = (count + 1) // 2  # the row in the middle takes part twice
        rows = pick(rows[:, :middle], rows[:, -middle:])
    return rows[:, 0]


def _bytes(values: Tensor) -> Tensor:
    """Return floats as bytes, cut off at 0 and 255 and without their fractions; by way of int16, four times as fast."""
    return values.clamp_(0, 255).short().to(torch.uint8)


def _gray(images: Tensor) -> Tensor:
    """Return the gray values of images, integers in float32 (n, side, side)."""
    if images.shape[3] == 1:
        return images[..., 0].float()
    red, green, blue = images.unbind(3)
    return red.mul(RED).add_(green, alpha=GREEN).add_(blue, alpha=BLUE).floor_()


def _away(images: Tensor, others: Tensor, magnitudes: Tensor) -> Tensor:
    """Return images + magnitude (images - others) as bytes; the shapes go together."""
    return _bytes(torch.addcmul(images * (1 + magnitudes), others, -magnitudes))


def take_rows(images: Tensor, starts: Tensor, row_bytes: int) -> Tensor:
    """Return the `row_bytes` bytes from each of the starts, int64 (m,), in contiguous uint8 memory, as (m, row_bytes).

    One index_select from an (overlapping) view: several times faster than a gather of single bytes or pixels.
    """
    return images.view(-1).as_strided((images.numel() - row_bytes + 1, row_bytes), (1, 1)).index_select(0, starts)


def _shift_rows(images: Tensor, pixels: Tensor, fill: Tensor) -> Tensor:
    """Shift the rows of images to the left by whole pixels, float32 (n, side or 1)."""
    n, side, _, channels = images.shape
    row_bytes = side * channels
    wide = fill.repeat(3 * side).repeat(n * side, 1)  # with the color on both sides
    wide[:, row_bytes : 2 * row_bytes] = images.view(n * side, row_bytes)
    rows = torch.arange(n * side, device=images.device).view(n, side)
    places = 3 * side * rows + side + pixels.clamp(-side, side).long()
    return take_rows(wide, (places * channels).view(-1), row_bytes).view(images.shape)


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels' places: x, float32 (1, 1, side), and y, (1, side, 1), in pixels from the center."""
    side = images.shape[1]
    places = torch.arange(side, device=images.device) - 0.5 * (side - 1)
    return places.view(1, 1, side), places.view(1, side, 1)


def _warp(images: Tensor, x: Tensor, y: Tensor, fill: Tensor) -> Tensor:
    """Take each pixel from the pixel nearest to (x, y), each (n or 1, side or 1, side or 1), see `_grid`."""
    n, side, _, channels = images.shape
    # With a border of the color, a place outside of the image is one on the border.
    outer = side + 2
    bordered = images.new_empty(n, outer, outer, channels)
    bordered.view(n, outer, outer * channels)[:] = fill.repeat(outer)
    bordered[:, 1:-1, 1:-1] = images

    def nearest(places: Tensor) -> Tensor:
        # The steps of PyTorch's `grid_sample`, so that a place in the middle of two pixels goes to the same one.
        return (((places / (0.5 * side) + 1) * (0.5 * side)) - 0.5).round_().clamp_(-1, side) + 1

    first = torch.arange(n, device=images.device, dtype=torch.int32).view(n, 1, 1) * outer**2
    places = first + (nearest(y) * outer + nearest(x)).int()
    return bordered.view(-1, channels).index_select(0, places.view(-1)).view(images.shape)
