"""A person's own pictures, made what a network of the zoo takes: 32 x 32 pixels of red, green and blue.

One rule for all of them. The picture is turned upright as its EXIF orientation says; of an animation it is the first
frame; of 16 bits a channel the upper eight; what is transparent is laid over white. Of that the square in the middle,
as large as it can be, is resized to 32 x 32 by Pillow's bicubic filter, which is antialiased: where it shrinks, every
pixel of the square counts. A picture of 32 x 32 is left as it is. Colour profiles are not applied.

Needs no torch.
"""

import contextlib
import glob
import os
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from datamodules.errors import InputError, nearest, one_line

SIZE = 32  # pixels a side, as CIFAR-10 has them
THUMBNAIL = 128  # pixels a side, at most
FILTER = Image.Resampling.BICUBIC
WITH_ALPHA = ("LA", "PA", "RGBA")  # modes of Pillow
# Those that Pillow reads by itself: for others it starts programs (Ghostscript, for EPS), which a stranger's file could
# make do more.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
MOST_BYTES = 400_000_000  # of a file, parts of which Pillow reads whole, and twice
MOST_PIXELS = 100_000_000  # of which a picture with transparency takes a gigabyte of memory


class Picture(NamedTuple):
    """A picture that was read.

    Attributes:
        path: of its file.
        pixels: what a network sees, uint8 (3, 32, 32).
        transparent: whether some of it was, and was laid over white.
        thumbnail: all of the picture, uint8 (height, width, 3), of at most `THUMBNAIL` pixels a side; None where none
            was asked for.
    """

    path: Path
    pixels: np.ndarray
    transparent: bool
    thumbnail: np.ndarray | None = None


# Finding them.


def find(names: Iterable[str]) -> list[Path]:
    """Return the files that `names` name, in their order, none of them twice.

    Args:
        names: of files; of folders, which stand for the files in them, sorted and without the hidden ones; or patterns
            as "photos/*.jpg".

    Raises:
        InputError: where one of them does not exist, or stands for no file.
    """
    files: dict[str, Path] = {}
    for path in (path for name in names for path in _files(os.path.expanduser(name))):
        files.setdefault(os.path.abspath(path), path)
    return list(files.values())


def _files(name: str) -> list[Path]:
    if os.path.isdir(name):
        try:
            found = sorted(path for path in Path(name).iterdir() if path.is_file() and not path.name.startswith("."))
        except OSError as error:
            raise InputError(f"the folder '{name}' cannot be read: {error.strerror}") from error
        if not found:
            raise InputError(f"the folder '{name}' has no file in it; what lies in folders below it is not looked for")
        return found
    if os.path.exists(name):
        return [Path(name)]
    if any(letter in name for letter in "*?["):
        found = sorted(Path(path) for path in glob.glob(name) if os.path.isfile(path))
        if not found:
            raise InputError(f"no file is like '{name}'")
        return found
    path = Path(os.path.abspath(name))
    missing = next((part for part in reversed(path.parents) if not part.exists()), path)
    if os.path.islink(name):
        raise InputError(f"'{name}' is a link to '{os.readlink(path)}', which does not exist")
    # By their stems: what ends in .png is near to all that does.
    siblings = {sibling.stem: sibling.name for sibling in missing.parent.glob("*")}
    near = nearest(missing.stem, siblings)
    hint = f" Did you mean '{siblings[near]}'?" if near else ""
    raise InputError(f"'{name}' does not exist.{hint}")


# Reading one.


def read(path: Path, thumbnail: bool = False) -> Picture:
    """Read a picture of any size, and of one of `FORMATS`.

    Args:
        path: of its file, which may come from a stranger.
        thumbnail: whether one is wanted.

    Raises:
        InputError: says in a few words why it cannot be read, without its name.
    """
    try:
        if not path.is_file():
            raise InputError("no regular file")
        if path.stat().st_size == 0:
            raise InputError("the file is empty")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.stat().st_size:,} bytes are more than {MOST_BYTES:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, on what it can read all the same
            with Image.open(path, formats=_formats()) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise InputError(f"{image.width} x {image.height} are more than {MOST_PIXELS:,} pixels")
                image.load()  # what is damaged is refused here: Pillow goes on where the rest is read a second time
                whole, transparent = _rgb(image)
        pixels = _pixels(whole)
        if not thumbnail:
            return Picture(path, pixels, transparent)
        whole.thumbnail((THUMBNAIL, THUMBNAIL), FILTER)
        return Picture(path, pixels, transparent, np.asarray(whole))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"no picture, or none of the formats {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"a decompression bomb, or too large: {one_line(error)}") from error
    except OSError as error:
        raise InputError(error.strerror or one_line(error)) from error
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"{type(error).__name__}: {one_line(error)}") from error


@cache
def _formats() -> list[str]:
    """Return those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the middle of an RGB image as uint8 (3, 32, 32), see the module's rule."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIZE, SIZE), FILTER)).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return an image upright, of mode RGB, over white; and whether some of it was transparent."""
    with contextlib.suppress(Exception):  # damaged EXIF can raise almost anything, and the picture is as good
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise InputError("its pixels are floating-point numbers of an unknown range: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _upper_byte(image)
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image.convert("RGB"), False
    with_alpha = image.convert("RGBA")
    over_white = Image.new("RGB", image.size, "white")
    over_white.paste(with_alpha, mask=with_alpha)
    return over_white, bool(np.asarray(with_alpha.getchannel("A")).min() < 255)


def _upper_byte(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits as one of 8, as Pillow itself makes them of colours of 16 bits."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise InputError("its pixels are numbers of more than 16 bits: save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
