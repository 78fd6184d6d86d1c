"""Whatever kind of picture comes in, HxWx3 uint8 comes out, or one error that names the file."""

import numpy as np
import pytest
from PIL import Image

from lib.images import as_rgb, network_size, read_image, resize_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (11, 17), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)


def test_rgb_png_is_read_as_it_is(tmp_path):
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOR)


def test_grayscale_is_repeated_over_the_channels(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.dstack([GRAY] * 3))


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path):
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.dstack([GRAY] * 3))


def test_transparency_is_laid_over_white(tmp_path):
    alpha = np.zeros_like(GRAY)
    alpha[:, :5] = 255
    Image.fromarray(np.dstack([COLOR, alpha])).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image[:, :5], COLOR[:, :5])
    assert (image[:, 5:] == 255).all()


def test_cmyk_and_palette_are_converted(tmp_path):
    Image.fromarray(COLOR).convert("CMYK").save(tmp_path / "a.tif")
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - COLOR).max() <= 1
    Image.fromarray(GRAY).convert("P").save(tmp_path / "a.gif")
    assert read_image(tmp_path / "a.gif").shape == (11, 17, 3)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.fromarray(COLOR).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (17, 11, 3)


def test_one_pixel_is_an_image(tmp_path):
    Image.fromarray(COLOR[:1, :1]).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (1, 1, 3)


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


# --- the one door for pictures ----------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        COLOR[::-1][::-1],
        COLOR / 255,
        (COLOR / 255).astype(np.float32),
        COLOR.astype(np.uint16) * 257,
        np.dstack([COLOR, np.full_like(GRAY, 255)]),
        Image.fromarray(COLOR),
        np.asfortranarray(COLOR),
    ],
    ids=["view", "float64", "float32", "uint16", "opaque", "Pillow", "Fortran"],
)
def test_whatever_a_picture_comes_as_it_is_the_same_picture(same):
    image = as_rgb(same)
    assert np.array_equal(image, COLOR) and image.flags["C_CONTIGUOUS"]


def test_gray_path_and_transparency_have_their_rules(tmp_path):
    assert np.array_equal(as_rgb(GRAY), np.dstack([GRAY] * 3))
    assert np.array_equal(as_rgb(GRAY[..., None]), np.dstack([GRAY] * 3))
    assert (as_rgb(np.dstack([COLOR, np.zeros_like(GRAY)])) == 255).all(), "white shines through"
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    assert np.array_equal(as_rgb(str(tmp_path / "a.png")), COLOR)


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
