"""Read a user's image files as the pixels that a network takes: squares of one size, in color or gray. Needs no torch.

Images are turned upright by their EXIF orientation. Of an animation the first frame is read, of 16 bits per channel the
upper eight. Transparent pixels are laid over white. The middle square is resized by Pillow's antialiased bicubic
filter; an image of the wanted size stays as it is. Gray is the luma of ITU-R BT.601. Color profiles are not applied.
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

THUMBNAIL = 128  # largest side in pixels
FILTER = Image.Resampling.BICUBIC
WITH_ALPHA = ("LA", "PA", "RGBA")  # Pillow's names of modes
# Formats that Pillow reads by itself. For others it starts programs (Ghostscript for EPS), which a file could abuse.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
MOST_BYTES = 400_000_000  # Pillow reads parts of a file twice
MOST_PIXELS = 100_000_000  # with transparency they take a gigabyte of memory


class ImageFile(NamedTuple):
    """An image that was read from a file."""

    path: Path
    pixels: np.ndarray  # for the network, uint8 (channels, size, size)
    transparent: bool  # whether some pixels were transparent, and laid over white
    thumbnail: np.ndarray | None = None  # the whole image, uint8 (height, width, 3), sides of at most `THUMBNAIL`


def find(names: Iterable[str]) -> list[Path]:
    """Return the files that `names` stands for, without duplicates; raise InputError if one stands for no file.

    A name is a file; a folder, which stands for its files in alphabetical order, without hidden ones; or a pattern such
    as "photos/*.jpg".
    """
    files: dict[str, Path] = {}
    for path in (path for name in names for path in _files(os.path.expanduser(name))):
        files.setdefault(os.path.abspath(path), path)
    return list(files.values())


def _files(name: str) -> list[Path]:
    if os.path.isdir(name):
        try:
            files = sorted(path for path in Path(name).iterdir() if path.is_file() and not path.name.startswith("."))
        except OSError as error:
            raise InputError(f"the folder '{name}' cannot be read: {error.strerror}") from error
        if not files:
            raise InputError(f"the folder '{name}' has no file in it; folders below it are not searched")
        return files
    if os.path.exists(name):
        return [Path(name)]
    if any(letter in name for letter in "*?["):
        files = sorted(Path(path) for path in glob.glob(name) if os.path.isfile(path))
        if not files:
            raise InputError(f"no file matches '{name}'")
        return files
    if os.path.islink(name):
        raise InputError(f"'{name}' is a link to '{os.readlink(name)}', which does not exist")
    path = Path(os.path.abspath(name))
    missing = next((part for part in reversed(path.parents) if not part.exists()), path)
    # By stems: names with the same suffix are similar to each other.
    siblings = {sibling.stem: sibling.name for sibling in missing.parent.glob("*")}
    near = nearest(missing.stem, siblings)
    hint = f" Did you mean '{siblings[near]}'?" if near else ""
    raise InputError(f"'{name}' does not exist.{hint}")


def read(path: Path, size: int = 32, channels: int = 3, thumbnail: bool = False) -> ImageFile:
    """Read an image of any size in one of `FORMATS`; raise InputError, which does not name the file, if it fails.

    Args:
        path: the file.
        size: height and width of the pixels.
        channels: 3 for red, green and blue; 1 for gray.
        thumbnail: whether to return one.
    """
    try:
        if not path.is_file():
            raise InputError("not a regular file")
        if path.stat().st_size == 0:
            raise InputError("the file is empty")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.stat().st_size:,} bytes are more than {MOST_BYTES:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of files that it can read
            with Image.open(path, formats=_formats()) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise InputError(f"{image.width} x {image.height} are more than {MOST_PIXELS:,} pixels")
                image.load()  # raises for a damaged file; a second load would accept it
                whole, transparent = _rgb(image)
        pixels = _pixels(whole, size, channels)
        if not thumbnail:
            return ImageFile(path, pixels, transparent)
        whole.thumbnail((THUMBNAIL, THUMBNAIL), FILTER)
        return ImageFile(path, pixels, transparent, np.asarray(whole))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"no image, or in none of the formats {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"a decompression bomb, or too large: {one_line(error)}") from error
    except OSError as error:
        raise InputError(error.strerror or one_line(error)) from error
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"{type(error).__name__}: {one_line(error)}") from error


@cache
def _formats() -> list[str]:
    """Return those of `FORMATS` that this build of Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _pixels(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Return the middle square of an RGB image as uint8 (channels, size, size)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    resized = square.resize((size, size), FILTER)
    return np.asarray(resized.convert("L"))[None] if channels == 1 else np.asarray(resized).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return an image upright, in mode RGB, over white; and whether some pixels were transparent."""
    with contextlib.suppress(Exception):  # damaged EXIF data can raise almost anything; the image is still usable
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise InputError("its pixels are floating-point numbers of an unknown range: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError("its pixels are numbers of more than 16 bits: save it with 8 or 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))  # as Pillow itself converts colors of 16 bits
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image.convert("RGB"), False
    with_alpha = image.convert("RGBA")
    over_white = Image.new("RGB", image.size, "white")
    over_white.paste(with_alpha, mask=with_alpha)
    return over_white, bool(np.asarray(with_alpha.getchannel("A")).min() < 255)
