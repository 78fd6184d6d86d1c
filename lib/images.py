"""Pictures: read from any common kind of file, checked in one place, resized.

Inside the project a picture is HxWx3 uint8 sRGB. `as_rgb` is the door: what a user may hand over is
converted here by a stated rule, or refused in one sentence.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError, features

if find_spec("pillow_heif"):  # not asked for in requirements.in; who has it can read HEIC
    import_module("pillow_heif").register_heif_opener()

LEAST_SIDE = 64  # pixels: a map needs 2x2 cells, and networks have stride 32
AGAIN, CONVERT = "delete it and download it again", "convert it to PNG or JPEG"
DAMAGED = "Pillow does not know its kind, or it is damaged", f"leave it out, {CONVERT}, or {AGAIN}"
AVIF = "it is AVIF", f"{CONVERT}, or install a newer Pillow"
FOREIGN = (  # how files begin that Pillow does not read, what they are, and the mend
    (rb"\Z", "it is empty", AGAIN),
    (rb"version https://git-lfs", "it is a Git LFS pointer", "get the picture with `git lfs pull`"),
    (rb".{4}ftyp.{,40}avi[fs]", *(DAMAGED if features.check("avif") else AVIF)),
    (rb".{4}ftyp(he|mif|msf)", "it is HEIC", f"{CONVERT}, or run `pip install pillow-heif`"),
    (rb"\xff\n|.{4}JXL ", "it is JPEG XL", CONVERT),
    (rb"\s*<(svg|\?xml)", "it is an SVG drawing", CONVERT),
    (rb"\s*<", "it is a web page", AGAIN),
)
RAW = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"}
UNABLE = re.compile("(?i)ghostscript|memory|not available|supported|implemented")
# A profile that moves none of these colours by more than rounding does is sRGB, whatever its name.
PROBE = Image.fromarray(np.indices((8, 8, 8), np.uint8).reshape(3, 8, 64).transpose(1, 2, 0) * 36)


def as_rgb(image: np.ndarray | Image.Image | str | Path) -> np.ndarray:
    """Turn a picture of any usual form into a contiguous HxWx3 uint8 RGB array.

    A path is read, a Pillow image converted. Arrays: gray (HxW or HxWx1) is repeated over the
    channels; alpha is laid over white; uint16 is divided by 257 (values up to 255 are 8-bit data
    and stay); float, in [0, 1], is multiplied by 255. Else: a ValueError that says what to do.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return _from_pillow(image)
    if np.ma.is_masked(image):
        raise ValueError("a picture must have all its pixels; fill the masked ones first")
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ValueError(f"a picture must be HxW, HxWx3 or HxWx4 with pixels, not {image.shape}")
    if image.dtype.kind != "f" and image.dtype not in (np.uint8, np.dtype(">u2"), np.uint16):
        raise ValueError(f"a picture must be uint8, uint16 or float from 0 to 1, not {image.dtype}")
    return _from_pillow(Image.fromarray(_to_8_bit(image)))


def check_batch(images: np.ndarray) -> np.ndarray:
    """Return BxHxWx3 uint8 pictures, contiguous (a tensor as it is), or refuse: ValueError."""
    shape, kind = np.shape(images), getattr(images, "dtype", type(images).__name__)
    good = len(shape) == 4 and shape[3] == 3 and 0 not in shape and not np.ma.is_masked(images)
    if not (good and str(kind) in ("uint8", "torch.uint8")):
        raise ValueError(f"images must be BxHxWx3 uint8, not {tuple(shape)} {kind}")
    return np.ascontiguousarray(images) if isinstance(images, np.ndarray) else images


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as HxWx3 uint8 sRGB, turned upright, its first frame; alpha over white.

    16 bits, and floats, are scaled as by `as_rgb`; an embedded colour profile is followed. A file
    that can't be read is a ValueError that names it and the mend, or the system's OSError.
    """
    if not Path(path).is_file():
        what = "no image" if not Path(path).exists() else "a folder or a device, no image,"
        link = ", to which a link leads," if Path(path).is_symlink() else ""
        raise FileNotFoundError(f"{what} at {path}{link}")
    if Path(path).suffix.lower() in RAW:  # TIFF reads the thumbnail of some
        raise ValueError(f"{path} is not a readable image (it is a camera's raw data); {CONVERT}")
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # importing pyiqa.data lets half a picture pass
    try:
        with Image.open(path) as picture:
            picture.load()
            return _from_pillow(picture)
    except Exception as error:  # what Pillow raises on a damaged file may be anything
        if isinstance(error, _OutOfRangeError):
            raise ValueError(f"{path}: {error}") from error
        if isinstance(error, OSError) and error.errno:
            mend = "; allow it with `chmod u+r`" if isinstance(error, PermissionError) else ""
            raise type(error)(f"{path} can't be read ({error.strerror}){mend}") from error
        what, mend = _fault(path, error)
        raise ValueError(f"{path} is not a readable image ({what}); {mend}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the height and width that `read_image` gives a picture, from the file's header."""
    with Image.open(path) as picture:
        turned = picture.getexif().get(0x0112, 1) > 4  # orientations 5 to 8 lie on their side
        return picture.size if turned else picture.size[::-1]


