"""Read a picture of any common kind as HxWx3 uint8 RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Grayscale is repeated over the channels, transparency is laid over white, CMYK is converted,
    16-bit gray is scaled down to 8 bits, and the EXIF orientation is applied.

    Parameters
    ----------
    path : str or Path
        Any format that Pillow reads.

    Returns
    -------
    numpy.ndarray
        HxWx3 uint8, RGB.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an image, or is cut short; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}")
    try:
        with Image.open(path) as picture:
            picture.load()
            return to_rgb(ImageOps.exif_transpose(picture))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} is not a readable image ({error}); delete it and download it again"
        ) from error


def to_rgb(picture: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to HxWx3 uint8 RGB (see `read_image`)."""
    if picture.mode.startswith(("I", "F")):  # 16- or 32-bit gray: Pillow would clip, not scale
        gray = np.asarray(picture, dtype=np.float64)
        # 16-bit files run to 65535; files with a smaller range were 8-bit data in a wide mode.
        gray = gray / 257 if gray.size and gray.max() > 255 else gray
        picture = Image.fromarray(np.clip(np.rint(gray), 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))  # a copy: the caller may write to it


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize HxWx3 uint8 to `height` x `width` with an antialiased (Lanczos) filter."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def network_size(shape: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return the (height, width), multiples of 32, at which a network sees a picture."""
    scale = long_side / max(shape)
    return tuple(max(32, round(side * scale / 32) * 32) for side in shape)
