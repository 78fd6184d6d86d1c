"""Pictures: read from any common kind of file, checked in one place, resized.

Inside the project a picture is HxWx3 uint8 RGB. `as_rgb` is the door: what a user may hand over is
converted here by a stated rule, or refused in one sentence.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

LEAST_SIDE = 64  # pixels: a map needs 2x2 cells, and networks have stride 32


def as_rgb(image: np.ndarray | Image.Image | str | Path) -> np.ndarray:
    """Turn a picture of any usual form into a contiguous HxWx3 uint8 RGB array.

    A path is read, a Pillow image converted. Arrays: gray (HxW or HxWx1) is repeated over the
    channels; alpha is laid over white; uint16 is divided by 257; float must lie in [0, 1] and is
    multiplied by 255. Anything else is a ValueError that says what to do.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return _from_pillow(image)
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ValueError(f"a picture must be HxW, HxWx3 or HxWx4 with pixels, not {image.shape}")
    if image.dtype == np.uint16:
        image = np.rint(image / 257).astype(np.uint8)
    elif image.dtype.kind == "f":
        if not (image.min() >= 0 and image.max() <= 1):  # NaN is neither
            raise ValueError("a picture of floats must be finite and from 0 to 1; scale it first")
        image = np.rint(255 * image.astype(np.float64)).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8, uint16 or float from 0 to 1, not {image.dtype}")
    return _from_pillow(Image.fromarray(image))


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file of any format that Pillow reads, or name the file that is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no image at {path}")
    try:
        with Image.open(path) as picture:
            return _from_pillow(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        advice = "delete it and download it again"
        raise ValueError(f"{path} is not a readable image ({error}); {advice}") from error


def _from_pillow(picture: Image.Image) -> np.ndarray:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16- or 32-bit gray: Pillow would clip, not scale
        gray = np.asarray(picture, dtype=np.float64)
        # 16-bit files run to 65535; files with a smaller range were 8-bit data in a wide mode.
        gray = gray / 257 if gray.max() > 255 else gray
        picture = Image.fromarray(np.clip(np.rint(gray), 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))  # a copy: the caller may write to it


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize HxWx3 uint8 to `height` x `width` with an antialiased (Lanczos) filter."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def network_size(shape: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return the (height, width), multiples of 32, at which a network sees a picture."""
    if long_side < LEAST_SIDE:
        raise ValueError(f"the long side must be {LEAST_SIDE} pixels or more, not {long_side}")
    scale = long_side / max(shape)
    return tuple(max(32, round(side * scale / 32) * 32) for side in shape)


def scaled(
    shape: tuple[int, int], frame: tuple[int, int], pick: Callable, to_pixels: Callable
) -> tuple[int, int]:
    """Size of `shape`'s aspect ratio that fits into a frame (`pick` = min) or covers it (max)."""
    ratio = pick(Fraction(n, side) for n, side in zip(frame, shape, strict=True))
    return tuple(max(1, to_pixels(side * ratio)) for side in shape)


def center_in(image: np.ndarray, shape: tuple[int, int], fill: float) -> np.ndarray:
    """Lay HxWxC in the middle of a frame of `shape` filled with `fill`; odd rows go below."""
    frame = np.full((*shape, image.shape[2]), fill, image.dtype)
    top, left = ((n - side) // 2 for n, side in zip(shape, image.shape[:2], strict=True))
    frame[top : top + image.shape[0], left : left + image.shape[1]] = image
    return frame


def crop_center(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut `shape` out of the middle of HxW; of an odd excess the larger half goes below."""
    top, left = ((side - n) // 2 for n, side in zip(shape, image.shape[:2], strict=True))
    return image[top : top + shape[0], left : left + shape[1]]