def foreign(path: str | Path) -> tuple[str, str] | None:
    """Say what a file is, and the mend, if its first bytes are of a kind in `FOREIGN`."""
    with Path(path).open("rb") as file:
        start = file.read(64)
    return next((rest for begin, *rest in FOREIGN if re.match(begin, start, re.DOTALL)), None)


def _fault(path: str | Path, error: Exception) -> tuple[str, str]:
    """Say what keeps a file from being read, and the mend."""
    if isinstance(error, Image.DecompressionBombError):
        size, limit = (int(n) / 1e6 for n in re.findall(r"\d+", str(error))[:2])
        what = f"it has {size:.0f} megapixels, more than the limit of {limit:.0f}"
        return what, "reduce it, or raise PIL.Image.MAX_IMAGE_PIXELS"
    if isinstance(error, UnidentifiedImageError):
        return foreign(path) or DAMAGED
    what = " ".join(str(error).split()) or type(error).__name__
    return what, CONVERT if UNABLE.search(f"{type(error)} {what}") else AGAIN


class NoScoreError(ValueError):
    """A metric has no finite score for a picture: it is flat, as a rule."""


class _OutOfRangeError(ValueError):
    """Pixels of a healthy picture that no rule turns into 8 bits."""


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale numbers to uint8 by the rule of `as_rgb`, or say that none of it applies."""
    if values.dtype == np.uint8:
        return values
    low, high, floats = values.min(), values.max(), values.dtype.kind == "f"
    rule, most = ("floats must be finite and", 1) if floats else ("16 bits goes", 65535)
    if not (low >= 0 and high <= most):  # NaN is neither
        span = f"from 0 to {most}, not {low} to {high}"
        raise _OutOfRangeError(f"a picture of {rule} {span}; scale it first")
    if floats:
        return np.rint(255 * values.astype(np.float64)).astype(np.uint8)
    # 16-bit pictures run to 65535; those with a smaller range were 8-bit data in a wide mode.
    return np.rint(values / 257 if high > 255 else values).astype(np.uint8)


def _from_pillow(picture: Image.Image) -> np.ndarray:
    picture, alpha = ImageOps.exif_transpose(picture), None
    profile, clear = (picture.info.get(name) for name in ("icc_profile", "transparency"))
    if picture.mode.startswith(("I", "F")):  # 16- or 32-bit gray: Pillow would clip, not scale
        values = np.asarray(picture)
        picture = Image.fromarray(_to_8_bit(values))
        if clear is not None:
            alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    elif picture.mode in ("RGBA", "LA", "PA") or clear is not None:
        alpha = picture.convert("RGBA").getchannel("A")
    if picture.mode not in ("L", "CMYK", "LAB"):
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    picture = _to_srgb(picture, profile) if profile else picture.convert("RGB")
    if alpha:
        picture.putalpha(alpha)
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))  # a copy: the caller may write to it


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert by an embedded profile; one that is sRGB, broken, or of other channels is ignored."""
    probe = PROBE.convert(picture.mode)
    try:
        source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, picture.mode, "RGB")
        moved = np.int16(ImageCms.applyTransform(probe, transform)) - np.int16(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        moved = 0
    keep = np.abs(moved).max() <= 2
    return picture.convert("RGB") if keep else ImageCms.applyTransform(picture, transform)


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
    spare = [n - side for n, side in zip(shape, image.shape[:2], strict=True)]
    margins = [(n // 2, n - n // 2) for n in spare]
    return np.pad(image, [*margins, (0, 0)], constant_values=fill)


def crop_center(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut `shape` out of the middle of HxW; of an odd excess the larger half goes below."""
    top, left = ((side - n) // 2 for n, side in zip(shape, image.shape[:2], strict=True))
    return image[top : top + shape[0], left : left + shape[1]]
