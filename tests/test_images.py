"""Whatever kind of picture comes in, HxWx3 uint8 comes out, or one error that names the file."""

import numpy as np
import pytest
from PIL import Image

from lib.images import as_rgb, network_size, read_image, resize_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (11, 17), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)


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
    assert read_image(tmp_path / "a.png").shape == (17, 11, 3)


def test_a_truncated_or_foreign_file_is_named(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>sign in</html>", b""):
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.jpg is not a readable image"):
            read_image(tmp_path / "bad.jpg")
    with pytest.raises(FileNotFoundError, match="gone"):
        read_image(tmp_path / "gone.jpg")


def test_resizing_keeps_a_flat_picture_flat():
    flat = np.full((40, 60, 3), 77, np.uint8)
    assert (resize_image(flat, 13, 29) == 77).all()
    assert resize_image(flat, 40, 60) is flat


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (COLOR[::-1], COLOR[::-1]),
        (np.asfortranarray(COLOR), COLOR),
        (COLOR / 255, COLOR),
        ((COLOR / 255).astype(np.float32), COLOR),
        (COLOR.astype(np.uint16) * 257, COLOR),
        (GRAY, GRAY_RGB),
        (GRAY[..., None], GRAY_RGB),
        (SEEN_THROUGH, OVER_WHITE),
    ],
    ids=["view", "Fortran", "float64", "float32", "uint16", "gray", "one channel", "alpha"],
)
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
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(bad, words):
    with pytest.raises(ValueError, match=words):
        as_rgb(bad)


def test_a_network_reads_multiples_of_32_and_nothing_below_64_pixels():
    assert network_size((300, 400), 384) == (288, 384) and network_size((1, 1000), 64) == (32, 64)
    with pytest.raises(ValueError, match="must be 64 pixels or more, not 16"):
        network_size((300, 400), 16)
