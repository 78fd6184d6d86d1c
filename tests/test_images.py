"""Whatever kind of picture comes in, HxWx3 uint8 comes out, or one error that names the file."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from lib.images import as_rgb, check_batch, image_size, network_size, read_image, resize_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (11, 17), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)
JPEG = io.BytesIO()
Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(JPEG, "JPEG")
JPEG = JPEG.getvalue()
ImageFile.LOAD_TRUNCATED_IMAGES = True  # as importing pyiqa.data leaves it
GRAY_RGB = np.dstack([GRAY] * 3)
SEEN_THROUGH = np.dstack([COLOR, np.full_like(GRAY, 255)])
SEEN_THROUGH[:, 5:, 3] = 0
OVER_WHITE = COLOR.copy()
OVER_WHITE[:, 5:] = 255


@pytest.mark.parametrize(
    ("picture", "name", "expected"),
    [
        (Image.fromarray(COLOR), "color.png", COLOR),
        (Image.fromarray(COLOR[:1, :1]), "one-pixel.png", COLOR[:1, :1]),
        (Image.fromarray(GRAY), "gray.png", GRAY_RGB),
        (Image.fromarray(GRAY.astype(np.uint16) * 257), "16-bit.png", GRAY_RGB),
        (Image.fromarray(GRAY.astype(np.int32) * 257), "16-bit.tif", GRAY_RGB),
        (Image.fromarray(GRAY.astype(np.int32)), "8-bit-in-a-wide-mode.tif", GRAY_RGB),
        (Image.fromarray(GRAY.astype(np.float32) / 255), "float.tif", GRAY_RGB),
        (Image.fromarray(GRAY).convert("P"), "palette.gif", GRAY_RGB),
        (Image.fromarray(COLOR).convert("CMYK"), "cmyk.tif", COLOR),
        (Image.fromarray(SEEN_THROUGH), "transparent.png", OVER_WHITE),
    ],
)
def test_any_kind_of_file_is_read_as_the_same_picture(tmp_path, picture, name, expected):
    picture.save(tmp_path / name)
    for found in (read_image(tmp_path / name), as_rgb(str(tmp_path / name)), as_rgb(picture)):
        np.testing.assert_allclose(found, expected, atol=1 if name == "cmyk.tif" else 0)
        assert found.dtype == np.uint8


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.fromarray(COLOR).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape[:2] == image_size(tmp_path / "a.png") == (17, 11)


def test_an_embedded_profile_is_followed_unless_it_is_srgb_or_broken(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tag = srgb.index(b"rXYZ")  # the table of tags: name, offset, size
    start = int.from_bytes(srgb[tag + 4 : tag + 8], "big") + 8
    wide = srgb[:start] + b"\0\0\x83\xdf" + srgb[start + 4 :]  # Display P3's red: X is 0.515
    for profile, least, most in ((srgb, 0, 0), (b"broken", 0, 0), (wide, 5, 90)):
        Image.fromarray(COLOR).save(tmp_path / "a.png", icc_profile=profile)
        moved = np.abs(read_image(tmp_path / "a.png").astype(int) - COLOR).max()
        assert least <= moved <= most


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (JPEG[: len(JPEG) // 2], r"truncated.*; delete it and download it again"),
        (b"<html>sign in</html>", "it is a web page.*; delete it and download it again"),
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC.*; convert it to PNG or JPEG, or run"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing.*; convert it"),
        (b"some notes", "Pillow does not know its kind, or it is damaged"),
    ],
    ids=["cut", "page", "empty", "LFS", "HEIC", "SVG", "text"],
)
def test_a_file_that_cannot_be_read_is_named_with_what_it_is_and_the_mend(tmp_path, content, words):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.jpg is not a readable image \(.*{words}"):
        read_image(tmp_path / "bad.jpg")


def test_what_keeps_a_healthy_file_from_being_read_is_said_as_it_is(tmp_path, monkeypatch):
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"no image at .*gone\.jpg"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError, match="a folder or a device"):
        read_image(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match="megapixels, more than the limit"):
        read_image(tmp_path / "a.png")

    def locked(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", locked)
    with pytest.raises(PermissionError, match=r"a\.png can't be read .*chmod u\+r"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (GRAY.astype(np.int32) * 1000, "goes from 0 to 65535"),
        (GRAY.astype(np.int32) - 300, "goes from 0 to 65535"),
        (np.full((4, 4), np.nan, np.float32), "finite and from 0 to 1"),
        (np.where(GRAY > 9, 0.5, np.inf).astype(np.float32), "finite and from 0 to 1"),
    ],
)
def test_a_tiff_of_numbers_that_no_rule_scales_is_refused(tmp_path, values, words):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif: .*{words}"):
        read_image(tmp_path / "a.tif")


def test_the_transparent_value_of_a_16_bit_gray_picture_is_white(tmp_path):
    gray = np.array([[1000, 40000]], np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png", transparency=1000)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [255, 156]


def test_resizing_keeps_a_flat_picture_flat():
    flat = np.full((40, 60, 3), 77, np.uint8)
    assert (resize_image(flat, 13, 29) == 77).all()
    assert resize_image(flat, 40, 60) is flat


ARRAYS = {"view": (COLOR[::-1], COLOR[::-1]), "Fortran": (np.asfortranarray(COLOR), COLOR)}
ARRAYS |= {kind: ((COLOR / 255).astype(kind), COLOR) for kind in ("float64", "float32")}
ARRAYS |= {kind: (COLOR.astype(kind) * 257, COLOR) for kind in ("<u2", ">u2")}
ARRAYS |= {"gray": (GRAY, GRAY_RGB), "one channel": (GRAY[..., None], GRAY_RGB)}
ARRAYS |= {"alpha": (SEEN_THROUGH, OVER_WHITE)}


@pytest.mark.parametrize(("array", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_any_kind_of_array_is_the_same_picture(array, expected):
    image = as_rgb(array)
    assert np.array_equal(image, expected) and image.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (COLOR.astype(int), "not int64"),
        (COLOR.astype(np.float32), "from 0 to 1"),
        (np.full((4, 4), np.nan), "finite and from 0 to 1"),
        (COLOR[None], "must be HxW"),
        (COLOR[..., :2], "must be HxW"),
        (np.zeros((0, 4, 3), np.uint8), "with pixels"),
        (np.ma.masked_less(COLOR, 99), "fill the masked ones"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(bad, words):
    with pytest.raises(ValueError, match=words):
        as_rgb(bad)


def test_a_network_reads_multiples_of_32_and_nothing_below_64_pixels():
    assert network_size((300, 400), 384) == (288, 384) and network_size((1, 1000), 64) == (32, 64)
    with pytest.raises(ValueError, match="must be 64 pixels or more, not 16"):
        network_size((300, 400), 16)


@pytest.mark.parametrize("bad", [COLOR[None] / 255, COLOR, COLOR[None, ..., :1], COLOR[None] > 9])
def test_a_batch_is_uint8_with_three_channels_or_refused(bad):
    assert check_batch(COLOR[None, :, ::-1]).flags["C_CONTIGUOUS"]
    with pytest.raises(ValueError, match="must be BxHxWx3 uint8"):
        check_batch(bad)
